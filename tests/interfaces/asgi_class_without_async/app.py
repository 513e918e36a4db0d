# target: app:app -> asgi
# evidence: class App with def __call__(self, scope, receive, send) at app.py:6
# It gives back an awaitable, as Emmett does.


class App:
    def __call__(self, scope, receive, send):
        return self.answer(send)


app = App()

# target: app:app -> wsgi
# evidence: class App with def __call__(self, environ, start_response) at app.py:5


class App:
    def __call__(self, environ, start_response):
        return [b""]


app = App()

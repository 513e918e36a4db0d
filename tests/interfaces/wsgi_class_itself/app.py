# target: app:App -> unknown
# evidence: is no application itself
# WSGI when it runs: a class that the server itself instantiates is not read.


class App:
    def __init__(self, environ, start_response):
        self.start = start_response

    def __iter__(self):
        yield b""

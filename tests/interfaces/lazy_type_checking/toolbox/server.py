from starlette.applications import Starlette


class Server:
    def http(self):
        return Starlette()

from quart import Quart

api = Quart(__name__)

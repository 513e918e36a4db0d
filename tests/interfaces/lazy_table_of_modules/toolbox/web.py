from quart import Quart

service = Quart("x")

# target: api:api -> asgi
import responder

api = responder.API()

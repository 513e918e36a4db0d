# target: wsgi:application -> neither
# evidence: Robyn speaks neither ASGI nor WSGI, it serves itself
import robyn


class Api(robyn.Robyn):
    pass


application = Api(__file__)

# target: app:app -> wsgi
from flask_openapi3 import OpenAPI

app = OpenAPI(__name__)

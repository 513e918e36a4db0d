from flask import Flask

site = Flask("x")

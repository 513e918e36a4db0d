# target: app:app -> wsgi
# evidence: Flask() at app.py:14
from flask import Flask


class Pick:
    """The second parameter is the second argument, as there is no object."""

    @staticmethod
    def second(first, second):
        return second


app = Pick.second("x", Flask("x"))

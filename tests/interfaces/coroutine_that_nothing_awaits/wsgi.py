# target: wsgi:app -> neither
# evidence: build() at wsgi.py:6 is a coroutine function, and no worker class awaits its result
from flask import Flask


async def build():
    return Flask("x")


app = build()

# target: asgi:create -> neither
# evidence: no worker class awaits its result
from fastapi import FastAPI


async def create():
    return FastAPI()

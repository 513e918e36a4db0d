# target: app:create_app() -> neither
# evidence: is a coroutine function
from fastapi import FastAPI

async def create_app():
    return FastAPI()

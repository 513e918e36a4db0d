# target: app:create_app() -> asgi
# evidence: FastAPI() at app.py:11
from typing import TYPE_CHECKING

from fastapi import FastAPI as App

if TYPE_CHECKING:
    from flask import Flask as App


def create_app(): return App()

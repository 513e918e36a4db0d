import importlib

_MODULES = {"client": ".client", "service": ".web"}


def __getattr__(name):
    return getattr(importlib.import_module(_MODULES[name], __name__), name)

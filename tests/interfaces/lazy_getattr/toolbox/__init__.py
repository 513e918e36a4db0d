def __getattr__(name):
    if name == "client":
        from toolbox.client import client

        return client
    if name == "site":
        try:
            from toolbox.server import site
        except ImportError as error:
            raise ImportError("install the extra") from error
        return site
    raise AttributeError(name)

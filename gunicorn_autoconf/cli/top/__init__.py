"""``gunicorn-autoconf top``: a running server, whoever configured it."""

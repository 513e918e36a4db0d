"""``gunicorn-autoconf tune``: the best configuration of an application, measured here."""

"""``gunicorn-autoconf size``: which machine a load or a fleet takes."""

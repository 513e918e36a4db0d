"""``gunicorn-autoconf explain``: what is planned here, and why."""

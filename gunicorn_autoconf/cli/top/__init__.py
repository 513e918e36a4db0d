"""``gunicorn-autoconf top``: a running server, configured by us or not."""

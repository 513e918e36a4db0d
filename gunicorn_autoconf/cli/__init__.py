"""The ``gunicorn-autoconf`` command. No server loads anything in here."""

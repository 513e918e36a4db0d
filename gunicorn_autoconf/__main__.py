"""``python -m gunicorn_autoconf``."""

from gunicorn_autoconf.cli.main import main

if __name__ == "__main__":
    main(prog_name="python -m gunicorn_autoconf")

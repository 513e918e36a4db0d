"""Makes the database in COMPARE_FOLDER: ``python -m shop.prepare SESSION_KEY``."""

import os
import sys

import django
from django.core.management import call_command


def main():
    os.environ["DJANGO_SETTINGS_MODULE"] = "shop.settings"
    django.setup()
    from django.contrib.sessions.backends.db import SessionStore

    from .models import Item

    call_command("migrate", run_syncdb=True, verbosity=0)
    Item.objects.bulk_create(Item(name=f"item {i}", price_cents=i * 7 % 1000) for i in range(500))
    session = SessionStore(session_key=sys.argv[1])
    session["visitor"] = "the benchmark"
    session.save(must_create=True)


if __name__ == "__main__":
    main()

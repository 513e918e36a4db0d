"""Makes the tables and fills them: ``python -m library.prepare``."""

import os
import random

import django
from django.db import connection

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "library.settings")
django.setup()

from library.models import Author, Book, Loan  # noqa: E402 - Django must be set up

WORDS = ["amber", "river", "night", "garden", "letter", "winter", "stone", "song", "island"]
AUTHORS, BOOKS, LOANS = 2_000, 30_000, 60_000


def main():
    chance = random.Random(1)
    with connection.schema_editor() as editor:
        for model in (Author, Book, Loan):
            editor.create_model(model)
    authors = Author.objects.bulk_create(Author(name=f"Author {n}") for n in range(AUTHORS))
    books = Book.objects.bulk_create(
        Book(
            title=" ".join(chance.choices(WORDS, k=4)).title(),
            author=chance.choice(authors),
            year=chance.randint(1900, 2026),
        )
        for _ in range(BOOKS)
    )
    Loan.objects.bulk_create(
        Loan(book=chance.choice(books), days=chance.randint(1, 60)) for _ in range(LOANS)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


if __name__ == "__main__":
    main()

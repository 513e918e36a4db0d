"""A library's catalogue in PostgreSQL: what Django needs for it, and no more."""

SECRET_KEY = "a benchmark"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "library.urls"
INSTALLED_APPS = ["library"]
DATABASES = {
    # Host, port, user and database come from PGHOST and the like.
    "default": {"ENGINE": "django.db.backends.postgresql", "NAME": "library", "CONN_MAX_AGE": 60}
}
TEMPLATES = [
    {"BACKEND": "django.template.backends.django.DjangoTemplates", "DIRS": [], "APP_DIRS": True}
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True

"""
The environment of public images and charts: what is planned for it, and what is said.

Each has the variables that one file of the repository sets, defaults or documents, with their
values there. Where a name is not read, the warning either names the variable that does the same or
suggests nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest
from builders import FASTAPI, WSGI, declare, plan_for

from gunicorn_autoconf.app.finding import Finding
from gunicorn_autoconf.errors import DeclarationError

CONFIGURATION = "has no effect: Gunicorn takes its configuration by -c only"
PER_CORE = "has no effect: the plan counts the cores itself; GUNICORN_WORKERS sets a count"


class Image(NamedTuple):
    """
    One image: its environment, in the form of an env file, and what follows on 4 free cores.

    Attributes:
        name: The repository and the file, with a colon between; then what else there is to say.
        planned: Workers, threads and worker class.
        said: For each unknown name, what to set instead; "" if nothing is suggested.
    """

    name: str
    environment: str
    planned: tuple[int, int, str]
    said: dict[str, str] = {}  # noqa: RUF012 - never changed
    notes: tuple[str, ...] = ()
    application: Finding = WSGI

    @property
    def environ(self) -> dict[str, str]:
        lines = self.environment.strip().splitlines()
        return dict(line.strip().split("=", 1) for line in lines)


THREADS = "gunicorn_autoconf.workers.ThreadWorker"
UVICORN = "gunicorn_autoconf.workers.UvicornWorker"

IMAGES = [
    Image(
        "tiangolo/uvicorn-gunicorn-docker:README.md",
        """
        MODULE_NAME=app.main
        VARIABLE_NAME=app
        APP_MODULE=app.main:app
        GUNICORN_CONF=/gunicorn_conf.py
        WORKER_CLASS=uvicorn.workers.UvicornWorker
        WORKERS_PER_CORE=1
        MAX_WORKERS=24
        HOST=0.0.0.0
        PORT=80
        LOG_LEVEL=info
        TIMEOUT=120
        KEEP_ALIVE=5
        GRACEFUL_TIMEOUT=120
        ACCESS_LOG=-
        ERROR_LOG=-
        PRE_START_PATH=/app/prestart.sh
        """,
        (9, 1, UVICORN),
        notes=(f"GUNICORN_CONF {CONFIGURATION}",),
        application=FASTAPI,
    ),
    Image(
        "tiangolo/uvicorn-gunicorn-docker:README.md, with a count",
        """
        WEB_CONCURRENCY=2
        GUNICORN_CMD_ARGS=--keyfile=/secrets/key.pem --certfile=/secrets/cert.pem
        PORT=443
        """,
        (2, 1, UVICORN),
        application=FASTAPI,
    ),
    Image(
        "benoitc/gunicorn:docs/content/guides/docker.md",
        """
        GUNICORN_PORT=9000
        GUNICORN_WORKERS=4
        GUNICORN_ARGS=--timeout 120 --access-logfile -
        """,
        (4, 1, "sync"),
        {
            "GUNICORN_ARGS": "GUNICORN_CMD_ARGS",
            "GUNICORN_PORT": "GUNICORN_BIND=<host>:<port>",
        },
    ),
    Image(
        "archesproject/arches:docker/gunicorn_config.py",
        """
        GUNICORN_WORKERS=2
        GUNICORN_WORKER_CLASS=sync
        GUNICORN_WORKER_TIMEOUT=30
        GUNICORN_WORKER_CONNECTIONS=1000
        GUNICORN_KEEPALIVE=2
        GUNICORN_BACKLOG=2048
        GUNICORN_LOGLEVEL=info
        GUNICORN_ERRORLOG=-
        GUNICORN_ACCESSLOG=-
        GUNICORN_UMASK=0
        GUNICORN_SPEW=False
        GUNICORN_DAEMON=False
        """,
        (2, 1, "sync"),
        {"GUNICORN_WORKER_TIMEOUT": "GUNICORN_TIMEOUT"},
    ),
    Image(
        "pgadmin-org/pgadmin4:pkg/docker/entrypoint.sh",
        """
        GUNICORN_THREADS=25
        GUNICORN_ACCESS_LOGFILE=-
        GUNICORN_LIMIT_REQUEST_LINE=8190
        GUNICORN_LIMIT_REQUEST_FIELDS=100
        GUNICORN_LIMIT_REQUEST_FIELD_SIZE=8190
        """,
        (5, 25, THREADS),
        {"GUNICORN_ACCESS_LOGFILE": "GUNICORN_ACCESSLOG"},
    ),
    Image(
        "TandoorRecipes/recipes:boot.sh, docs/install/other.md",
        """
        GUNICORN_WORKERS=3
        GUNICORN_THREADS=2
        GUNICORN_TIMEOUT=30
        GUNICORN_LOG_LEVEL=info
        GUNICORN_MEDIA=0
        """,
        (3, 2, THREADS),
        {"GUNICORN_LOG_LEVEL": "GUNICORN_LOGLEVEL", "GUNICORN_MEDIA": ""},
    ),
    Image(
        "Flagsmith/flagsmith:docs/docs/deployment-self-hosting/scaling-and-performance/sizing-and-scaling.md",
        """
        GUNICORN_WORKERS=3
        GUNICORN_THREADS=2
        GUNICORN_TIMEOUT=30
        GUNICORN_KEEP_ALIVE=2
        """,
        (3, 2, THREADS),
        {"GUNICORN_KEEP_ALIVE": "GUNICORN_KEEPALIVE"},
    ),
    Image(
        "gramps-project/gramps-web-api:Dockerfile",
        """
        GUNICORN_NUM_WORKERS=8
        GUNICORN_TIMEOUT=120
        """,
        (9, 1, "sync"),
        {"GUNICORN_NUM_WORKERS": "GUNICORN_WORKERS"},
    ),
    Image(
        "RedHatInsights/insights-host-inventory:deploy/clowdapp.yml",
        """
        GUNICORN_WORKERS=4
        GUNICORN_THREADS=8
        GUNICORN_MAX_REQUESTS=0
        GUNICORN_MAX_REQUESTS_JITTER=0
        GUNICORN_REQUEST_FIELD_LIMIT=16380
        GUNICORN_REQUEST_LINE_LIMIT=8190
        """,
        (4, 8, THREADS),
        {
            "GUNICORN_REQUEST_FIELD_LIMIT": "GUNICORN_LIMIT_REQUEST_FIELD_SIZE",
            "GUNICORN_REQUEST_LINE_LIMIT": "GUNICORN_LIMIT_REQUEST_LINE",
        },
    ),
    Image(
        "RedHatInsights/insights-rbac:deploy/rbac-clowdapp.yml",
        """
        GUNICORN_WORKER_MULTIPLIER=2
        GUNICORN_THREAD_LIMIT=10
        """,
        (9, 1, "sync"),
        {"GUNICORN_THREAD_LIMIT": ""},
        notes=(f"GUNICORN_WORKER_MULTIPLIER {PER_CORE}",),
    ),
    Image(
        "mayan-edms/Mayan-EDMS:config.env",
        """
        GUNICORN_WORKERS=3
        GUNICORN_WORKER_CLASS=sync
        GUNICORN_TIMEOUT=120
        GUNICORN_MAX_REQUESTS=500
        GUNICORN_REQUESTS_JITTER=50
        GUNICORN_LIMIT_REQUEST_LINE=4094
        """,
        (3, 1, "sync"),
        {"GUNICORN_REQUESTS_JITTER": "GUNICORN_MAX_REQUESTS_JITTER"},
    ),
    Image(
        "PowerDNS-Admin/PowerDNS-Admin:docker/production/entrypoint.sh",
        """
        GUNICORN_TIMEOUT=120
        GUNICORN_WORKERS=4
        GUNICORN_LOGLEVEL=info
        """,
        (4, 1, "sync"),
    ),
    Image(
        "PnX-SI/UsersHub:usershub.service",
        """
        GUNICORN_PROC_NAME=usershub
        GUNICORN_NUM_WORKERS=4
        GUNICORN_HOST=127.0.0.1
        GUNICORN_PORT=5001
        GUNICORN_TIMEOUT=30
        GUNICORN_LOG_FILE=/var/log/usershub/%N%I.log
        """,
        (9, 1, "sync"),
        {
            "GUNICORN_HOST": "GUNICORN_BIND=<host>:<port>",
            "GUNICORN_LOG_FILE": "GUNICORN_ERRORLOG",
            "GUNICORN_NUM_WORKERS": "GUNICORN_WORKERS",
            "GUNICORN_PORT": "GUNICORN_BIND=<host>:<port>",
        },
    ),
    Image(
        "TencentBlueKing/blueking-paas:apiserver/start.sh",
        """
        GUNICORN_CONCURRENCY=8
        GUNICORN_TIMEOUT=150
        GUNICORN_MAX_REQUESTS=2048
        GUNICORN_LOG_LEVEL=INFO
        """,
        (9, 1, "sync"),
        {
            "GUNICORN_CONCURRENCY": "GUNICORN_WORKERS",
            "GUNICORN_LOG_LEVEL": "GUNICORN_LOGLEVEL",
        },
    ),
    Image(
        "internetarchive/openlibrary:compose.staging.yaml",
        "GUNICORN_OPTS=--workers 4 --timeout 180",
        (9, 1, "sync"),
        {"GUNICORN_OPTS": "GUNICORN_CMD_ARGS"},
    ),
    Image(
        "mozilla/kitsune:bin/run-prod.sh",
        """
        GUNICORN_LOGFORMAT=%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"
        """,
        (9, 1, "sync"),
        {"GUNICORN_LOGFORMAT": "GUNICORN_ACCESS_LOG_FORMAT"},
    ),
    Image(
        "praekeltfoundation/docker-django-bootstrap:README.md",
        """
        GUNICORN_ACCESS_LOGS=true
        GUNICORN_CMD_ARGS=--timeout 1800
        """,
        (9, 1, "sync"),
        {"GUNICORN_ACCESS_LOGS": "GUNICORN_ACCESSLOG=-"},
    ),
    Image(
        "cds-snc/notification-api:gunicorn_config.py",
        """
        GUNICORN_WORKERS=4
        GUNICORN_THREADS=4
        GUNICORN_WORKER_CONNECTIONS=256
        GUNICORN_PRELOAD_APP=False
        """,
        (4, 4, THREADS),
    ),
    Image(
        "amancevice/docker-superset:Dockerfile",
        """
        GUNICORN_BIND=0.0.0.0:8088
        GUNICORN_LIMIT_REQUEST_FIELD_SIZE=8190
        GUNICORN_LIMIT_REQUEST_LINE=4094
        GUNICORN_THREADS=4
        GUNICORN_TIMEOUT=120
        GUNICORN_WORKERS=10
        GUNICORN_WORKER_CLASS=gevent
        GUNICORN_CMD_ARGS=--bind 0.0.0.0:8088 --threads 4 --timeout 120 --workers 10 -k gevent
        """,
        (10, 4, "gevent"),
    ),
    Image(
        "bcgov/lear:legal-api/gunicorn_config.py",
        """
        GUNICORN_PROCESSES=1
        GUNICORN_THREADS=8
        GUNICORN_TIMEOUT=0
        GUNICORN_KEEPALIVE=2
        GUNICORN_WORKER_CLASS=sync
        GUNICORN_WORKER_CONNECTIONS=1000
        """,
        (9, 8, "sync"),
        {"GUNICORN_PROCESSES": "GUNICORN_WORKERS"},
    ),
    Image(
        "sclorg/s2i-python-container:3.12-minimal/s2i/bin/run",
        """
        APP_MODULE=wsgi:application
        PORT=8080
        WEB_CONCURRENCY=2
        GUNICORN_CMD_ARGS=--bind=0.0.0.0:8080 --access-logfile=-
        """,
        (2, 1, "sync"),
    ),
    Image(
        "makeplane/plane:deployments/aio/community/variables.env",
        """
        GUNICORN_WORKERS=1
        PORT=8000
        """,
        (1, 1, UVICORN),
        application=FASTAPI,
    ),
    Image(
        "ansible/galaxy_ng:docker/bin/start-api",
        """
        GUNICORN_PORT=8000
        GUNICORN_WORKERS=4
        GUNICORN_TIMEOUT=90
        GUNICORN_MAX_REQUESTS=5000
        GUNICORN_MAX_REQUESTS_JITTER=500
        GUNICORN_FORWARDED_ALLOW_IPS=
        GUNICORN_LOGGER_CLASS=
        """,
        (4, 1, "sync"),
        {"GUNICORN_PORT": "GUNICORN_BIND=<host>:<port>"},
    ),
    Image(
        "GeotrekCE/Geotrek-admin:.env.dist",
        "GUNICORN_CMD_ARGS=--bind=0.0.0.0:8000 --workers=5 --timeout=600",
        (5, 1, "sync"),
    ),
    Image(
        "wger-project/docker:config/prod.env",
        """
        WGER_USE_GUNICORN=True
        GUNICORN_CMD_ARGS=--workers 3 --threads 2 --worker-class gthread --timeout 240
        """,
        (3, 2, "gthread"),
    ),
    Image(
        "EOxServer/eoxserver:sample.env, an application in GUNICORN_CMD_ARGS",
        "GUNICORN_CMD_ARGS=--config /opt/eoxserver/gunicorn.conf.py instance.wsgi:application",
        (9, 1, "sync"),
    ),
    Image(
        "mozilla-services/socorro:bin/run_service_webapp.sh",
        """
        GUNICORN_TIMEOUT=300
        GUNICORN_WORKERS=1
        GUNICORN_WORKER_CLASS=sync
        GUNICORN_MAX_REQUESTS=10000
        GUNICORN_MAX_REQUESTS_JITTER=1000
        """,
        (1, 1, "sync"),
    ),
    Image(
        "mozilla-services/tecken:bin/run_web.sh",
        """
        GUNICORN_WORKERS=4
        GUNICORN_TIMEOUT=900
        GUNICORN_GRACEFUL_TIMEOUT=900
        """,
        (4, 1, "sync"),
    ),
]


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.name)
def test_image(image: Image) -> None:
    settings = plan_for(image.environ, image.application).settings
    said = [
        f"{name} is unknown and has no effect" + (f"; did you mean {instead}?" if instead else "")
        for name, instead in image.said.items()
    ]

    assert (settings["workers"], settings["threads"], settings["worker_class"]) == image.planned
    assert sorted(declare(image.environ).warnings) == sorted([*said, *image.notes])


def test_a_value_that_gunicorn_does_not_take_is_named() -> None:
    """The compose file of project-koku/koku sets GUNICORN_THREADS to False."""
    environ = {"GUNICORN_WORKERS": "3", "GUNICORN_THREADS": "False", "GUNICORN_LOG_LEVEL": "INFO"}
    with pytest.raises(DeclarationError, match=r"^GUNICORN_THREADS='False': use a whole number"):
        declare(environ)

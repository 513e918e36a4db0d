"""What other images call Gunicorn's settings: the table. Pure.

Each name was found in public code: Dockerfiles, entrypoints, charts and `gunicorn.conf.py` files
that read the environment. The one exception is WORKER_MEM, which is short for a variable of ours. A
name with two meanings, such as `TMP_DIR`, has no row, and none has one
that is a variable of this package.
"""

from __future__ import annotations

from typing import NamedTuple

from gunicorn_autoconf.plan.variables import PREFIX

CONFIGURATION = "Gunicorn takes its configuration by -c only"
APPLICATION = "Gunicorn takes the application from its command line"
PER_CORE = "the plan counts the cores itself; GUNICORN_WORKERS sets a count"


class Alias(NamedTuple):
    """
    One row of the table. Names are without the prefix.

    Attributes:
        name: The variable as others call it.
        variable: What to set instead, or "" if no variable does it.
        seen: A public repository and the file in it that has the name, with a colon between; ""
            where the name was found in a search that does not tell the repository.
        form: How the value is written there, if not as it was.
        note: What to do where no variable does it.
    """

    name: str
    variable: str
    seen: str = ""
    form: str = ""
    note: str = ""

    @property
    def instead(self) -> str:
        """What to set instead, as it is written."""
        if not self.variable:
            return self.note
        return f"{PREFIX}{self.variable}={self.form}" if self.form else PREFIX + self.variable


ALIASES: tuple[Alias, ...] = (
    Alias("NUM_WORKERS", "WORKERS", "gramps-project/gramps-web-api:Dockerfile"),
    Alias("N_WORKERS", "WORKERS"),
    Alias("NB_WORKERS", "WORKERS"),
    Alias("WORKER_COUNT", "WORKERS"),
    Alias("WORKERS_COUNT", "WORKERS"),
    Alias("WORKER_NUM", "WORKERS"),
    Alias("WORKER_NUMBER", "WORKERS"),
    Alias("WORKER_NO", "WORKERS"),
    Alias("PROCESSES", "WORKERS", "bcgov/lear:legal-api/gunicorn_config.py"),
    Alias("CONCURRENCY", "WORKERS", "TencentBlueKing/blueking-paas:apiserver/start.sh"),
    Alias("NUM_THREADS", "THREADS"),
    Alias("N_THREADS", "THREADS"),
    Alias("THREAD_NUM", "THREADS"),
    Alias("WORKER_THREADS", "THREADS"),
    Alias("THREADS_PER_WORKER", "THREADS"),
    Alias("WORKER_TYPE", "WORKER_CLASS"),
    Alias("CONNECTIONS", "WORKER_CONNECTIONS"),
    Alias("WORKER_TIMEOUT", "TIMEOUT", "archesproject/arches:docker/gunicorn_config.py"),
    Alias("WORKER_TIMEOUT_SEC", "TIMEOUT"),
    Alias("WORKER_TIMEOUT_SECONDS", "TIMEOUT"),
    Alias("W_TIMEOUT", "TIMEOUT"),
    Alias("SHUTDOWN_TIMEOUT", "GRACEFUL_TIMEOUT"),
    Alias("GRACEFUL", "GRACEFUL_TIMEOUT"),
    Alias(
        "KEEP_ALIVE",
        "KEEPALIVE",
        "Flagsmith/flagsmith:infrastructure/aws/production/ecs-task-definition-admin-api.json",
    ),
    Alias("MAX_REQUEST", "MAX_REQUESTS"),
    Alias("MAX_RQ", "MAX_REQUESTS"),
    Alias("WORKER_MAX_REQUESTS", "MAX_REQUESTS"),
    Alias("MAX_REQUEST_JITTER", "MAX_REQUESTS_JITTER"),
    Alias("REQUESTS_JITTER", "MAX_REQUESTS_JITTER", "mayan-edms/Mayan-EDMS:config.env"),
    Alias("MAX_RQ_JITTER", "MAX_REQUESTS_JITTER"),
    Alias("JITTER", "MAX_REQUESTS_JITTER"),
    Alias(
        "REQUEST_LINE_LIMIT",
        "LIMIT_REQUEST_LINE",
        "RedHatInsights/insights-host-inventory:deploy/clowdapp.yml",
    ),
    Alias(
        "REQUEST_FIELD_LIMIT",
        "LIMIT_REQUEST_FIELD_SIZE",
        "RedHatInsights/insights-host-inventory:deploy/clowdapp.yml",
    ),
    Alias("HOST", "BIND", "benoitc/gunicorn:docker/docker-entrypoint.sh", form="<host>:<port>"),
    Alias("PORT", "BIND", "benoitc/gunicorn:docker/docker-entrypoint.sh", form="<host>:<port>"),
    Alias("BIND_ADDRESS", "BIND"),
    Alias("BIND_HOST", "BIND", form="<host>:<port>"),
    Alias("BIND_PORT", "BIND", form="<host>:<port>"),
    Alias("ADDRESS", "BIND"),
    Alias("ADDR", "BIND"),
    Alias("LISTEN", "BIND"),
    Alias("LISTEN_ADDRESS", "BIND"),
    Alias("LISTEN_PORT", "BIND", form="<host>:<port>"),
    Alias("SERVER_HOST", "BIND", form="<host>:<port>"),
    Alias("SERVER_PORT", "BIND", form="<host>:<port>"),
    Alias("SOCKET", "BIND", form="unix:<path>"),
    Alias("SSL_CERTFILE", "CERTFILE"),
    Alias("SSL_CRT", "CERTFILE"),
    Alias("SSL_KEYFILE", "KEYFILE"),
    Alias("SSL_KEY", "KEYFILE"),
    Alias("LOG_LEVEL", "LOGLEVEL", "TandoorRecipes/recipes:boot.sh"),
    Alias("LOG_FILE", "ERRORLOG", "PnX-SI/UsersHub:usershub.service"),
    Alias("ERROR_LOG", "ERRORLOG"),
    Alias("ERROR_LOGFILE", "ERRORLOG"),
    Alias("ACCESS_LOG", "ACCESSLOG"),
    Alias("ACCESS_LOGFILE", "ACCESSLOG", "pgadmin-org/pgadmin4:pkg/docker/entrypoint.sh"),
    Alias(
        "ACCESS_LOGS",
        "ACCESSLOG",
        "praekeltfoundation/docker-django-bootstrap:gunicorn/config.py",
        form="-",
    ),
    Alias("LOGFORMAT", "ACCESS_LOG_FORMAT", "mozilla/kitsune:bin/run-prod.sh"),
    Alias("PID_FILE", "PIDFILE"),
    Alias(
        "PRELOAD", "PRELOAD_APP", "benoitc/gunicorn:examples/celery_alternative/gunicorn_conf.py"
    ),
    Alias("WORKER_DIR", "WORKER_TMP_DIR"),
    Alias("WORKER_MEM", "WORKER_MEMORY"),
    Alias("ARGS", "CMD_ARGS", "benoitc/gunicorn:docker/docker-entrypoint.sh"),
    Alias("OPTS", "CMD_ARGS", "internetarchive/openlibrary:compose.yaml"),
    Alias("OPTIONS", "CMD_ARGS", "ansible/galaxy_ng:docker/bin/start-api"),
    Alias("FLAGS", "CMD_ARGS", "reviewboard/reviewboard:contrib/docker/scripts/serve.sh"),
    Alias("PARAMS", "CMD_ARGS", "camptocamp/c2cwsgiutils:BREAKING_CHANGES.md"),
    Alias("EXTRA_ARGS", "CMD_ARGS"),
    Alias("EXTRA_FLAGS", "CMD_ARGS"),
    Alias("DEBUG_ARGS", "CMD_ARGS", "akvo/akvo-rsr:scripts/docker/prod/start-django.sh"),
    Alias("CLI_EXTEND", "CMD_ARGS"),
    Alias("CONFIG", "", note=CONFIGURATION),
    Alias("CONFIG_FILE", "", note=CONFIGURATION),
    Alias("CONF", "", "br3ndonland/inboard:inboard/start.py", note=CONFIGURATION),
    Alias(
        "APP_MODULE",
        "",
        "tenstorrent/ttnn-visualizer:backend/ttnn_visualizer/app.py",
        note=APPLICATION,
    ),
    Alias("MODULE", "", note=APPLICATION),
    Alias("CALLABLE", "", note=APPLICATION),
    Alias("WORKERS_PER_CORE", "", note=PER_CORE),
    Alias("WORKER_MULTIPLIER", "", "RedHatInsights/insights-rbac:rbac/gunicorn.py", note=PER_CORE),
)

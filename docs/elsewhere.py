"""What platforms and the start scripts of other images read, and what to set here instead."""

from __future__ import annotations

from typing import NamedTuple


class Elsewhere(NamedTuple):
    """
    Variables of one start script, without Gunicorn's prefix.

    Attributes:
        seen: The public repository and the file in it that reads them.
        here: By the name there what to set here, or a sentence where no variable does it.
    """

    seen: str
    here: dict[str, str]


_COUNTED = "drop it, the plan counts the cores; `GUNICORN_WORKERS` sets a count"
_CLASS = "drop it, the plan chooses; `GUNICORN_WORKER_CLASS` sets one"
_NAMED = "name the application on Gunicorn's command line"
_WORKERS, _THREADS, _TIMEOUT = "`GUNICORN_WORKERS`", "`GUNICORN_THREADS`", "`GUNICORN_TIMEOUT`"
_BIND = "`GUNICORN_BIND=<host>:<port>`"
_LOOP = "drop it, the plan chooses the count; `GUNICORN_WORKERS` sets one"

ELSEWHERE: tuple[Elsewhere, ...] = (
    Elsewhere(
        "tiangolo/uvicorn-gunicorn-docker:docker-images/gunicorn_conf.py",
        {
            "WORKERS_PER_CORE": _COUNTED,
            "MAX_WORKERS": "`GUNICORN_MAX_WORKERS`",
            "HOST": _BIND,
            "BIND": "`GUNICORN_BIND`",
            "TIMEOUT": _TIMEOUT,
            "GRACEFUL_TIMEOUT": "`GUNICORN_GRACEFUL_TIMEOUT`",
            "KEEP_ALIVE": "`GUNICORN_KEEPALIVE`",
            "LOG_LEVEL": "`GUNICORN_LOGLEVEL`",
            "ACCESS_LOG": "`GUNICORN_ACCESSLOG`",
            "ERROR_LOG": "`GUNICORN_ERRORLOG`",
        },
    ),
    Elsewhere(
        "tiangolo/uvicorn-gunicorn-docker:docker-images/start.sh",
        {
            "MODULE_NAME": _NAMED,
            "VARIABLE_NAME": _NAMED,
            "APP_MODULE": _NAMED,
            "WORKER_CLASS": _CLASS,
        },
    ),
    Elsewhere(
        "CTFd/CTFd:docker-entrypoint.sh",
        {
            "WORKERS": _WORKERS,
            "WORKER_CLASS": "`GUNICORN_WORKER_CLASS`",
            "WORKER_TEMP_DIR": "`GUNICORN_WORKER_TMP_DIR`",
        },
    ),
    Elsewhere(
        "CogStack/MedCATservice:start_service_production.sh",
        {
            "SERVER_WORKERS": _WORKERS,
            "SERVER_THREADS": _THREADS,
            "SERVER_WORKER_TIMEOUT": _TIMEOUT,
            "SERVER_HOST": _BIND,
            "SERVER_PORT": _BIND,
        },
    ),
    Elsewhere(
        "hi-arti/docker-wkhtmltopdf-aas:start.sh",
        {
            "WORKERS_COUNT": _WORKERS,
            "WORKER_THREADS": _THREADS,
            "WORKER_CONNECTIONS": "`GUNICORN_WORKER_CONNECTIONS`",
            "WORKER_TIMEOUT": _TIMEOUT,
        },
    ),
    Elsewhere(
        "reviewboard/reviewboard:contrib/docker/scripts/serve.sh",
        {"NUM_WORKERS": _WORKERS, "NUM_THREADS": _THREADS, "REQUEST_TIMEOUT": _TIMEOUT},
    ),
    Elsewhere(
        "ONSdigital/eq-questionnaire-runner:gunicorn_config.py",
        {
            "WEB_SERVER_WORKERS": _WORKERS,
            "WEB_SERVER_THREADS": _THREADS,
            "HTTP_KEEP_ALIVE": "`GUNICORN_KEEPALIVE`",
        },
    ),
    Elsewhere("hypothesis/h:conf/gunicorn.conf.py", {"WEB_NUM_WORKERS": _WORKERS}),
    Elsewhere(
        "apache/superset:docker/entrypoints/run-server.sh",
        {
            "SERVER_WORKER_AMOUNT": _WORKERS,
            "SERVER_THREADS_AMOUNT": _THREADS,
            "SERVER_WORKER_CLASS": _CLASS,
            "WORKER_MAX_REQUESTS": "`GUNICORN_MAX_REQUESTS`",
            "WORKER_MAX_REQUESTS_JITTER": "`GUNICORN_MAX_REQUESTS_JITTER`",
            "SERVER_LIMIT_REQUEST_LINE": "`GUNICORN_LIMIT_REQUEST_LINE`",
            "SERVER_LIMIT_REQUEST_FIELD_SIZE": "`GUNICORN_LIMIT_REQUEST_FIELD_SIZE`",
            "SUPERSET_BIND_ADDRESS": _BIND,
            "SUPERSET_PORT": _BIND,
        },
    ),
    Elsewhere(
        "getredash/redash:bin/docker-entrypoint",
        {
            "REDASH_WEB_WORKERS": _WORKERS,
            "REDASH_GUNICORN_TIMEOUT": _TIMEOUT,
            "MAX_REQUESTS": "`GUNICORN_MAX_REQUESTS`",
            "MAX_REQUESTS_JITTER": "`GUNICORN_MAX_REQUESTS_JITTER`",
        },
    ),
    Elsewhere(
        "paperless-ngx/paperless-ngx:docker/rootfs/etc/s6-overlay/s6-rc.d/svc-webserver/run",
        {
            "PAPERLESS_WEBSERVER_WORKERS": _WORKERS,
            "GRANIAN_WORKERS": _WORKERS,
            "PAPERLESS_BIND_ADDR": _BIND,
            "PAPERLESS_PORT": _BIND,
        },
    ),
    Elsewhere(
        "mayan-edms/Mayan-EDMS:mayan/apps/platform/templates/platform/docker/entrypoint.tmpl",
        {
            "MAYAN_GUNICORN_WORKERS": _WORKERS,
            "MAYAN_GUNICORN_WORKER_CLASS": "`GUNICORN_WORKER_CLASS`",
            "MAYAN_GUNICORN_TIMEOUT": _TIMEOUT,
            "MAYAN_GUNICORN_MAX_REQUESTS": "`GUNICORN_MAX_REQUESTS`",
            "MAYAN_GUNICORN_REQUESTS_JITTER": "`GUNICORN_MAX_REQUESTS_JITTER`",
            "MAYAN_GUNICORN_LIMIT_REQUEST_LINE": "`GUNICORN_LIMIT_REQUEST_LINE`",
        },
    ),
    Elsewhere(
        "pulp/pulp-oci-images:docs/admin/reference/available-images/multi-process-images.md",
        {
            "PULP_API_WORKERS": _WORKERS,
            "PULP_CONTENT_WORKERS": _WORKERS,
            "PULP_API_WORKERS_MAX_REQUESTS": "`GUNICORN_MAX_REQUESTS`",
            "PULP_API_WORKERS_MAX_REQUESTS_JITTER": "`GUNICORN_MAX_REQUESTS_JITTER`",
        },
    ),
    Elsewhere(
        "allegroai/clearml-server:docker/build/internal_files/entrypoint.sh",
        {
            "CLEARML_GUNICORN_BIND": "`GUNICORN_BIND`",
            "CLEARML_GUNICORN_TIMEOUT": _TIMEOUT,
            "CLEARML_GUNICORN_MAX_REQUESTS": "`GUNICORN_MAX_REQUESTS`",
            "CLEARML_GUNICORN_MAX_REQUESTS_JITTER": "`GUNICORN_MAX_REQUESTS_JITTER`",
            "CLEARML_GUNICORN_CMD_ARGS": "`GUNICORN_CMD_ARGS`",
        },
    ),
    Elsewhere(
        "artefactual/archivematica:src/dashboard/install/dashboard.gunicorn-config.py",
        {
            "AM_GUNICORN_WORKERS": _WORKERS,
            "AM_GUNICORN_TIMEOUT": _TIMEOUT,
            "AM_GUNICORN_BIND": "`GUNICORN_BIND`",
            "AM_GUNICORN_LOGLEVEL": "`GUNICORN_LOGLEVEL`",
        },
    ),
    Elsewhere(
        "g3w-suite/g3w-suite-docker:scripts/docker-entrypoint.sh",
        {
            "G3WSUITE_GUNICORN_NUM_WORKERS": _WORKERS,
            "G3WSUITE_GUNICORN_TIMEOUT": _TIMEOUT,
            "G3WSUITE_GUNICORN_MAX_REQUESTS": "`GUNICORN_MAX_REQUESTS`",
        },
    ),
    Elsewhere(
        "bram2w/baserow:backend/docker/docker-entrypoint.sh",
        {
            "BASEROW_AMOUNT_OF_GUNICORN_WORKERS": _WORKERS,
            "BASEROW_BACKEND_LOG_LEVEL": "`GUNICORN_LOGLEVEL`",
        },
    ),
    Elsewhere(
        "openwisp/docker-openwisp:images/common/uwsgi.conf.ini",
        {
            "UWSGI_PROCESSES": _WORKERS,
            "UWSGI_THREADS": _THREADS,
            "UWSGI_LISTEN": "`GUNICORN_BACKLOG`",
        },
    ),
    Elsewhere(
        "searxng/searxng:utils/templates/etc/uwsgi/apps-available/searxng.ini",
        {"UWSGI_WORKERS": _WORKERS},
    ),
    Elsewhere(
        "nautobot/nautobot:docker/docker-entrypoint.sh",
        {
            "NAUTOBOT_UWSGI_PROCESSES": _WORKERS,
            "NAUTOBOT_UWSGI_LISTEN": "`GUNICORN_BACKLOG`",
        },
    ),
    Elsewhere("open-webui/open-webui:backend/start.sh", {"UVICORN_WORKERS": _LOOP}),
    Elsewhere("langflow-ai/langflow:.env.example", {"LANGFLOW_WORKERS": _LOOP}),
    Elsewhere(
        "GoogleCloudPlatform/functions-framework-python:src/functions_framework/_http/gunicorn.py",
        {
            "WORKERS": _WORKERS,
            "THREADS": _THREADS,
            "CLOUD_RUN_TIMEOUT_SECONDS": "a time limit in the application: `GUNICORN_TIMEOUT` "
            "ends no single request of a threaded worker",
        },
    ),
    Elsewhere(
        "microsoft/Oryx:src/startupscriptgenerator/src/common/consts/ext_var_names.go",
        dict.fromkeys(
            (
                "PYTHON_ENABLE_GUNICORN_MULTIWORKERS",
                "PYTHON_GUNICORN_CUSTOM_WORKER_NUM",
                "PYTHON_GUNICORN_CUSTOM_THREAD_NUM",
            ),
            "leave it unset: it puts options on Gunicorn's command line, and those win over "
            "the plan",
        ),
    ),
)

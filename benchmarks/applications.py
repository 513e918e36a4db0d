"""Real applications from PyPI for `benchmarks.real_apps`: how each is installed and asked."""

from __future__ import annotations

from typing import NamedTuple

WAGTAIL_LOCAL = """
SECRET_KEY = "only for a measurement"
ALLOWED_HOSTS = ["*"]
"""

TIFF = """
import numpy, rasterio
from rasterio.transform import from_bounds

bands = numpy.random.default_rng(0).integers(0, 255, (3, 1024, 1024), "uint8")
with rasterio.open(
    "scene.tif", "w", driver="COG", width=1024, height=1024, count=3, dtype="uint8",
    crs="EPSG:3857", transform=from_bounds(0, 0, 100000, 100000, 1024, 1024),
) as scene:
    scene.write(bands)
"""

LITELLM = """
model_list:
  - model_name: mock
    litellm_params: {model: openai/mock, api_key: none, mock_response: hello}
"""

DATASETTE = """
import sqlite3
from datasette.app import Datasette

with sqlite3.connect("shop.db") as db:
    db.execute("create table if not exists item (id integer primary key, name text)")
app = Datasette(["shop.db"]).app()
"""

KINTO = """
from pyramid.paster import get_app

application = get_app("kinto.ini")
"""

OPTUNA = """
import optuna
from optuna_dashboard import wsgi

storage = optuna.storages.RDBStorage("sqlite:///study.db")
application = wsgi(storage)
"""

OPTUNA_STUDY = """
import optuna

optuna.logging.set_verbosity(optuna.logging.WARNING)
study = optuna.create_study(storage="sqlite:///study.db", study_name="s", load_if_exists=True)
study.optimize(lambda trial: trial.suggest_float("x", -1, 1) ** 2, n_trials=20)
"""

RADICALE = """
[auth]
type = none
[storage]
filesystem_folder = collections
"""

PYGEOAPI = """
server:
  bind: {host: 127.0.0.1, port: 5000}
  url: http://127.0.0.1:5000
  mimetype: application/json; charset=UTF-8
  encoding: utf-8
  language: en-US
  limits: {default_items: 20, max_items: 50}
  map: {url: "http://127.0.0.1/{z}/{x}/{y}.png", attribution: none}
logging: {level: ERROR}
metadata:
  identification:
    title: {en: t}
    description: {en: d}
    keywords: {en: [k]}
    keywords_type: theme
    terms_of_service: none
    url: http://127.0.0.1
  license: {name: none, url: http://127.0.0.1}
  provider: {name: none, url: http://127.0.0.1}
  contact: {name: n, position: p, address: a, city: c, stateorprovince: s, postalcode: "1",
            country: c, phone: "1", fax: "1", email: a@example.org, url: http://127.0.0.1,
            hours: h, instructions: i, role: pointOfContact}
resources:
  points:
    type: collection
    title: points
    description: points
    keywords: [k]
    extents: {spatial: {bbox: [-180, -90, 180, 90],
                        crs: "http://www.opengis.net/def/crs/OGC/1.3/CRS84"}}
    providers:
      - type: feature
        name: CSV
        data: points.csv
        id_field: id
        geometry: {x_field: x, y_field: y}
"""


class Application(NamedTuple):
    """
    One application: how it is installed, prepared, run and asked.

    Attributes:
        packages: What pip installs.
        target: What Gunicorn serves.
        limit_mib: The memory limit that it is usually given.
        limit_source: Where that limit comes from.
        prepare: Shell commands, run once in its folder with its environment.
        files: What its folder holds before that, by path.
        environ: Its variables; ``{folder}`` is its folder.
        paths: What clients ask for in turn; with a space: POST of the JSON after it.
    """

    packages: str
    target: str
    limit_mib: int
    limit_source: str
    paths: tuple[str, ...]
    prepare: tuple[str, ...] = ()
    files: dict[str, str] = {}  # noqa: RUF012 - never changed
    environ: dict[str, str] = {}  # noqa: RUF012 - never changed


SMALL, USUAL = "the smallest instance on Render and Heroku", "a usual pod"

APPLICATIONS = {
    "wagtail": Application(
        "wagtail",
        "shop.wsgi:application",
        512,
        SMALL,
        ("/", "/admin/login/"),
        (
            "wagtail start shop .",
            "cp local.py shop/settings/local.py",
            "python manage.py migrate -v0",
            "python manage.py collectstatic -v0 --noinput",
        ),
        {"local.py": WAGTAIL_LOCAL},
        {"DJANGO_SETTINGS_MODULE": "shop.settings.production"},
    ),
    "titiler": Application(
        "titiler-application",
        "titiler.application.main:app",
        1024,
        USUAL,
        (
            "/healthz",
            "/cog/info?url={folder}/scene.tif",
            "/cog/preview.png?url={folder}/scene.tif",
        ),
        ("python tiff.py",),
        {"tiff.py": TIFF},
    ),
    "mlflow": Application(
        "mlflow",
        "mlflow.server.fastapi_app:app",
        2048,
        USUAL,
        ("/health", "/api/2.0/mlflow/experiments/search?max_results=10", "/"),
        ("mlflow db upgrade sqlite:///{folder}/mlflow.db",),
        {},
        {
            "_MLFLOW_SERVER_FILE_STORE": "sqlite:///{folder}/mlflow.db",
            "_MLFLOW_SERVER_ARTIFACT_ROOT": "{folder}/artifacts",
        },
    ),
    "prefect": Application(
        "prefect",
        "prefect.server.api.server:create_app()",
        1024,
        "the limit in the chart of prefect-server",
        ("/api/health", "/api/flows/filter {}", "/api/admin/version"),
        ("prefect server database upgrade -y",),
        {},
        {
            "PREFECT_HOME": "{folder}",
            "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": "false",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        },
    ),
    "litellm": Application(
        "litellm[proxy]",
        "litellm.proxy.proxy_server:app",
        2048,
        USUAL,
        (
            "/health/liveliness",
            "/v1/models",
            '/chat/completions {"model": "mock", "messages": [{"role": "user", "content": "hi"}]}',
        ),
        (),
        {"config.yaml": LITELLM},
        {
            "CONFIG_FILE_PATH": "{folder}/config.yaml",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
        },
    ),
    "datasette": Application(
        "datasette",
        "shop:app",
        256,
        "the smallest machine on Fly",
        ("/", "/shop", "/shop/item.json"),
        (),
        {"shop.py": DATASETTE},
    ),
    "kinto": Application(
        "kinto",
        "shop:application",
        512,
        SMALL,
        ("/v1/", "/v1/__heartbeat__"),
        ("kinto init --ini kinto.ini --backend memory --cache-backend memory",),
        {"shop.py": KINTO},
    ),
    "radicale": Application(
        "radicale",
        "radicale:application",
        256,
        "the smallest machine on Fly",
        ("/.web/", "/"),
        (),
        {"radicale.conf": RADICALE},
        {"RADICALE_CONFIG": "{folder}/radicale.conf"},
    ),
    "optuna-dashboard": Application(
        "optuna-dashboard",
        "shop:application",
        1024,
        USUAL,
        ("/dashboard/", "/api/studies", "/api/studies/1"),
        ("python study.py",),
        {"shop.py": OPTUNA, "study.py": OPTUNA_STUDY},
    ),
    "pygeoapi": Application(
        "pygeoapi",
        "pygeoapi.flask_app:APP",
        512,
        SMALL,
        ("/", "/collections?f=json", "/collections/points/items?f=json"),
        ("pygeoapi openapi generate config.yml --output-file openapi.yml",),
        {"config.yml": PYGEOAPI, "points.csv": "id,x,y\n1,7,47\n2,8,48\n"},
        {
            "PYGEOAPI_CONFIG": "{folder}/config.yml",
            "PYGEOAPI_OPENAPI": "{folder}/openapi.yml",
        },
    ),
}

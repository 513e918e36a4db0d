"""Connections of uvicorn that are counted, by classes that a test writes down."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from gunicorn_autoconf.fleet.meter import Meter
from gunicorn_autoconf.fleet.shared_page import Region, SharedPage
from gunicorn_autoconf.server.counting import attach_uvicorn


class Http1:
    __module__ = "uvicorn.protocols.http.zttp_impl"

    def __init__(self, config: Any, server_state: Any) -> None:
        self.app = config.loaded_app
        self.tasks = server_state.tasks


class Chooses:
    """As uvicorn's class for HTTP/2: what serves a connection is made once its version is known."""

    __module__ = "uvicorn.protocols.http.auto_zttp_impl"

    def __init__(self, config: Any, server_state: Any) -> None:
        self.config, self.server_state = config, server_state

    def chosen(self) -> Http1:
        return Http1(self.config, server_state=self.server_state)


def test_connection_whose_version_is_not_known_yet() -> None:
    config: Any = SimpleNamespace(
        http_protocol_class=Chooses,
        ws_protocol_class=None,
        lifespan="off",
        loaded_app=object(),
        load=lambda: None,
    )
    cfg = SimpleNamespace(forwarded_allow_ips=["127.0.0.1"])
    worker: Any = SimpleNamespace(config=config, cfg=cfg)
    meter, state = Meter(SharedPage(1).doubles(0, Region.COUNTERS)), SimpleNamespace(tasks=set())
    attach_uvicorn(worker, meter, lambda: None)
    config.load()
    connection = config.http_protocol_class(config=config, server_state=state).chosen()

    assert type(connection.tasks).__name__ == "CountedTasks"

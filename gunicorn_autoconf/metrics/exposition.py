"""
Renders a snapshot as Prometheus' text, by prometheus_client's registry and exposition.

Imports prometheus_client, which is an extra, when the first one is made.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from gunicorn_autoconf.metrics.extra import LIBRARY
from gunicorn_autoconf.metrics.metric import Distribution, Kind
from gunicorn_autoconf.metrics.snapshot import Snapshot
from gunicorn_autoconf.metrics.table import METRICS

if TYPE_CHECKING:
    from prometheus_client import Metric as Family


class Text(NamedTuple):
    """What a scrape gets."""

    content_type: str
    body: bytes


class Exposition:
    """Renders what *read* returns at each scrape; nothing is kept between two of them."""

    def __init__(self, read: Callable[[], Snapshot]) -> None:
        known = set(sys.modules)
        import prometheus_client
        from prometheus_client.exposition import choose_encoder

        self._read = read
        core = prometheus_client.metrics_core
        self._families: dict[Kind, Any] = {
            Kind.COUNTER: core.CounterMetricFamily,
            Kind.GAUGE: core.GaugeMetricFamily,
            Kind.HISTOGRAM: core.HistogramMetricFamily,
        }
        self._bound: Callable[[float], str] = prometheus_client.utils.floatToGoString
        self._choose_encoder = choose_encoder
        self._registry = prometheus_client.CollectorRegistry()
        self._registry.register(self)
        self._modules = [
            name for name in sys.modules if name.partition(".")[0] == LIBRARY and name not in known
        ]

    def collect(self) -> Iterator[Family]:
        """Yield each metric of the table that has a value, as prometheus_client has it."""
        snapshot = self._read()
        for metric in METRICS:
            family = self._families[metric.kind](
                metric.full_name, metric.meaning, labels=metric.labels
            )
            for labels, value in metric.read(snapshot):
                if isinstance(value, Distribution):
                    counts = [(self._bound(bound), count) for bound, count in value.counts]
                    family.add_metric(labels, counts, value.total)
                else:
                    family.add_metric(labels, value)
            if family.samples:
                yield family

    def render(self, accept: str = "") -> Text:
        """Return the text in the format that a scraper's header *accept* asks for."""
        encode, content_type = self._choose_encoder(accept)
        return Text(content_type, encode(self._registry))

    def leave(self) -> None:
        """
        Forget, in a forked worker, that the library was imported.

        It decides at its import whether the application's own metrics are kept for one process or
        for several, by a variable that the application may still set.
        """
        for name in self._modules:
            sys.modules.pop(name, None)

"""
Whatever the operator sets holds, however it is written, and is named with its source.

`WAYS` has the ways. In each the value must be what Gunicorn runs with, at the start and after a
reload, and the memory guard must leave a count alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from configurations import FILE, MODULE, OURS, WAYS, Options, Way, final_of, folder_of, line, start
from configurations import reload as reload_
from hypothesis import given
from hypothesis import strategies as st
from simulation import Fleet, plateau

from gunicorn_autoconf import autoconf
from gunicorn_autoconf.server.provenance import offer

FLAGS = {
    "workers": "--workers",
    "threads": "--threads",
    "timeout": "--timeout",
    "graceful_timeout": "--graceful-timeout",
    "keepalive": "--keep-alive",
    "worker_connections": "--worker-connections",
    "worker_class": "--worker-class",
    "worker_tmp_dir": "--worker-tmp-dir",
}

VALUES = st.one_of(
    st.tuples(st.just("workers"), st.integers(1, 12)),
    st.tuples(st.sampled_from(["threads", "keepalive"]), st.integers(1, 100)),
    st.tuples(st.sampled_from(["timeout", "graceful_timeout"]), st.integers(0, 300)),
    # The first is Gunicorn's own default.
    st.tuples(st.just("worker_connections"), st.sampled_from([1000, 10])),
    st.tuples(st.just("worker_class"), st.sampled_from(["sync", "gthread"])),
    st.tuples(st.just("worker_tmp_dir"), st.just("/tmp")),
)


def two_minutes(arbiter: Any) -> set[int]:
    """
    The counts that a fleet has in which the guard finds workers much smaller than guessed.

    Where the count is not the operator's, it has grown after 18 seconds.
    """
    fleet = Fleet(
        [plateau(40, 45)],
        workers=arbiter.num_workers,
        limit_mib=[(0, 4096)],
        declaration=final_of(arbiter).declaration,
    ).run(120)
    return {count for _, count in fleet.counts}


def check(arbiter: Any, name: str, value: Any, source: str) -> None:
    """That *value* holds, and is known to come from *source*."""
    final = final_of(arbiter)
    explicit = final.declaration.explicit(name)
    assert arbiter.cfg.settings[name].get() == value
    assert explicit is not None
    assert (explicit.value, explicit.source) == (value, source)
    if name == "workers":
        assert arbiter.num_workers == value
        assert final.plan.settings["workers"] == value


class TestAnyWay:
    @pytest.mark.parametrize("key", WAYS)
    def test_a_count(self, key: str) -> None:
        """Even the one that would be planned; any other value: the next test."""
        way, workers = WAYS[key], 3
        with folder_of(way, "workers", workers, "--workers"):
            arbiter = start()
            source = {"FLAG": "--workers", "GUNICORN_NAME": "GUNICORN_WORKERS"}.get(
                way.source, way.source
            )
            check(arbiter, "workers", workers, source)
            assert two_minutes(arbiter) == {workers}

    @given(key=st.sampled_from(sorted(WAYS)), setting=VALUES)
    def test_any_value_at_the_start_and_after_reloads(
        self, key: str, setting: tuple[str, Any]
    ) -> None:
        way, (name, value) = WAYS[key], setting
        with folder_of(way, name, value, FLAGS[name]):
            arbiter = start()
            source = {"FLAG": FLAGS[name], "GUNICORN_NAME": f"GUNICORN_{name.upper()}"}.get(
                way.source, way.source
            )
            check(arbiter, name, value, source)
            if key == "a hook of one's own":
                return  # It is one of the start; a reload does not call it.
            for _ in range(2):
                reload_(arbiter)
                check(arbiter, name, value, source)


class TestOurs:
    """What comes from us is planned, planned again, and resized."""

    @pytest.mark.parametrize(
        "way",
        [
            line(""),
            Way(argv=MODULE),
            Way(argv=MODULE, program="site.pex"),
            line("workers = workers"),
            line("print(f'{workers} workers, {workers * threads} threads')"),
            Way(
                text="from gunicorn_autoconf import autoconf\nglobals().update(autoconf().settings)"
            ),
            Way(text="from base_conf import *", files={"base_conf.py": OURS}),
            Way(text="import gunicorn_autoconf.conf as c\nglobals().update(vars(c))"),
            Way(argv=("-c", "python:own_conf"), files={"own_conf.py": OURS}),
        ],
    )
    def test_nothing_is_set(self, way: Way) -> None:
        with folder_of(way, "", "", ""):
            arbiter = start()
            assert final_of(arbiter).declaration.explicit("workers") is None
            assert two_minutes(arbiter) != {arbiter.num_workers}
            for _ in range(2):
                reload_(arbiter)
                assert final_of(arbiter).declaration.explicit("workers") is None
                assert arbiter.cfg.workers == 3

    def test_a_value_of_another_setting_of_ours_is_the_operators(self) -> None:
        with folder_of(line("workers = threads"), "", "", ""):
            check(start(), "workers", 1, FILE)

    @pytest.mark.parametrize(
        "bound",
        ["min(workers, 8)", "max(workers, 2)", "workers if workers < 8 else 8", "int(workers)"],
    )
    def test_a_bound_holds_although_ours_is_within(self, bound: str) -> None:
        """For what is bounded for a database: the guard would go beyond."""
        with folder_of(line(f"workers = {bound}"), "", "", ""):
            arbiter = start()
            check(arbiter, "workers", 3, FILE)
            assert two_minutes(arbiter) == {3}

    def test_ours_is_left_out(self) -> None:
        """Gunicorn's default holds, since nothing that we said was taken."""
        with folder_of(line("del workers"), "", "", ""):
            check(start(), "workers", 1, "Gunicorn's default")

    def test_a_reload_gives_the_count_back(self) -> None:
        with folder_of(line("workers = 2"), "", "", "") as folder:
            arbiter = start()
            (folder / "gunicorn.conf.py").write_text(OURS, encoding="utf-8")
            reload_(arbiter)
            assert final_of(arbiter).declaration.explicit("workers") is None
            assert arbiter.num_workers == 3

    def test_a_reload_takes_the_count_away(self) -> None:
        with folder_of(line(""), "", "", "") as folder:
            arbiter = start()
            (folder / "gunicorn.conf.py").write_text(OURS + "workers = 2\n", encoding="utf-8")
            reload_(arbiter)
            check(arbiter, "workers", 2, FILE)

    def test_an_address_of_ones_own_is_no_default(self) -> None:
        """Even the one that Gunicorn would take: "nobody set it" is what the warning is about."""
        pod = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
        ways = {
            "not set": Way(text=OURS, environ=pod),
            "file": replace(line("bind = '127.0.0.1:8000'"), environ=pod),
            "option": Way(argv=(*MODULE, "-b", "127.0.0.1:8000"), environ=pod),
            "variable": Way(argv=MODULE, environ={**pod, "GUNICORN_BIND": "127.0.0.1:8000"}),
        }
        warned = []
        for name, way in ways.items():
            with folder_of(way, "", "", ""):
                remarks = final_of(start()).plan.remarks
            warned += [name for remark in remarks if "The server listens at" in remark.text]
        assert warned == ["not set"]

    def test_values_are_told_by_identity_alone(self) -> None:
        offered = offer({"workers": 3, "worker_class": "sync", "timeout": 60})
        assert dict(offered) == {"workers": 3, "worker_class": "sync", "timeout": 60}
        assert offered["workers"] is not 3  # noqa: F632
        assert offered["worker_class"] is not "sync"  # noqa: F632


class TestOptionsOfAnApplication:
    """``BaseApplication``, where no file is read."""

    def options(self, **more: Any) -> dict[str, Any]:
        return {**autoconf(workload="io").settings, **more}

    @pytest.mark.parametrize("workers", [3, 4])
    def test_an_option_is_named_by_the_line_that_sets_it(self, workers: int) -> None:
        with folder_of(Way(program="main.py"), "", "", ""):
            arbiter = start(Options(self.options(workers=workers)))
            final = final_of(arbiter)
            source = final.declaration.explicit("workers").source
            assert source.rpartition(":")[0].endswith("tests/configurations.py")
            check(arbiter, "workers", workers, source)
            assert two_minutes(arbiter) == {workers}

    def test_ours(self) -> None:
        with folder_of(Way(program="main.py"), "", "", ""):
            arbiter = start(Options(self.options()))
            assert final_of(arbiter).declaration.explicit("workers") is None
            assert arbiter.num_workers == 3

    def test_set_without_the_method(self) -> None:
        with folder_of(Way(program="main.py"), "", "", ""):
            application = Options(self.options())
            application.cfg.settings["workers"].value = 7
            check(start(application), "workers", 7, "your own code")

    def test_a_count_that_a_hook_gives_to_the_arbiter(self) -> None:
        text = "def _late(server):\n    server.num_workers = 2\n"
        text += "from gunicorn_autoconf import compose\non_starting = compose(on_starting, _late)"
        with folder_of(line(text), "", "", ""):
            arbiter = start()
            assert final_of(arbiter).declaration.explicit("workers").value == 2
            assert two_minutes(arbiter) == {2}

    def test_where_our_on_starting_is_replaced(self) -> None:
        """The first hook of ours that runs sees to it."""
        text = "def on_starting(server): pass\nworkers = 2"
        with folder_of(line(text), "", "", ""):
            arbiter = start()
            check(arbiter, "workers", 2, FILE)
            assert two_minutes(arbiter) == {2}

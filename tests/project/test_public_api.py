"""
What others build on: public names, signatures, variables' keywords, names of the JSON.

A failure here says that somebody's code may break. A name that is new is added to the lists below.
One that goes or changes its meaning needs a note in the changelog and, in the JSON, a new version
of the schema.
"""

from __future__ import annotations

import enum
import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import gunicorn_autoconf

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"

API = """
Autoconf(*, machine: Machine, declaration: Declaration, application: Finding | None, plan: Plan,
    root: str, environ: Mapping[str, str]) -> None

AutoconfError(Exception)

Declaration(*, workload: Workload | None = None, interface: Interface | None = None, cpus: float
    | None = None, memory_bytes: int | None = None, worker_memory_bytes: int | None = None,
    memory_reserve: Reserve = Reserve(fraction=0.1, fixed_bytes=0), min_workers: int = 1,
    max_workers: int | None = None, max_concurrency: int | None = None,
    memory_log_interval_seconds: float = 60.0, memory_guard: MemoryGuard | None = None,
    load_guard: LoadGuard | None = None,
    stall_warning_seconds: float = 0.25, max_queue_seconds: float = 0.0, request_timeout_seconds:
    float = 0.0, health_paths: tuple[str, ...] = (/healthz, /readyz, /livez, /health),
    metrics: Destination | None = None, health: Tcp | None
    = None, settings: Mapping[str, tuple[Explicit, ...]] =
    <factory>, sources: Mapping[str, str] = <factory>, warnings: tuple[str, ...] = ()) -> None

DeclarationError(AutoconfError)(self, name: str, value: str, remedy: str) -> None

Finding(*, interface: Interface | None, evidence: str, missing_module: str | None = None,
    is_neither: bool = False, worker_class: str | None = None, depends_on_version: bool = False,
    makes_own_threads: bool = False, process_state: tuple[KeptState, ...] = (), runs_without_gil:
    bool = False) -> None

Interface: ASGI=asgi, WSGI=wsgi

Machine(*, cpu: CpuSupply, memory: MemorySupply, container: Origin | None = None, platform:
    Platform | None = None, grace_seconds: int | None = None, pids: PidsLimit | None = None,
    worker_tmp_dir: str | None = None, problems: tuple[Problem, ...] = ()) -> None

MalformedFileError(AutoconfError, ValueError)(self, expected: str, text: str) -> None

Plan(*, workload: Workload, interface: Interface, interface_evidence: str, reasons:
    tuple[Reason, ...] = (), remarks: tuple[Remark, ...] = (), memory: MemoryBudget | None = None,
    most_workers: int = 1) -> None

Reason(*, setting: str, value: Any, rule: str, inputs: Mapping[str, Any] = <factory>, source:
    str = , is_set: bool = False, is_memory_cut: bool = False, is_need_cut: bool = False) -> None

Workload: AUTO=auto, CPU=cpu, MIXED=mixed, IO=io, ASYNC=async

autoconf(*, workload: Workload | str | None = None, interface: Interface | str | None = None,
    cpus: float | str | None = None, memory: int | str | None = None, worker_memory: int | str |
    None = None, memory_reserve: int | str | None = None, min_workers: int | None = None,
    max_workers: int | None = None, max_concurrency: int | None = None, memory_log_interval:
    float | None = None, memory_guard: MemoryGuard | str | None = None,
    load_guard: LoadGuard | str | None = None, stall_warning: float |
    None = None, max_queue: float | None = None, request_timeout: float | None = None,
    health_paths: str | None = None, metrics: str | None = None, health: str | None = None,
    environ: Mapping[str, str] | None = None, argv: Sequence[str] | None = None, root: str = /)
    -> Autoconf

compose(*hooks: Hook) -> Hook

detect_machine(root: str = /, *, environ: Mapping[str, str] | None = None, host: Host | None =
    None, pid: int | None = None) -> Machine

plan(machine: Machine, declaration: Declaration | None = None, *, application: Finding | None =
    None, worker_memory_bytes: int | None = None, load_workers: int = 0,
    http_parser: str = httptools) -> Plan

read_declaration(environ: Mapping[str, str], *, arguments: Mapping[str, object] | None = None,
    setting_parsers: Mapping[str, SettingParser] | None = None, setting_flags: Mapping[str, str] |
    None = None, command_line: Mapping[str, tuple[Explicit, ...]] | None = None) -> Declaration
"""

ATTRIBUTES = {
    "Autoconf": "remarks settings warnings",
    "Declaration": "explicit",
    "Finding": "",
    "Machine": "",
    "Plan": "reasons_for settings warnings",
    "Reason": "",
}

JSON_NAMES = {
    "explain": """
        advice advice[].text advice[].topic application application.depends_on_version
        application.evidence application.interface application.is_neither
        application.makes_own_threads application.missing_module application.worker_class
        application.process_state application.process_state[].evidence
        application.process_state[].kind application.runs_without_gil
        declaration declaration.settings
        declaration.settings.<name>[].source declaration.settings.<name>[].value
        declaration.values declaration.values.<name>.source declaration.values.<name>.value
        machine machine.container machine.container.certain machine.container.path
        machine.container.text machine.cpu machine.cpu.affinity machine.cpu.affinity_origin
        machine.cpu.affinity_origin.certain machine.cpu.affinity_origin.path
        machine.cpu.affinity_origin.text machine.cpu.online machine.cpu.quota
        machine.cpu.quota.cores machine.cpu.quota.origin machine.cpu.quota.origin.certain
        machine.cpu.quota.origin.path machine.cpu.quota.origin.text machine.memory
        machine.memory.limits machine.memory.limits[].cache_bytes
        machine.memory.limits[].limit_bytes machine.memory.limits[].origin
        machine.memory.limits[].origin.certain machine.memory.limits[].origin.path
        machine.memory.limits[].origin.text machine.memory.limits[].shared_bytes
        machine.memory.limits[].working_set_bytes
        machine.memory.own_bytes machine.memory.physical machine.memory.physical.cache_bytes
        machine.memory.physical.limit_bytes
        machine.memory.physical.origin machine.memory.physical.origin.certain
        machine.memory.physical.origin.path machine.memory.physical.origin.text
        machine.memory.physical.shared_bytes
        machine.memory.physical.working_set_bytes machine.platform machine.problems
        machine.grace_seconds machine.pids machine.pids.limit machine.pids.origin
        machine.pids.origin.certain machine.pids.origin.path machine.pids.origin.text
        machine.problems[].message machine.problems[].path machine.worker_tmp_dir plan
        plan.interface plan.interface_evidence plan.memory plan.memory.budget_bytes
        plan.memory.fits plan.memory.granted_bytes plan.memory.is_guess plan.memory.limit_bytes
        plan.memory.others_bytes plan.memory.reserve_bytes plan.memory.source
        plan.memory.worker_memory_bytes plan.memory.worker_memory_source plan.reasons
        plan.reasons[].inputs plan.reasons[].rule plan.reasons[].setting plan.reasons[].source
        plan.reasons[].value plan.settings plan.workload schema warnings
    """,
    "size": """
        asked asked.load asked.load.compute_seconds asked.load.cores_per_replica
        asked.load.latency_seconds asked.load.rate asked.workers asked.workers.threads
        asked.workers.workers cores interface memory_limit_bytes notes others_bytes replicas
        schema steps steps[].formula steps[].inputs steps[].name steps[].value steps[].why
        threads utilisation variables worker_class worker_memory_bytes workers workload
    """,
    "top": """
        schema command cores cpu_percent listeners listeners[].address listeners[].waiting
        memory memory.limit_bytes memory.source memory.budget_bytes memory.reserve_bytes
        memory.headroom_bytes memory.server_bytes memory.others_bytes arbiter arbiter.pid
        arbiter.age_seconds arbiter.state arbiter.cpu_seconds arbiter.cpu_percent
        arbiter.rss_bytes arbiter.pss_bytes arbiter.uss_bytes arbiter.growth_bytes workers
        workers[].pid workers[].age_seconds workers[].state workers[].cpu_seconds
        workers[].cpu_percent workers[].rss_bytes workers[].pss_bytes workers[].uss_bytes
        workers[].growth_bytes workers[].phase workers[].requests workers[].in_flight
        workers[].busy_fraction workers[].requests_per_second workers[].request_seconds status
        untold
    """,
    "running": """
        schema version at_seconds arbiter_pid addresses worker_class threads slots_per_worker
        target_workers exiting_pids guards guards.memory guards.load interface workload plan
        plan.text plan.settings plan.settings[].setting plan.settings[].value
        plan.settings[].reasons warnings load load.seconds load.workers load.requests
        load.requests_per_second load.request_seconds load.computing_seconds
        load.cpu_delay_seconds load.busy_slots load.slots load.cores load.cores_fraction
        load.loop_fraction load.busiest_loop_fraction load.waiting load.queue_seconds load.rejected
        load.bound_by load.text request request.requests request.request_seconds
        request.computing_seconds request.blocking_seconds verdict verdict.cause
        verdict.workload verdict.requests verdict.request_seconds verdict.computing_seconds
        verdict.blocking_seconds verdict.requests_per_second verdict.possible_per_second
        verdict.text memory memory.workers memory.pss_bytes memory.budget_bytes
        memory.headroom_bytes memory.limit_bytes memory.others_bytes memory.shared_memory_bytes
        memory.cache_bytes memory.uss_bytes memory.helper_bytes
    """,
    "tune": """
        asked candidates candidates[].blocks candidates[].boot_seconds candidates[].bound_by
        candidates[].capacity candidates[].clients candidates[].cpu_cores candidates[].failure
        candidates[].failure.text candidates[].failure.trouble candidates[].is_best
        candidates[].label candidates[].memory_bytes candidates[].origin candidates[].points
        candidates[].points[].fraction candidates[].points[].p50_seconds
        candidates[].points[].p99_seconds candidates[].points[].rate candidates[].rate
        candidates[].ratio candidates[].ratio.high candidates[].ratio.low
        candidates[].ratio.middle candidates[].threads candidates[].worker_class
        candidates[].workers compute_seconds cores disturbed_fraction drift_fraction
        is_interrupted is_slo_declared load_cores model notes schema seconds slo_seconds
        takes_seconds verdict verdict.answer verdict.best verdict.best.label
        verdict.best.origin verdict.best.threads verdict.best.worker_class
        verdict.best.workers verdict.ratio verdict.ratio.high verdict.ratio.low
        verdict.ratio.middle verdict.rival verdict.rival.label verdict.rival.origin
        verdict.rival.threads verdict.rival.worker_class verdict.rival.workers verdict.text
    """,
}


def rendered(name: str) -> str:
    """The public *name* with its members, or with its parameters, their types and defaults."""
    it = getattr(gunicorn_autoconf, name)
    if isinstance(it, type) and issubclass(it, enum.Enum):
        return f"{name}: {', '.join(f'{member.name}={member.value}' for member in it)}"
    if isinstance(it, type) and issubclass(it, Exception):
        bases = ", ".join(base.__name__ for base in it.__bases__)
        own = "__init__" in vars(it)
        return f"{name}({bases}){inspect.signature(it.__init__) if own else ''}".replace("'", "")
    # Python 3.10 to 3.13 differ in the quotes of annotations and in nothing else.
    return f"{name}{inspect.signature(it)}".replace("'", "")


def paragraphs(text: str) -> list[str]:
    return [" ".join(block.split()) for block in text.strip().split("\n\n")]


def test_names_and_signatures() -> None:
    assert [rendered(name) for name in sorted(gunicorn_autoconf.__all__)] == paragraphs(API)


@pytest.mark.parametrize(("name", "attributes"), ATTRIBUTES.items())
def test_attributes(name: str, attributes: str) -> None:
    """Those that a signature does not show."""
    it = getattr(gunicorn_autoconf, name)
    found = {attribute for attribute in dir(it) if not attribute.startswith("_")}
    fields = set(getattr(it, "__dataclass_fields__", ()))
    assert found - fields == set(attributes.split())


def names_of(schema: Any, definitions: Any, prefix: str = "") -> Iterator[str]:
    """Each name that *schema* gives, with those above it."""
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    for name, inner in schema.get("properties", {}).items():
        yield prefix + name
        yield from names_of(inner, definitions, f"{prefix}{name}.")
    if isinstance(schema.get("items"), dict):
        yield from names_of(schema["items"], definitions, f"{prefix[:-1]}[].")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from names_of(schema["additionalProperties"], definitions, f"{prefix}<name>.")
    for choice in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        yield from names_of(choice, definitions, prefix)


@pytest.mark.parametrize(("command", "names"), JSON_NAMES.items())
def test_schema_of_json(command: str, names: str) -> None:
    schema = json.loads((REFERENCE / f"{command}.schema.json").read_text(encoding="utf-8"))

    assert schema["properties"]["schema"]["const"] == (2 if command == "top" else 1)
    assert sorted(names_of(schema, schema.get("$defs", {}))) == sorted(names.split())

"""Which losses a fault excuses, on traces that were written by hand."""

from __future__ import annotations

from typing import Any

import pytest
from accounts import Accounts, Attempt, Begun, Counted, Loss, account, miscounted, stuck, twice

RESET = "ConnectionResetError()"

# A worker that was killed at 10 s with two connections.
KILLED = Loss(pid=7, since=10.0, why="SIGKILL", ports=frozenset({5001, 5002}))


def attempt(**changes: Any) -> Attempt:
    """Make a request on a new connection, sent at 9 s and lost at 11 s without an answer."""
    made = Attempt(
        id="r1",
        kind="/work",
        port=5001,
        connecting_at=9.0,
        sent_at=9.0,
        ended_at=11.0,
        is_reused=False,
        is_mute=True,
        failure=RESET,
    )
    return made._replace(**changes)


def sums(lost: Attempt, begun: dict[str, list[Begun]] | None = None) -> str:
    """In which of the sums *lost* is."""
    accounts = account([lost], begun or {}, [KILLED])
    counts = {
        "answered": accounts.answered,
        "retried": accounts.retried,
        "inside": len(accounts.inside),
        "outside": len(accounts.outside),
    }
    (name,) = (name for name, count in counts.items() if count == 1)
    return name


def by(*pids: int) -> dict[str, list[Begun]]:
    return {"r1": [Begun(pid, 9.5) for pid in pids]}


def test_a_worker_is_stuck_until_its_request_is_answered() -> None:
    begun = {name: [Begun(pid, 9.5)] for name, pid in (("stuck-1", 7), ("stuck-2", 8), ("r1", 9))}
    assert stuck(begun, ()) == {7, 8}
    assert stuck(begun, {"stuck-1"}) == {8}
    begun["stuck-3"] = [Begun(7, 20.0)]
    assert stuck(begun, {"stuck-1"}) == {7, 8}


def test_answered() -> None:
    assert sums(attempt(failure=None), by(7)) == "answered"


@pytest.mark.parametrize(
    ("changes", "begun", "where"),
    [
        ({}, by(7), "inside"),
        ({"is_mute": False, "failure": "IncompleteRead()"}, by(7), "inside"),
        ({"failure": "status 500"}, by(7), "inside"),
        # By a worker that lived on, whoever has the connection.
        ({}, by(8), "outside"),
        ({"port": 5003}, by(8), "outside"),
        ({"ended_at": 9.9}, by(7), "outside"),  # It was still alive then.
        ({}, by(7, 8), "outside"),  # Two have begun it: one too many.
    ],
)
def test_begun(changes: dict[str, Any], begun: dict[str, list[Begun]], where: str) -> None:
    assert sums(attempt(**changes), begun) == where


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({}, "inside"),
        ({"port": 5003}, "outside"),  # No connection of its.
        ({"connecting_at": 10.5, "sent_at": 10.5}, "outside"),  # The port was taken again later,
        ({"ended_at": 9.9}, "outside"),  # or given back before.
        ({"port": 0, "failure": "ConnectionRefusedError()"}, "outside"),
    ],
)
def test_never_begun_on_a_new_connection(changes: dict[str, Any], where: str) -> None:
    assert sums(attempt(**changes)) == where


@pytest.mark.parametrize(
    ("changes", "begun", "where"),
    [
        ({}, {}, "retried"),
        ({"port": 5003}, {}, "retried"),  # Nobody was killed: it was closed for being idle.
        ({"is_mute": False}, {}, "inside"),
        ({"is_mute": False, "port": 5003}, {}, "outside"),
        ({}, by(7), "inside"),
        ({}, by(8), "outside"),
    ],
)
def test_on_a_connection_that_was_kept(
    changes: dict[str, Any], begun: dict[str, list[Begun]], where: str
) -> None:
    assert sums(attempt(is_reused=True, **changes), begun) == where


@pytest.mark.parametrize(
    ("changes", "is_inside"),
    [
        ({"ended_at": 10.1}, True),
        ({"ended_at": 9.9}, False),
        ({"ended_at": 10.3}, False),
        ({"ended_at": 10.1, "is_mute": False}, False),
    ],
)
def test_never_begun_where_the_kernel_chose_a_worker(
    changes: dict[str, Any], is_inside: bool
) -> None:
    unseen = KILLED._replace(ports=None, until=10.2)
    assert bool(account([attempt(**changes)], {}, [unseen]).inside) is is_inside
    assert not account([attempt(**changes)], by(8), [unseen]).inside


@pytest.mark.parametrize(("ended_at", "is_inside"), [(12.0, True), (12.1, False)])
@pytest.mark.parametrize("begun", [{}, by(7)], ids=["never begun", "begun"])
def test_one_that_served_again_is_excused_no_more(
    begun: dict[str, list[Begun]], ended_at: float, is_inside: bool
) -> None:
    held = KILLED._replace(until=12.0)
    assert bool(account([attempt(ended_at=ended_at)], begun, [held]).inside) is is_inside


def test_sums_add_up() -> None:
    attempts = [
        attempt(id="r1", failure=None),
        attempt(id="r2"),
        attempt(id="r3", port=5003),
        attempt(id="r4", is_reused=True),
        attempt(id="r5", failure=None),
    ]
    accounts = account(attempts, {}, [KILLED])
    assert accounts == Accounts(
        attempts=5, retried=1, answered=2, inside=(attempts[1],), outside=(attempts[2],)
    )
    assert accounts.requests == 4


def test_begun_twice() -> None:
    assert twice({"r1": [Begun(7, 1.0)], "r2": [Begun(7, 1.0), Begun(8, 2.0)]}) == {
        "r2": [Begun(7, 1.0), Begun(8, 2.0)]
    }


def answered(at: float, by: int) -> Attempt:
    return attempt(ended_at=at, answered_by=by, failure=None)


@pytest.mark.parametrize(
    ("first", "last", "attempts", "wrong"),
    [
        ((1, 0, 0.5), (2, 0, 0.75), [answered(9, 7), answered(9.5, 7)], []),
        ((1, 0, 0.5), (2, 1, 0.75), [], ["still in flight: 1"]),
        ((2, 0, 0.5), (1, 0, 0.5), [], ["counters of 1 fell"]),
        ((2, 0, 0.5), (2, 0, 0.25), [], ["counters of 1 fell"]),
        ((0, 0, 0.0), (0, 0, 0.0), [answered(9, 8)], []),  # By a worker that was killed.
        ((0, 0, 0.0), (0, 0, 0.0), [answered(9, 7)], ["1 requests were answered"]),
    ],
)
def test_what_is_wrong_with_counters(
    first: tuple[int, int, float],
    last: tuple[int, int, float],
    attempts: list[Attempt],
    wrong: list[str],
) -> None:
    counted = [Counted(at, *sums[:2], sums[2:]) for at, sums in ((1.0, first), (10.0, last))]
    found = miscounted({1: counted}, attempts, {8}, arbiter=1)
    assert [text[: len(begin)] for text, begin in zip(found, wrong, strict=True)] == wrong


def test_answers_at_the_end_of_an_arbiter_need_not_be_counted() -> None:
    old, new = [Counted(10.0, 0, 0, (0.0,))], [Counted(20.0, 1, 0, (0.5,))]
    attempts = [answered(10.5, 7), answered(15, 9)]
    assert miscounted({1: old, 2: new}, attempts, set(), arbiter=2) == []

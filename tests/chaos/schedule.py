"""Which fault comes when: drawn from a seed, every kind once a round. Pure."""

from __future__ import annotations

import random
from collections.abc import Collection
from enum import Enum
from typing import NamedTuple


class Fault(str, Enum):
    """What is done to the server, in the words of the summary."""

    KILL = "SIGKILL to a worker"
    STOP = "SIGSTOP to a worker, then SIGCONT"
    FREEZE = "SIGSTOP to a worker until `timeout`"
    BLOCK = "requests that block for a second"
    HANG = "a request that blocks for longer than `timeout`"
    STUCK = "a request that never ends, until `GUNICORN_REQUEST_TIMEOUT`"
    SLOW = "slow clients"
    FLOOD = "a flood of connections"
    RELOAD = "SIGHUP"
    UPGRADE = "upgrade by USR2"
    ROLL_BACK = "upgrade by USR2, taken back"
    COUNT = "TTIN and TTOU, then SIGHUP"
    LIMIT = "limit lowered and raised"
    LEAK = "a leak, until the guard has replaced the worker"
    HOG = "a request that allocates more than the limit"
    ROTATE = "log rotated, USR1"
    TMP_FULL = "/tmp full during SIGHUP and SIGKILL"


class Lane(Enum):
    """
    What happens one after the other; both lanes run beside each other.

    What an operator does, and what the limit has a say in, is in one lane: a leak during a reload,
    when twice the workers exist, is an OOM kill that nobody could prevent.
    """

    OPERATOR = (
        Fault.RELOAD,
        Fault.UPGRADE,
        Fault.ROLL_BACK,
        Fault.COUNT,
        Fault.LIMIT,
        Fault.LEAK,
        Fault.HOG,
        Fault.ROTATE,
        Fault.TMP_FULL,
    )
    ACCIDENT = (
        Fault.KILL,
        Fault.STOP,
        Fault.FREEZE,
        Fault.BLOCK,
        Fault.HANG,
        Fault.STUCK,
        Fault.SLOW,
        Fault.FLOOD,
    )


class Step(NamedTuple):
    """One fault, how long after the one before it, and the seed of what it leaves to chance."""

    pause_seconds: float
    fault: Fault
    seed: int


Round = dict[Lane, list[Step]]

# From none, so that a fault meets what the one before it has left, to enough to recover.
LONGEST_PAUSE_SECONDS = 1.0


def draw_round(seed: int, number: int, without: Collection[Fault] = ()) -> Round:
    """
    Return all faults but those *without*, each once, in an order and after pauses of chance.

    Each *number* of a round has chances of its own, whatever was left out of those before.
    """
    drawn: Round = {}
    for lane in Lane:
        rng = random.Random(f"{seed}/{number}/{lane.name}")
        faults = [fault for fault in lane.value if fault not in without]
        rng.shuffle(faults)
        drawn[lane] = [
            Step(rng.uniform(0, LONGEST_PAUSE_SECONDS), fault, rng.getrandbits(32))
            for fault in faults
        ]
    return drawn

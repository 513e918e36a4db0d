"""When the arbiter's main loop last ran, and whether it stops. Replaces two methods of the arbiter.

Theory of operation. Gunicorn has no hook for its main loop, which wakes once a second at least.
Each round begins with `maybe_promote_master`, and each way to stop goes through `stop`, from the
signal on and before the workers are waited for. `attach` puts a line before both, on the object of
this one arbiter. The main thread writes the two attributes, others read them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gunicorn.arbiter import Arbiter


class Pulse:
    """The main loop of one arbiter."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.beat_at = clock()
        """When the loop last began a round."""
        self.is_stopping = False

    def attach(self, server: Arbiter) -> None:
        """Follow the loop of *server*."""
        self._before(server, "maybe_promote_master", self._beat)
        self._before(server, "stop", self._stop)

    @property
    def silent_seconds(self) -> float:
        """How long ago the loop began its last round."""
        return self._clock() - self.beat_at

    def _beat(self) -> None:
        self.beat_at = self._clock()

    def _stop(self) -> None:
        self.is_stopping = True

    @staticmethod
    def _before(server: Arbiter, name: str, note: Callable[[], None]) -> None:
        method = getattr(server, name)

        def noting(*args: Any, **kwargs: Any) -> Any:
            note()
            return method(*args, **kwargs)

        setattr(server, name, noting)

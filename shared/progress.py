"""How a task of the plumbing fares, for readiness: whether its turns go well, and whether they end at all."""

from __future__ import annotations

from shared.clock import monotonic_s
from shared.errors import DaymarkError

_FAILURES = 3  #: in a row, until it is a problem: one lost connection is none
_CALM_S = 15.0  #: longer than any back-off: a turn without work proves nothing sooner


class Progress:
    """One task's turns. Starts well; `problem` says what is wrong, in one sentence, until it goes well again."""

    def __init__(self, *, turn_s: float = 60.0) -> None:
        """`turn_s`: no honest turn takes longer."""
        self._turn_s = turn_s
        self._ended_s = monotonic_s()
        self._failed_s = self._ended_s
        self._failures = 0
        self._why = ""
        self._stopped: str | None = None

    def moved(self) -> None:
        """A turn did its work."""
        self._ended_s, self._failures = monotonic_s(), 0

    def idle(self) -> None:
        """A turn found nothing to do. Soon after failures that is no sign of health: what failed comes again."""
        self._ended_s = monotonic_s()
        if self._ended_s - self._failed_s >= _CALM_S:
            self._failures = 0

    def failed(self, error: BaseException) -> None:
        """A turn failed, and will be tried again."""
        self._ended_s = self._failed_s = monotonic_s()
        self._failures += 1
        # Readiness is open to strangers: of an error that is not ours, only its kind is told; the log has the rest.
        self._why = str(error) if isinstance(error, DaymarkError) else type(error).__name__

    def stop(self, why: str) -> None:
        """It has ended for good, until a person has looked."""
        self._stopped = why

    def problem(self) -> str | None:
        """What is wrong, or None."""
        if self._stopped is not None:
            return self._stopped
        if self._failures >= _FAILURES:
            return f"failed {self._failures} times in a row, the last time with: {self._why}"
        silent_s = monotonic_s() - self._ended_s
        return f"nothing has ended for {silent_s:.0f} s" if silent_s > self._turn_s else None

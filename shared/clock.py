"""The only place in Python that asks what time it is: for measuring how long something took, and for token expiry.

What decides in the process is `daymark_now()` in the database, read once per transaction as `tx.now`.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime


def monotonic_s() -> float:
    """Seconds on a clock that never jumps; only differences mean anything."""
    return time.monotonic()


def wall() -> datetime:
    """The machine's wall clock, aware, UTC. Never given to a decision of the process."""
    return datetime.now(UTC)

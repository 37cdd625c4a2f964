"""When tests' clocks begin: always on a Tuesday at 09:30, so that no outcome depends on the day and hour a test runs at.

The days around are working days, each window lies at one place of the daily course, and midnight is far: around it a source
that is down also holds up what keeps a product's days. Every hour of the day is asked of the judge in tests/judge.
"""

from __future__ import annotations

from datetime import datetime, timedelta


def next_tuesday(now: datetime) -> datetime:
    """The morning of the Tuesday after `now`."""
    return _morning(now + timedelta(days=(1 - now.weekday()) % 7 or 7))


def a_tuesday_before(now: datetime) -> datetime:
    """The morning of the Tuesday before the last one (on a Tuesday: of the last)."""
    return _morning(now - timedelta(days=7 + (now.weekday() - 1) % 7))


def _morning(day: datetime) -> datetime:
    return day.replace(hour=9, minute=30, second=0, microsecond=0)

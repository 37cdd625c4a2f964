"""Every metric of our own, declared once: name as Prometheus shows it, kind, unit, labels it may carry, what it says.

No label may tell one change request, release or incident from another: a label's values must be few and known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. Counters end in `_total`, what is measured in seconds in `_seconds`."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    unit: str  #: UCUM: "s", or "" for a plain number of things
    description: str
    labels: tuple[str, ...] = ()


_ALL = (
    Metric("daymark_outbox_age_seconds", "gauge", "s", "Age of the oldest letter not yet sent."),
    Metric("daymark_outbox_unsent", "gauge", "", "Letters not yet sent."),
    Metric("daymark_consumer_lag", "gauge", "", "Records on the bus not yet heard.", ("topic",)),
    Metric("daymark_parked_keys", "gauge", "", "Keys set aside because a letter could not be heard yet."),
    Metric("daymark_dead_letters", "gauge", "", "Letters nobody could read or hear, not replayed."),
    Metric("daymark_timers_due", "gauge", "", "Appointments whose time has come, not yet kept."),
    Metric("daymark_timers_overdue", "gauge", "", "Appointments more than a minute late."),
    Metric("daymark_letters_sent_total", "counter", "", "Letters the bus has confirmed."),
    Metric("daymark_letters_heard_total", "counter", "", "Letters heard, by what became of them."),
    Metric("daymark_batches_again_total", "counter", "", "Batches run again because they met a lock."),
    Metric("daymark_jobs_total", "counter", "", "Appointments kept, by result.", ("job", "result")),
    Metric("daymark_job_duration_seconds", "histogram", "s", "How long a job took.", ("job",)),
    Metric("daymark_batch_duration_seconds", "histogram", "s", "From a batch of letters to its commit."),
)

METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}

#: Seconds; from a database round trip to a slow source.
DURATION_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

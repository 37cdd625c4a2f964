"""OpenMetrics text 1.0, read by Prometheus' own parser (`prometheus_client`): gauges with a timestamp on each sample.

A sample is of the SLI that its label `sli` names, since ids like `p99-latency` are no metric names; without that label, of
the SLI that is called as the metric is. The parser keeps a whole family in memory and is slow on long lines, so it is fed
a few thousand short lines at a time, each time with what was said of the family before.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from services.snapshotter.uploads import Problem, Sample, Unusable, lines, seconds

MEDIA = ("application/openmetrics-text",)
_AT_ONCE = 2_000
_TYPES = ("gauge", "unknown")


def read(raw: bytes) -> Iterator[Sample | Problem]:
    """One sample a line. Raises Unusable."""
    said: list[str] = []  # of the family that the next samples belong to
    held: list[tuple[int, str]] = []
    is_over = False
    for at, line in lines(raw):
        where = f"row {at}"
        if is_over:
            raise Unusable(where, "something follows # EOF")
        if line == "# EOF":
            is_over = True
        elif line.startswith("#"):
            yield from _parsed(said, held)
            words = line.split(" ", 3)
            if len(words) < 3 or words[1] not in ("TYPE", "HELP", "UNIT"):
                yield Problem(where, "a comment must be TYPE, HELP, UNIT or EOF")
                held = []
                continue
            if held or (said and said[0].split(" ", 3)[2] != words[2]):
                said = []
            held = []
            said = [*said, line]
        elif not line:
            yield from _parsed(said, held)
            held = []
            yield Problem(where, "an empty line is not allowed")
        else:
            held.append((at, line))
            if len(held) >= _AT_ONCE:
                yield from _parsed(said, held)
                held = []
    yield from _parsed(said, held)
    if not is_over:
        raise Unusable("the file", "it does not end with # EOF, so it may have been cut")


def _parsed(said: list[str], held: list[tuple[int, str]]) -> Iterator[Sample | Problem]:
    if not held:
        return
    try:
        found = _samples(said, [line for _, line in held])
    except Exception as error:  # a parser that meets what it did not expect raises whatever it likes
        if len(held) == 1:
            yield Problem(f"row {held[0][0]}", f"not OpenMetrics: {str(error)[:120]}")
            return
        # Once more in halves, down to the row that is wrong: those around it are read.
        yield from _parsed(said, held[: len(held) // 2])
        yield from _parsed(said, held[len(held) // 2 :])
        return
    for (at, _), (kind, sample) in zip(held, found, strict=True):
        try:
            yield _of(at, kind, sample)
        except Unusable as error:
            yield error.problem


def _samples(said: list[str], held: list[str]) -> list[tuple[str, Any]]:
    """(type of its family, sample) for each line. Raises anything."""
    families = text_string_to_metric_families("\n".join([*said, *held, "# EOF\n"]))
    found = [(family.type, sample) for family in families for sample in family.samples]
    if len(found) != len(held):
        raise ValueError("a line is no sample")
    return found


def _of(at: int, kind: str, sample: Any) -> Sample:
    where = f"row {at}"
    if kind not in _TYPES:
        raise Unusable(where, f"{sample.name[:64]} is a {kind}; readings are gauges")
    if sample.timestamp is None:
        raise Unusable(where, f"{sample.name[:64]} has no timestamp")
    at_s = seconds(where, float(sample.timestamp))
    return Sample(where, sample.labels.get("sli", sample.name), at_s, float(sample.value))

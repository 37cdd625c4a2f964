"""Test reports. One file per format, found by lying here.

To add a format: a file with `reads(content_type, raw) -> bool` and `read(raw) -> Report`, and its test. Both are pure.
A report that cannot be trusted to be read is refused (`shared.errors.Invalid`, one plain sentence); one that can be read
but contradicts itself is a `Report` whose outcome is never `passed`.

`read_in_worker` is what a handler awaits: larger reports are read by a process of their own (`__main__.py`), held to
512 MB and 10 s of CPU, so that no report can harm the service that takes it in.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import math
import pkgutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

from shared.errors import Invalid, Unavailable

if TYPE_CHECKING:  # the reader's own process need not load every contract
    from shared.contracts.test_results import ReportOutcome

#: Larger reports are refused before they are looked at.
MOST_BYTES = 5_000_000
#: Up to here a report is read in a thread: nothing so small can take long or much.
SMALL_BYTES = 256_000
#: Problems beyond these are counted, not listed.
MOST_PROBLEMS = 50

#: Two readers at once; further reports wait their turn.
_READERS = ThreadPoolExecutor(max_workers=2, thread_name_prefix="reports")
_ROOT = Path(__file__).resolve().parents[3]
_START = f"import sys; sys.path.insert(0, sys.argv[1]); from {__name__}.__main__ import main; main(sys.argv[2])"

CaseOutcome = Literal["passed", "failed", "error", "skipped"]


@dataclass(frozen=True)
class Case:
    """One executed check.

    duration_s  seconds, None when the report does not say or says nonsense
    message     why it failed or was skipped, at most 2 KB
    marks       ids of the regression cases that this case says it proves
    """

    suite: str
    classname: str
    name: str
    outcome: CaseOutcome
    duration_s: float | None = None
    message: str = ""
    marks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """What a report says. All counts are our own, from the cases; problems are plain sentences."""

    cases: tuple[Case, ...]
    problems: tuple[str, ...]
    outcome: ReportOutcome
    total: int
    passed: int
    failed: int  #: failures and errors
    errors: int  #: of those, errors
    skipped: int

    @classmethod
    def of(cls, cases: Iterable[Case], problems: Iterable[str] = ()) -> Report:
        """The report on these cases. Passed only when something passed, nothing failed and nothing is in doubt."""
        cases = tuple(cases)
        found = [*problems, *_doubts(cases)]
        counts = dict.fromkeys(("passed", "failed", "error", "skipped"), 0)
        for case in cases:
            counts[case.outcome] += 1
        outcome: ReportOutcome = "passed"
        if counts["failed"] or counts["error"]:
            outcome = "failed"
        elif found:
            outcome = "inconsistent"
        elif not counts["passed"]:
            outcome = "empty"
        if len(found) > MOST_PROBLEMS:
            found = [*found[:MOST_PROBLEMS], f"and {len(found) - MOST_PROBLEMS} more"]
        failed = counts["failed"] + counts["error"]
        return cls(
            cases, tuple(found), outcome, len(cases), counts["passed"], failed, counts["error"], counts["skipped"]
        )


def _doubts(cases: tuple[Case, ...]) -> list[str]:
    """What no format's reader needs to look for itself: cases that are there twice and disagree, impossible times."""
    found: list[str] = []
    seen: dict[tuple[str, str, str], CaseOutcome] = {}
    for case in cases:
        before = seen.setdefault((case.suite, case.classname, case.name), case.outcome)
        if before != case.outcome:
            found.append(f"{brief(case.name)} is there twice: {before} and {case.outcome}")
        if case.duration_s is not None and not (math.isfinite(case.duration_s) and case.duration_s >= 0):
            found.append(f"{brief(case.name)} took an impossible time")
    return found


def brief(words: str, most: int = 120) -> str:
    """One printable line of at most `most` characters: a report's words are a stranger's."""
    line = "".join(c if c.isprintable() else " " for c in words[: most + 1])
    return line if len(line) <= most else line[: most - 1] + "…"


class Format(Protocol):
    """What a file in this folder offers."""

    def reads(self, content_type: str, raw: bytes) -> bool:
        """Whether this is for it, by the media type (lower case, without parameters) and the first bytes."""
        ...

    def read(self, raw: bytes) -> Report:
        """The report. Raises Invalid."""
        ...


def formats() -> dict[str, Format]:
    """name -> format, in order of name."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))
    return {name: cast(Format, importlib.import_module(f"{__name__}.{name}")) for name in names}


def read_report(raw: bytes, content_type: str) -> Report:
    """The report in these bytes, by whichever format reads them. CPU work: at most a second for what is allowed in.

    Raises Invalid, with one sentence for the sender, when it is empty, too large, compressed, of no known format, unsafe
    or damaged.
    """
    if not raw.strip():
        raise Invalid("The report is empty.")
    if len(raw) > MOST_BYTES:
        raise Invalid(
            f"The report has {len(raw):,} bytes; at most {MOST_BYTES:,} are read. Send its suites one by one."
        )
    if raw.startswith((b"\x1f\x8b", b"PK", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")):
        raise Invalid("The report is compressed; send it as it is.")
    media = content_type.partition(";")[0].strip().lower()
    known = formats()
    for form in known.values():
        if form.reads(media, raw):
            return form.read(raw)
    raise Invalid(f"No reader here knows a report of type {brief(media) or 'nothing'}; known: {', '.join(known)}.")


async def read_in_worker(raw: bytes, content_type: str, *, timeout_s: float = 10) -> Report:
    """`read_report`, away from this process when the report is not small.

    Raises Invalid as `read_report` does, and when its reader had to be stopped for what the report did to it; Unavailable
    when the reader did not finish within `timeout_s` for lack of a free processor, which another try may cure.
    """
    loop = asyncio.get_running_loop()
    if len(raw) <= SMALL_BYTES or len(raw) > MOST_BYTES:  # small, or refused at a glance
        return await loop.run_in_executor(_READERS, read_report, raw, content_type)
    return await loop.run_in_executor(_READERS, _read_apart, raw, content_type, timeout_s)


def _read_apart(raw: bytes, content_type: str, timeout_s: float) -> Report:
    """A new process for each report: nothing to keep well, and nothing left behind when it is killed.

    It answers in JSON, not in pickles: what has read hostile bytes is not trusted with our own objects.
    """
    command = [sys.executable, "-I", "-c", _START, str(_ROOT), content_type[:200].replace("\0", "")]
    try:
        ended = subprocess.run(command, input=raw, capture_output=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        raise Unavailable("The report could not be read in time; please send it again.", retry_after_s=30) from None
    if ended.returncode == -signal.SIGKILL:
        raise Unavailable("The report's reader was stopped from outside; please send it again.", retry_after_s=30)
    try:
        answer = json.loads(ended.stdout) if ended.returncode == 0 else {}
    except ValueError:
        answer = {}
    if "refused" in answer:
        raise Invalid(str(answer["refused"]))
    if "report" not in answer:
        raise Invalid("The report is more than its reader may take in time or memory. Send its suites one by one.")
    return from_json(answer["report"])


def to_json(report: Report) -> dict[str, Any]:
    """A report in JSON's own types."""
    return asdict(report)


def from_json(said: Mapping[str, Any]) -> Report:
    """The report that `to_json` wrote. Raises KeyError or TypeError for anything else."""
    cases = tuple(Case(**{**case, "marks": tuple(case["marks"])}) for case in said["cases"])
    return Report(**{**said, "cases": cases, "problems": tuple(said["problems"])})


__all__ = [
    "MOST_BYTES",
    "Case",
    "CaseOutcome",
    "Format",
    "Report",
    "brief",
    "formats",
    "from_json",
    "read_in_worker",
    "read_report",
    "to_json",
]

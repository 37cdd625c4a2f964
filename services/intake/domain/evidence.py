"""Test results and code reviews as they are kept, and what a report may claim to prove."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from shared.contracts import Fact, MarkedCase, SuiteKind, TestsRecorded
from shared.contracts.test_results import ReportOutcome

#: Of several cases with one mark, the worst speaks.
_WORST: tuple[Literal["passed", "skipped", "failed"], ...] = ("passed", "skipped", "failed")


@dataclass(frozen=True, slots=True)
class CodeReview:
    """That engineering looked: who, when, at which revision of the CR."""

    how: Literal["review", "walkthrough"]
    reviewer: str
    reviewed_at: datetime
    where: str
    cr_revision: int
    recorded_at: datetime
    recorded_by: str


@dataclass(frozen=True, slots=True)
class TestResult:
    """One recorded report. `lost`: cases of the product's last report of this kind that this one has not."""

    __test__ = False

    id: str
    suite_kind: SuiteKind
    commit: str | None
    artifact: str | None
    run_at: datetime
    recorded_at: datetime
    recorded_by: str
    digest: str  #: SHA-256 of the report's bytes, hex
    outcome: ReportOutcome
    total: int
    passed: int
    failed: int
    skipped: int
    lost: int
    problems: tuple[str, ...]
    marked: tuple[MarkedCase, ...]


def marked(cases: Iterable[tuple[Iterable[str], str]], *, is_in_doubt: bool) -> tuple[MarkedCase, ...]:
    """Regression case -> what the report says of it, from (marks, outcome) of each case; in the order of the ids.

    A report in doubt proves nothing: what passed in it counts as skipped.
    """
    said: dict[str, int] = {}
    for marks, outcome in cases:
        plain = "failed" if outcome == "error" else outcome
        if plain == "passed" and is_in_doubt:
            plain = "skipped"
        for mark in marks:
            said[mark] = max(said.get(mark, 0), ("passed", "skipped", "failed").index(plain))
    return tuple(MarkedCase(case_id=mark, outcome=_WORST[rank]) for mark, rank in sorted(said.items()))


def recorded(cr_id: str, product_id: str, result: TestResult) -> list[Fact]:
    """What is said of a recorded report."""
    fact = TestsRecorded(
        cr_id=cr_id,
        product_id=product_id,
        result_id=result.id,
        suite_kind=result.suite_kind,
        commit=result.commit,
        artifact=result.artifact,
        run_at=result.run_at,
        recorded_at=result.recorded_at,
        digest=result.digest,
        outcome=result.outcome,
        total=result.total,
        passed=result.passed,
        failed=result.failed,
        skipped=result.skipped,
        lost=result.lost,
        problems=result.problems,
        marked=result.marked,
    )
    return [fact]

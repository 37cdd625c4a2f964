"""Regression cases: what an incident leaves behind, which release owes them, and what proves them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from shared.contracts import Fact, RegressionCaseGreen, RegressionCaseOwed, RegressionCaseRed

CaseState = Literal["owed", "red", "green"]

#: (state, what was seen) -> state. Green counts only after red: a case never seen to fail proves nothing.
CASE_MOVES: dict[tuple[CaseState, str], CaseState] = {
    ("owed", "failed"): "red",
    ("red", "passed"): "green",
}


@dataclass(frozen=True, slots=True)
class Case:
    """One executable check that an incident leaves behind; debt until it was seen to fail and then to pass."""

    id: str
    incident_id: str
    product_id: str
    title: str
    release_id: str | None
    state: CaseState
    incident_opened_at: datetime
    red_commit: str | None = None
    red_result: str | None = None
    green_commit: str | None = None
    green_result: str | None = None
    is_withdrawn: bool = False
    version: int = 0


@dataclass(frozen=True, slots=True)
class Release:
    """As much of a release as debt needs."""

    id: str
    product_id: str
    planned_at: datetime
    state: Literal["planned", "frozen", "closed"]


def owing_release(releases: Iterable[Release]) -> str | None:
    """The release that owes new debt: the first planned one of the product that is not frozen; None when there is none."""
    planned = sorted((one for one in releases if one.state == "planned"), key=lambda one: (one.planned_at, one.id))
    return planned[0].id if planned else None


def owe(case: Case, release_id: str | None, now: datetime) -> tuple[Case, list[Fact]]:
    """The case as owed by `release_id`; nothing is said when it is owed by it already."""
    if case.version and case.release_id == release_id:
        return case, []
    owed = replace(case, release_id=release_id, version=case.version + 1)
    return owed, [
        RegressionCaseOwed(
            case_id=owed.id,
            incident_id=owed.incident_id,
            product_id=owed.product_id,
            title=owed.title,
            release_id=release_id,
            revision=owed.version,
            at=now,
            incident_opened_at=owed.incident_opened_at,
        )
    ]


def see_case(case: Case, outcome: str, *, commit: str | None, result_id: str, now: datetime) -> tuple[Case, list[Fact]]:
    """What one test run of this case means. A pass proves it only on another commit than the one it failed on."""
    state = CASE_MOVES.get((case.state, outcome))
    if state is None or commit is None or case.is_withdrawn:
        return case, []
    if state == "red":
        seen = replace(case, state=state, red_commit=commit, red_result=result_id, version=case.version + 1)
        return seen, [
            RegressionCaseRed(
                case_id=seen.id,
                incident_id=seen.incident_id,
                product_id=seen.product_id,
                title=seen.title,
                release_id=seen.release_id,
                revision=seen.version,
                at=now,
                commit=commit,
                result_id=result_id,
            )
        ]
    if commit == case.red_commit:
        return case, []  # the same code failed and passed: flaky, not proven
    seen = replace(case, state=state, green_commit=commit, green_result=result_id, version=case.version + 1)
    return seen, [
        RegressionCaseGreen(
            case_id=seen.id,
            incident_id=seen.incident_id,
            product_id=seen.product_id,
            title=seen.title,
            release_id=seen.release_id,
            revision=seen.version,
            at=now,
            commit=commit,
            result_id=result_id,
            red_commit=case.red_commit or "",
        )
    ]

"""What speaks for a change before it goes: tests, the record of the code review, the product's debt.

The benchmark has a room of its own (`benchmark`).

Required, fresh, complete: what did not run, ran too long ago or lost tests is *missing* with its reason, never passed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from services.reviewer.domain.known import Facts, Known
from shared.contracts import (
    CodeReviewRecorded,
    CRState,
    IncidentClosed,
    IncidentOpened,
    Policy,
    RegressionCaseGreen,
    RegressionCaseOwed,
    RegressionCaseRed,
    ReleaseFrozen,
    TestsRecorded,
)

SuiteState = Literal["passed", "failed", "missing", "not_required"]
CaseState = Literal["owed", "red", "green"]

#: A run may be dated a little ahead of our clock; beyond this it is not believed.
_AHEAD = timedelta(minutes=5)


@dataclass(frozen=True)
class Suite:
    """One kind of test suite: what was asked, what was found. `code` and `sentence` say why it is not a pass."""

    kind: str
    is_required: bool
    state: SuiteState
    code: str = ""
    sentence: str = ""
    result_id: str | None = None
    run_at: datetime | None = None
    commit: str | None = None
    artifact: str | None = None
    total: int = 0
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    lost: int = 0


@dataclass(frozen=True)
class CodeReview:
    """That engineering's review or walkthrough took place. Operations needs no more, and sees no more."""

    is_required: bool
    took_place: bool
    how: str | None = None
    reviewed_at: datetime | None = None
    sentence: str = ""


@dataclass(frozen=True)
class Case:
    """One regression case: owed until it was seen to fail on the faulty version and to pass on the fixed one."""

    case_id: str
    incident_id: str
    title: str
    state: CaseState
    counts: bool  #: whether it is debt of this release
    release_id: str | None
    incident_title: str | None = None
    incident_cr_id: str | None = None
    opened_at: datetime | None = None
    red_commit: str | None = None
    green_commit: str | None = None
    sentence: str = ""


# -- tests ------------------------------------------------------------------------------------------------------------


def suites(facts: Facts, cr: CRState | None, policy: Policy | None, moment: datetime) -> tuple[Suite, ...]:
    """Regression, integration, then the others, as they stood at `moment`."""
    results = facts.of(TestsRecorded)
    found = []
    for kind in ("regression", "integration", "other"):
        of_kind = [fact for fact in results if fact.data.suite_kind == kind]
        rule = getattr(policy.evidence, kind, None) if policy is not None else None
        is_required = rule is not None and rule.required
        if not of_kind and not is_required:
            continue
        max_age = timedelta(hours=rule.max_age_h) if rule is not None else None
        found.append(_suite(kind, is_required, of_kind, cr, max_age, moment))
    return tuple(found)


def _suite(
    kind: str,
    is_required: bool,
    results: list[Known[TestsRecorded]],
    cr: CRState | None,
    max_age: timedelta | None,
    moment: datetime,
) -> Suite:
    name = kind.capitalize() if kind != "other" else "Other"
    if not results:
        return Suite(kind, is_required, "missing", "tests_not_run", f"{name} tests did not run for this change.")
    fitting = [fact for fact in results if _is_of(fact.data, cr)]
    # The newest run decides, not the newest report: an old run that is recorded late hides nothing.
    last = max(fitting or results, key=lambda fact: (fact.data.run_at, fact.sequence, fact.event_id)).data
    state, code, why = _said(last, bool(fitting), cr, max_age, moment)
    return Suite(
        kind,
        is_required,
        state,
        code,
        f"{name} tests {why}" if why else "",
        last.result_id,
        last.run_at,
        last.commit,
        last.artifact,
        last.total,
        last.passed,
        last.failed,
        last.skipped,
        last.lost,
    )


def _is_of(result: TestsRecorded, cr: CRState | None) -> bool:
    """Whether a result speaks of what the CR names. A CR that names nothing takes any."""
    if cr is None or (cr.commit is None and cr.artifact is None):
        return True
    if cr.commit is not None and result.commit is not None:
        return cr.commit == result.commit
    return cr.artifact is not None and cr.artifact == result.artifact


def _said(
    last: TestsRecorded, is_fitting: bool, cr: CRState | None, max_age: timedelta | None, moment: datetime
) -> tuple[SuiteState, str, str]:
    if not is_fitting:
        named = (cr.commit or cr.artifact) if cr is not None else None
        ran = last.commit or last.artifact or "nothing named"
        return "missing", "tests_wrong_commit", f"ran on {ran}, but the change names {named}."
    if last.outcome == "inconsistent":
        return "missing", "tests_inconsistent", "left a report that contradicts itself, so it proves nothing."
    if last.outcome == "empty" or last.passed + last.failed == 0:
        return "missing", "tests_empty", "left a report in which no case ran."
    if last.outcome == "failed":
        return "failed", "tests_failed", f"failed: {last.failed} of {last.total} cases."
    if last.lost:
        cases = "1 case" if last.lost == 1 else f"{last.lost} cases"
        return "missing", "tests_lost", f"lost {cases} that ran last time; what did not run was not passed."
    if last.run_at > moment + _AHEAD:
        return "missing", "tests_in_future", "are dated in the future, so nobody knows when they ran."
    if max_age is not None and moment - last.run_at > max_age:
        hours = (moment - last.run_at).total_seconds() / 3600
        return (
            "missing",
            "tests_too_old",
            f"ran {hours:.0f} hours before; at most {max_age.total_seconds() / 3600:g} count.",
        )
    return "passed", "", ""


# -- the record of the code review ------------------------------------------------------------------------------------


def code_review(facts: Facts, policy: Policy | None) -> CodeReview:
    """The last record of engineering's review or walkthrough."""
    is_required = policy is not None and policy.evidence.code_review
    records = facts.of(CodeReviewRecorded)
    if not records:
        word = "Engineering has not recorded its code review or walkthrough." if is_required else ""
        return CodeReview(is_required, False, sentence=word)
    last = records[-1].data
    return CodeReview(is_required, True, last.how, last.reviewed_at)


# -- debt -------------------------------------------------------------------------------------------------------------


def debt(facts: Facts, release_id: str | None) -> tuple[Case, ...]:
    """The product's regression cases that matter to a release: every unproven one, and those proven for this release.

    A case counts against the release when its incident opened before the release's freeze (any time while not frozen).
    """
    frozen_at = min(
        (fact.data.at for fact in facts.of(ReleaseFrozen) if fact.data.release_id == release_id), default=None
    )
    incidents = {fact.data.incident_id: fact.data for fact in facts.of(IncidentOpened)}
    # Its deviation was withdrawn: it was no incident, and owes nothing. Any other closing pays nothing.
    none = {fact.data.incident_id for fact in facts.of(IncidentClosed) if fact.data.is_withdrawn}
    owed: dict[str, RegressionCaseOwed] = {}
    last: dict[str, RegressionCaseOwed | RegressionCaseRed | RegressionCaseGreen] = {}
    red: dict[str, RegressionCaseRed] = {}
    green: dict[str, RegressionCaseGreen] = {}
    said: list[Known[RegressionCaseOwed] | Known[RegressionCaseRed] | Known[RegressionCaseGreen]]
    said = [*facts.of(RegressionCaseOwed), *facts.of(RegressionCaseRed), *facts.of(RegressionCaseGreen)]
    for fact in sorted(said, key=lambda fact: (fact.data.revision, fact.sequence, fact.type, fact.event_id)):
        case = fact.data
        if case.incident_id in none:
            continue
        last[case.case_id] = case
        if isinstance(case, RegressionCaseRed):
            red[case.case_id] = case
        elif isinstance(case, RegressionCaseGreen):
            green[case.case_id] = case
        else:
            owed[case.case_id] = case
    found = []
    for case_id, case in sorted(last.items()):
        state: CaseState = "green" if case_id in green else "red" if case_id in red else "owed"
        incident = incidents.get(case.incident_id)
        known = owed.get(case_id)
        opened_at = known.incident_opened_at if known else incident.opened_at if incident else None
        is_before = frozen_at is None or opened_at is None or opened_at < frozen_at
        if state == "green" and (release_id is None or case.release_id != release_id):
            continue
        proof = green.get(case_id)
        found.append(
            Case(
                case_id,
                case.incident_id,
                case.title,
                state,
                state != "green" and is_before,
                case.release_id,
                incident.title if incident else None,
                incident.cr_id if incident else None,
                opened_at,
                proof.red_commit if proof else red[case_id].commit if case_id in red else None,
                proof.commit if proof else None,
                _case_sentence(case_id, case.incident_id, state, is_before),
            )
        )
    return tuple(found)


def _case_sentence(case_id: str, incident_id: str, state: CaseState, is_before: bool) -> str:
    if state == "green":
        return f"{case_id} was seen to fail on the faulty version and to pass on the fixed one."
    if not is_before:
        return f"{incident_id} opened after this release was frozen; {case_id} is the next release's."
    if state == "red":
        return f"{case_id} of {incident_id} was seen to fail, but not yet to pass on a fixed version."
    return f"{case_id} of {incident_id} is owed: it was not yet seen to fail on the faulty version."

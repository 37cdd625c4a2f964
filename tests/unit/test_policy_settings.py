"""Every word of a policy has an effect: each is changed alone, and something that people rely on must come out otherwise.

A word that is added without a line here fails the first test. What only a service as a whole can show is named with its test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from pydantic import BaseModel, ValidationError

from services.incidents import domain as incidents
from services.reviewer.domain import gate
from services.reviewer.domain.dossier import assemble
from services.snapshotter import domain
from services.snapshotter.domain import DAY, Observation, Standing, Window
from services.snapshotter.handlers.judging import Grounds, Taken, judged
from services.snapshotter.samples import pack, unpack
from services.snapshotter.store import KeptSeries
from shared.contracts import SLI, CRRolledBack, Policy, read_policy
from shared.contracts.policy import ObservationRules
from tests.stories import T0, H, Story
from tests.stories import policy as story_policy

ROOT = Path(__file__).resolve().parents[2]
AT = datetime(2026, 9, 8, 12, tzinfo=UTC)  # a Tuesday, like the days around it
STEP_S = 900

Effect = Callable[[Policy], Any]


# -- the policy that is changed ---------------------------------------------------------------------------------------

POLICY = Policy(
    id="epl",
    name="EPL",
    enforcement="enforce",
    description="The request path.",
    observation=ObservationRules(step_s=STEP_S, settle_min=60, history_days=3),
    slis=(
        SLI(id="latency", title="Latency", source="main", query="latency", unit="ms", min_absolute=1.0),
        SLI(id="errors", title="Errors", source="main", query="errors", unit="1/s", severity="minor"),
    ),
)


def changed(path: str, value: Any) -> Policy:
    """`POLICY` with one word changed; `slis.x` and `clocks.x.y` are of the first SLI, of the critical clock."""
    document = POLICY.model_dump(mode="json")
    *parents, last = path.split(".")
    at = document
    for name in parents:
        at = at[name]
        at = at[0] if isinstance(at, list) else at
    assert last in at, f"{path} is no word of a policy"
    at[last] = value
    return read_policy(document)


# -- what a word can change -------------------------------------------------------------------------------------------


@cache
def rows(day: int) -> tuple[KeptSeries, ...]:
    rng = np.random.default_rng(-day)
    found = []
    for sli in ("latency", "errors"):
        values = 100 * (1 + 0.02 * rng.standard_normal(96))
        if day == 0 and sli == "latency":
            values += 100
            values[:4] += 300  # while caches are cold
        given: dict[str, Any] = {"title": sli, "unit": "", "source": "main", "query": sli, "missing": None}
        given |= {"warnings": (), "hash": "", "n": 96, "min": 0, "median": 0, "p95": 0, "max": 0}
        found.append(KeptSeries(sli=sli, packed=pack(values), **given))
    return tuple(found)


def look(kind: Any = "after", hours: float = 24) -> Observation:
    ends = AT + timedelta(hours=hours)
    return Observation("CR-1", "epl", 1, 1, kind, AT, ends, ends, AT, "p1")


def verdict(policy: Policy) -> Any:
    """A day on which latency doubled, judged: the whole answer, with every number."""

    def taken(first: int, days: int) -> Taken:
        start = AT + first * DAY
        series = [rows(first + n) for n in range(days)]
        joined = tuple(
            replace(one, packed=pack(np.concatenate([_unpacked(day[row]) for day in series])))
            for row, one in enumerate(series[0])
        )
        return Taken(f"SNAP{first}", Window(start, start + days * DAY, STEP_S), joined)

    found = judged(
        Grounds(look(), policy, Standing(None, "good", "SNAP-1"), taken(0, 1), taken(-1, 1), history=taken(-3, 3))
    )
    return found.verdict, found.numbers, found.history_days


def _unpacked(one: KeptSeries) -> np.ndarray:
    return unpack(one.packed or b"", 96)


def outcome(policy: Policy) -> str:
    return str(verdict(policy)[0].outcome)


def at_the_gate(*, evidence: bool = True, age_s: float = 70) -> Effect:
    """What the gate says of a change under review that has its evidence, or has none."""

    def ask(policy: Policy) -> Any:
        story = Story()
        story.product(story_policy().model_copy(update={n: getattr(policy, n) for n in _GATED}))
        story.release("epl", "26.12", T0 + 48 * H)
        story.register("CR-1", "epl", "epl-26.12", "Tune the settlement queue")
        if evidence:
            story.evidence("CR-1", "epl")
            story.benchmark("epl", "epl", "SNAP-1")
        story.after(1)
        fresh = gate.Freshness(story.now - timedelta(seconds=age_s))
        found = gate.answer(assemble("CR-1", "epl", story.known, story.now), fresh, story.now)
        return found.go, sorted((reason.code, reason.sentence) for reason in found.reasons)

    return ask


_GATED = ("enforcement", "evidence", "benchmark", "freshness_s")


def standing(policy: Policy) -> str:
    benchmark = domain.Snapshot(
        "SNAP-1", "benchmark", "epl", "CR-1", None, None, Window(AT - 2 * DAY, AT - DAY, 60), AT - DAY, "local|olga",
        "an ordinary day", "p1", "hash", 1,
    )  # fmt: skip
    cr = domain.ChangeRequest("CR-1", "epl")
    return domain.standing([benchmark], cr, deployed_at=AT, now=AT, max_age_h=policy.benchmark.max_age_h).state


def recovery(policy: Policy) -> Any:
    fact = CRRolledBack(
        cr_id="CR-1", product_id="epl", deployment=1, revision=1, rolled_back_at=AT, reported_at=AT, reason="worse"
    )
    cr, deployment = domain.ChangeRequest("CR-1", "epl"), domain.Deployment("CR-1", 1)
    change = domain.rolled_back(cr, deployment, [], fact, policy_version="p1", policy=policy, now=AT)
    return [one.due_at for one in change.observations]


def clocks(severity: Any) -> Effect:
    def run(policy: Policy) -> Any:
        clock = getattr(policy.clocks, severity)
        by = incidents.deadlines(AT, clock)
        case = incidents.Investigation(
            id="INV-1", product_id="epl", cr_id="CR-1", deployment=1, revision=1, kind="absence", deviation_id=None,
            incident_id=None, severity=severity, owner="local|pia", because="It rose.", state="opened", opened_at=AT,
            acknowledge_by=by[0], explain_by=by[1], decide_by=by[2], policy_version="p1",
        )  # fmt: skip
        return by, incidents.escalate(case, "acknowledge", clock, AT)[1]

    return run


#: word -> (another value, what must come out otherwise)
CHANGES: dict[str, tuple[Any, Effect]] = {
    "enforcement": ("observe", at_the_gate()),
    "evidence.regression.required": (False, at_the_gate(evidence=False)),
    "evidence.regression.max_age_h": (0.5, at_the_gate()),
    "evidence.integration.required": (False, at_the_gate(evidence=False)),
    "evidence.integration.max_age_h": (0.5, at_the_gate()),
    "evidence.code_review": (False, at_the_gate(evidence=False)),
    "benchmark.max_age_h": (12, standing),
    "observation.step_s": (60, lambda p: domain.benchmark_window(AT, p.observation.step_s)),
    "observation.settle_min": (0, verdict),
    "observation.patience_min": (5, lambda p: look().gives_up_at(p)),
    "observation.recovery_h": (8, recovery),
    "observation.history_days": (1, verdict),
    "observation.anchor_days": (30, domain.horizon),
    "observation.calibrate": (False, domain.keeps_days),
    "slis.id": ("other", lambda p: [one.sli for one in verdict(p)[0].comparisons]),
    "slis.title": ("Response time", lambda p: verdict(p)[0].sentence),
    "slis.source": ("elsewhere", outcome),
    "slis.query": ("something_else", outcome),
    "slis.unit": ("s", lambda p: verdict(p)[0].sentence),
    "slis.direction": ("lower_is_worse", outcome),
    "slis.severity": ("major", lambda p: [one.severity for one in verdict(p)[0].comparisons]),
    "slis.shadow": (True, outcome),
    "slis.min_relative": (5.0, outcome),
    "slis.min_absolute": (500.0, outcome),
    "clocks.critical.acknowledge_min": (5, clocks("critical")),
    "clocks.critical.explain_min": (60, clocks("critical")),
    "clocks.critical.decide_min": (180, clocks("critical")),
    "clocks.critical.channels": (["room"], clocks("critical")),
    "clocks.critical.escalate_to": (["lead"], clocks("critical")),
    "freshness_s": (90, at_the_gate()),
}

#: word -> the test that shows it, because no pure function does
SHOWN: dict[str, str] = {
    "id": "tests/flow/test_intake.py::test_a_product_is_its_policy_and_its_version_is_the_content",
    "name": "tests/flow/test_console.py::test_hostile_text_is_shown_and_does_nothing",
    "description": "tests/flow/test_console.py::test_hostile_text_is_shown_and_does_nothing",
    "benchmark.max_gap_share": "tests/unit/test_benchmark_health.py::test_the_policy_says_how_many_gaps_and_how_flat",
    "benchmark.max_flat_h": "tests/unit/test_benchmark_health.py::test_the_policy_says_how_many_gaps_and_how_flat",
    "benchmark.max_pin_days": "tests/unit/test_benchmarks.py::"
    "test_a_pin_is_refused_for_a_date_too_far_or_past_and_for_what_is_no_benchmark",
    "observation.early_looks_min": "tests/unit/test_early_looks.py::"
    "test_each_look_has_its_time_and_of_several_that_were_missed_only_the_last_is_taken",
    "samples.raw_days": "tests/flow/test_snapshotter_samples.py::"
    "test_one_series_is_read_without_the_others_and_expires_with_them",
    "slis.match": "tests/unit/test_promql.py::test_a_source_asks_with_the_matchers_or_not_at_all",
    "variables": "tests/unit/test_promql.py::test_variables_of_a_policy_become_values_once_and_for_all",
}


def words(of: type[BaseModel] = Policy, at: str = "") -> Iterator[str]:
    """Every word of a policy by its path; of the three clocks, which are of one shape, the critical one."""
    for name, field in of.model_fields.items():
        inner = next((k for k in (field.annotation, *get_args(field.annotation)) if _is_part(k)), None)
        if inner is None:
            yield f"{at}{name}"
        elif not (at == "clocks." and name != "critical"):
            yield from words(inner, f"{at}{name}.")


def _is_part(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def test_every_word_has_an_effect_that_is_shown() -> None:
    known = {*CHANGES, *SHOWN}
    assert set(words()) == known, "a word without an effect is deleted; one with an effect has a line here"
    for place in SHOWN.values():
        file, _, name = place.partition("::")
        assert f"def {name}(" in (ROOT / file).read_text(), f"{place} is gone: where is the word's effect shown now?"


@pytest.mark.parametrize("path", CHANGES)
def test_a_word_that_is_changed_changes_something(path: str) -> None:
    value, effect = CHANGES[path]
    assert effect(changed(path, value)) != effect(POLICY)


@pytest.mark.parametrize("severity", ["critical", "major", "minor"])
def test_each_severity_has_a_clock_of_its_own(severity: str) -> None:
    own = POLICY.clocks.model_copy(
        update={severity: POLICY.clocks.critical.model_copy(update={"acknowledge_min": 1.0})}
    )
    assert clocks(severity)(POLICY.model_copy(update={"clocks": own})) != clocks(severity)(POLICY)


@pytest.mark.parametrize("path", ["", "evidence", "evidence.regression", "benchmark", "observation", "slis", "clocks"])
def test_an_unknown_word_is_refused_wherever_it_stands(path: str) -> None:
    document = POLICY.model_dump(mode="json")
    at = document
    for name in path.split(".") if path else ():
        at = at[name]
        at = at[0] if isinstance(at, list) else at
    at["colour"] = "red"
    with pytest.raises(ValidationError, match="colour"):
        read_policy(document)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("slis.min_absolute", False),
        ("slis.min_relative", "0.1"),
        ("slis.shadow", "no"),
        ("observation.step_s", "60"),
        ("observation.early_looks_min", [True]),
        ("observation.anchor_days", True),
        ("observation.anchor_days", "90"),
        ("observation.anchor_days", 1),  # a verdict alone takes a day
        ("observation.anchor_days", 3651),
        ("observation.anchor_days", float("inf")),
        ("evidence.code_review", 0),
    ],
)
def test_a_number_is_a_number_and_a_switch_is_a_switch(path: str, value: object) -> None:
    """`false` for 0 would switch a limit off that nobody meant to switch."""
    document = POLICY.model_dump(mode="json")
    at = document[path.split(".")[0]]
    (at[0] if isinstance(at, list) else at)[path.split(".")[1]] = value
    with pytest.raises(ValidationError, match=path.split(".")[1]):
        read_policy(document)

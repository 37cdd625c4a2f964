"""Which pairs of days count for a product's own limits, and what the limits are then worth."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Literal

import numpy as np
import pytest

from services.snapshotter.domain import DAY, DayPair, Disturbance, Window, disturbs, keeps_days, next_day_due, weighed
from services.snapshotter.handlers.calibrating import LEAST, calibrated
from services.snapshotter.handlers.days import depth, score_of
from services.snapshotter.handlers.judging import ALPHA, Taken, day_compared, fitted_with
from services.snapshotter.judge.tables.shipped import SHIPPED
from services.snapshotter.samples import pack
from services.snapshotter.store import KeptSeries
from shared.contracts import SLI, IncidentOpened, Policy
from shared.contracts.policy import ObservationRules

MONDAY = datetime(2026, 9, 7, tzinfo=UTC)
NEEDED = math.ceil(1 / ALPHA) - 1
POLICY = Policy(
    id="epl",
    name="EPL",
    enforcement="observe",
    observation=ObservationRules(step_s=900, settle_min=0),
    slis=(
        SLI(id="latency", title="Latency", source="main", query="latency", unit="ms", min_relative=0.05),
        SLI(id="heap", title="Heap", source="main", query="heap", unit="MB", shadow=True),
    ),
)

DEPTH = depth(POLICY)


def pair(day: int, score: float | None = 0.0, *, earlier_days: int = 7, anyway: bool = False) -> DayPair:
    return DayPair(MONDAY + day * DAY, score, anyway, earlier_days, "p1", "1.0")


def test_pairs_do_not_share_a_day_and_a_disturbed_one_frees_its_days_for_others() -> None:
    deploy = MONDAY + 2 * DAY + timedelta(hours=9)
    found = weighed(
        [pair(n) for n in range(1, 7)],
        [Disturbance("CR-1 was deployed", deploy, deploy)],
        DEPTH,
    )
    assert [one.left_out for one in found] == [
        None,  # days 0 and 1
        "CR-1 was deployed",
        "CR-1 was deployed",
        None,  # days 3 and 4
        "it shares a day with the pair before",
        None,  # days 5 and 6
    ]


def test_an_open_incident_disturbs_until_it_is_closed_unless_the_judge_opened_it() -> None:
    began = MONDAY + timedelta(hours=30)
    assert weighed([pair(5)], [Disturbance("INC-1 was open", began, None)], DEPTH)[0].left_out == "INC-1 was open"
    closed = Disturbance("INC-1 was open", began, began + timedelta(hours=2))
    assert weighed([pair(5)], [closed], DEPTH)[0].left_out is None

    def opened(origin: Literal["person", "deviation", "system"]) -> IncidentOpened:
        return IncidentOpened(
            incident_id="INC-1", product_id="epl", cr_id=None, title="Slow", severity="minor", origin=origin,
            opened_at=began,
        )  # fmt: skip

    assert disturbs(opened("person")) and disturbs(opened("system")) and not disturbs(opened("deviation"))


def test_what_could_not_be_judged_or_had_too_little_to_learn_from_does_not_count() -> None:
    found = weighed([pair(1, None), pair(3, earlier_days=1)], [], DEPTH)
    assert [one.left_out for one in found] == [
        "nothing in it could be judged",
        f"it had 1 earlier days to learn from, a verdict has {DEPTH}",
    ]


def test_a_product_has_its_own_limits_once_there_are_enough_pairs_and_never_lower_than_even_odds() -> None:
    rng = np.random.default_rng(1)
    scores = (1.0 + rng.standard_normal(NEEDED - 1)).tolist()
    early = calibrated("epl", POLICY, weighed([pair(2 * n, s) for n, s in enumerate(scores)], [], DEPTH))
    assert early.limits.own is None and early.limits.sentence.startswith(
        f"The shipped limits hold: {NEEDED - 1} of the {NEEDED}"
    )
    scores.append(9.25)
    whole = [pair(2 * n, s) for n, s in enumerate(scores)]
    enough = calibrated("epl", POLICY, weighed(whole, [], DEPTH))
    assert enough.limits.own is not None and enough.limits.own[DEPTH] == 9.25  # the highest of them all
    assert {d: v for d, v in enough.limits.own.items() if d < DEPTH} == {
        d: v for d, v in SHIPPED.limits.items() if d < DEPTH
    }
    assert f"from {NEEDED} quiet day pairs; none came later" in enough.limits.sentence
    quiet = calibrated("epl", POLICY, weighed([pair(2 * n, float("-inf")) for n in range(NEEDED)], [], DEPTH))
    assert quiet.limits.own is not None and quiet.limits.own[DEPTH] == LEAST
    off = POLICY.model_copy(update={"observation": POLICY.observation.model_copy(update={"calibrate": False})})
    held = calibrated("epl", off, weighed(whole, [], DEPTH))
    assert held.limits.own is None and "keeps no days" in held.limits.sentence


def test_false_alarms_are_counted_on_later_pairs_alone_each_under_the_limit_of_those_before() -> None:
    scores = [1.0] * NEEDED + [0.5, 2.0, 1.5, 0.5]  # 2.0 alarms; then it is the highest so far, and 1.5 does not
    pairs = [
        pair(2 * n, s, anyway=n == NEEDED + 3) for n, s in enumerate(scores)
    ]  # and the last alarms whatever the limit
    found = calibrated("epl", POLICY, weighed(pairs, [], DEPTH))
    assert (found.later, found.alarms) == (4, 2)
    assert "of 4 later ones 2 alarmed (50%; 90 % interval" in found.limits.sentence


def test_with_own_limits_no_more_quiet_days_alarm_than_they_promise_whatever_the_scores_are() -> None:
    rng = np.random.default_rng(7)
    alarms = later = 0
    for _ in range(15):
        scores = rng.gumbel(3.0, 2.0, NEEDED + 40).tolist()  # nothing like what the shipped limits were fitted on
        found = calibrated("epl", POLICY, weighed([pair(2 * n, s) for n, s in enumerate(scores)], [], DEPTH))
        alarms, later = alarms + found.alarms, later + found.later
    assert later == 15 * 40 and 0.2 * ALPHA < alarms / later < 1.6 * ALPHA


def test_a_day_is_read_once_after_midnight_and_products_do_not_all_ask_at_once() -> None:
    noon = MONDAY + timedelta(hours=12)
    due = next_day_due("epl", noon)
    assert MONDAY + DAY < due < MONDAY + DAY + timedelta(hours=1) and next_day_due("epl", due) == due + DAY
    assert len({next_day_due(f"p{n}", noon) for n in range(20)}) > 15
    assert keeps_days(POLICY) and not keeps_days(POLICY.model_copy(update={"slis": ()}))


def taken(day: int, *, latency: float = 1.0, heap: float = 1.0, noise: float = 0.02) -> Taken:
    rng = np.random.default_rng(day)
    rows = []
    for sli, factor in (("latency", latency), ("heap", heap)):
        values = factor * 100 * (1 + noise * rng.standard_normal(96))
        given = {"title": sli, "unit": "", "source": "main", "query": sli, "missing": None, "warnings": (), "hash": ""}
        rows.append(KeptSeries(sli=sli, n=96, min=0, median=0, p95=0, max=0, packed=pack(values), **given))  # type: ignore[arg-type]
    start = MONDAY + day * DAY
    return Taken(f"SNAP-{day}", Window(start, start + DAY, 900), tuple(rows))


def test_a_pair_scores_by_what_would_have_alarmed_and_a_shadow_never_does() -> None:
    earlier = [taken(n) for n in range(7, 0, -1)]
    quiet = score_of(POLICY, [taken(8), *earlier])
    assert quiet.top is not None and quiet.top < SHIPPED.limits[DEPTH] and not quiet.alarms_anyway
    assert quiet.earlier_days == 7
    shadow = score_of(POLICY, [taken(8, heap=2.0), *earlier])
    assert shadow.top == quiet.top  # judged and shown, never decides
    loud = score_of(POLICY, [taken(8, latency=2.0), *earlier])
    assert loud.top is not None and loud.top > SHIPPED.limits[DEPTH] and loud.alarms_anyway
    easy = POLICY.slis[0].model_copy(update={"min_relative": 50.0})
    unminded = POLICY.model_copy(update={"slis": (easy, POLICY.slis[1])})
    assert score_of(unminded, [taken(8, latency=2.0), *earlier]).top == float("-inf")
    nothing = Taken("SNAP-8", taken(8).window, ())
    assert score_of(POLICY, [nothing, *earlier]).top is None


@pytest.mark.parametrize(
    ("day", "history_days", "anyway"),
    [
        (28, 5, False),  # a Monday: three working days among five, and the product's own limit holds for three as well
        (28, 7, True),
        (33, 7, True),  # a Saturday: two of its kind among seven, and the shipped limit holds for so few
    ],
)
def test_a_pair_across_a_week_end_counts_each_alarm_that_a_verdict_would_raise(
    day: int, history_days: int, anyway: bool
) -> None:
    """A verdict is then made twice, among all days and among those of one kind: what either says is an alarm."""

    def of_week(at: int, factor: float = 1.0) -> Taken:
        return taken(at, latency=factor * (0.3 if at % 7 >= 5 else 1.0), noise=0.04)

    rules = POLICY.observation.model_copy(update={"history_days": history_days})
    policy = POLICY.model_copy(update={"observation": rules})
    earlier = [of_week(day - back) for back in range(1, history_days + 1)]
    shipped = {known: limit for known, limit in SHIPPED.limits.items() if known < depth(policy)}
    raised = []
    for factor in (1.0, 1.1, 1.2, 1.4):
        after = of_week(day, factor)
        score = score_of(policy, [after, *earlier])
        assert score.top is not None
        for limit in (0.0, 2.0, 4.0, 100.0):  # of the product's own
            fitted = fitted_with({**shipped, depth(policy): limit})
            found = day_compared(policy, after, earlier[0], earlier[::-1], fitted)
            if any(c.decides and c.outcome == "moved" for c in found):
                assert score.top > limit or score.alarms_anyway, (factor, limit, score)
                raised.append((factor, limit))
        assert score.alarms_anyway is ((factor, 100.0) in raised)
    assert raised and (1.0, 0.0) not in raised
    assert ((1.4, 100.0) in raised) is anyway

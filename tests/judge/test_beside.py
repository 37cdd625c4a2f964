"""Once one SLI moved, the others are asked for less: what failed with it is seen as well, and nothing else changes."""

from dataclasses import replace

import numpy as np

from services.snapshotter.judge import Window, judge, overall
from services.snapshotter.judge.tables.shipped import SHIPPED
from tests.judge.made import KINDS, quiet
from tests.judge.test_outcomes import DAY, T0, day, rule, window
from tests.judge.test_week import MONDAY, STEP, made

GROSS, SLIGHT = 0, 1


def days(gross=1.6, slight=1.08):
    """Two days of four SLIs, of which one rose much after the deploy and one a little."""
    before, after = day(3), day(103)
    after[GROSS] *= gross
    after[SLIGHT] *= slight
    return before, after


def ask(before, after, rules, fitted):
    return judge(window(before), window(after, T0 + DAY), rules, deployed_at_s=T0 + DAY, fitted=fitted)


def fitted_between(before, after, beside=1.0):
    """Limits that the slight rise misses by half of `beside`, and the gross one does not."""
    found = ask(before, after, [rule(i) for i in range(4)], SHIPPED)
    scores = [c.numbers["score"] for c in found]
    assert scores[GROSS] > scores[SLIGHT] + beside > max(scores[2:]) + 2 * beside, scores
    limit = scores[SLIGHT] + beside / 2 - SHIPPED.slope * np.log(4 / SHIPPED.series)
    return replace(SHIPPED, limits={1: limit}, beside=beside)


def test_a_slight_rise_is_moved_beside_another_that_moved_and_says_why():
    before, after = days()
    fitted = fitted_between(before, after)
    found = ask(before, after, [rule(i) for i in range(4)], fitted)
    assert [c.outcome for c in found] == ["moved", "moved", "steady", "steady"]
    slight = found[SLIGHT]
    assert "too little by itself, it counts because S0 moved" in slight.sentence
    assert "by itself" not in found[GROSS].sentence
    assert found[GROSS].limit == fitted.limit(1, 4)
    assert slight.limit == fitted.limit(1, 4) - 1 < slight.numbers["score"] < slight.numbers["score_limit"]
    # What stayed steady had the lower limit to pass as well, and tells that one.
    assert found[2].limit == slight.limit and found[2].numbers["beside"] == 1


def test_by_itself_it_stays_steady():
    before, after = days()
    fitted = fitted_between(before, after)
    after[GROSS] = before[GROSS]
    found = ask(before, after, [rule(i) for i in range(4)], fitted)
    assert overall(found) == "steady"
    assert all(c.limit == fitted.limit(1, 4) and "beside" not in c.numbers for c in found)


def test_a_shadow_that_moved_decides_nothing_not_even_so():
    before, after = days()
    fitted = fitted_between(before, after)
    rules = [rule(i, decides=i != GROSS) for i in range(4)]
    found = ask(before, after, rules, fitted)
    assert found[GROSS].outcome == "moved" and found[SLIGHT].outcome == "steady"
    assert overall(found) == "steady"


def test_a_move_that_the_policy_does_not_mind_asks_the_others_for_nothing_less():
    before, after = days()
    fitted = fitted_between(before, after)
    rules = [rule(i, min_relative=5.0 if i == GROSS else 0.0) for i in range(4)]
    assert [c.outcome for c in ask(before, after, rules, fitted)] == ["steady"] * 4


def test_what_is_in_the_better_direction_stays_steady_beside_others():
    before, after = days()
    rules = [rule(i, direction="lower_is_worse" if i == SLIGHT else "both") for i in range(4)]
    found = ask(before, after, rules, fitted_between(before, after))
    assert found[GROSS].outcome == "moved" and found[SLIGHT].outcome == "steady"


def test_a_slight_rise_counts_in_whichever_group_of_slis_it_lies():
    """SLIs are judged in groups that bound the memory; what moved in the last one is known to the first."""
    before, after = days()
    fitted = fitted_between(before, after)
    order = [SLIGHT, *[2, 3] * 150, GROSS]
    fitted = replace(fitted, slope=0.0, limits={1: fitted.limit(1, 4)})
    found = ask(before[order], after[order], [rule(i) for i in range(len(order))], fitted)
    assert found[0].outcome == found[-1].outcome == "moved"
    assert {c.outcome for c in found[1:-1]} == {"steady"}


def test_what_a_like_day_leaves_to_a_person_asks_the_others_for_nothing_less():
    """Against Friday the first SLI moved, but Sunday's benchmark has too little of it: then the second is judged by itself."""

    def both(k, factors=(1.0, 1.0)):
        values = np.vstack([made(MONDAY + k * DAY, 1, seed).values[1] for seed in (0, 1)])
        return Window(MONDAY + k * DAY, STEP, 0.0, values * np.array(factors)[:, None], (None, None))

    past, after, rules = (
        [both(k) for k in range(-7, 0)],
        both(0, (1.8, 1.06)),
        [rule(i, min_relative=0.0) for i in (0, 1)],
    )
    holes = past[-1].values.copy()
    holes[0, 100:] = np.nan

    def found(sunday, fitted):
        return judge(sunday, after, rules, deployed_at_s=MONDAY, history=(*past[:-1], sunday), fitted=fitted)

    score = found(past[-1], SHIPPED)[1].numbers["score"]
    limits = {1: score + 0.5 - SHIPPED.slope * np.log(2 / SHIPPED.series)}
    fitted = replace(SHIPPED, limits=limits, older={}, beside=1.0)
    assert [c.outcome for c in found(past[-1], fitted)] == ["moved", "moved"]
    left = found(replace(past[-1], values=holes), fitted)
    assert [c.outcome for c in left] == ["inconclusive", "steady"] and overall(left) == "inconclusive"
    assert "beside" not in left[1].numbers and left[1].limit == left[1].numbers["score_limit"]


def test_a_change_of_kind_that_is_left_to_a_person_asks_the_others_for_nothing_less():
    """A working day after a week-end of which no day is known: nothing is said to have moved, so nothing moved beside it."""
    before, after = days()
    sunday = MONDAY - DAY
    rules = [rule(i) for i in range(4)]
    found = judge(
        window(before, sunday), window(after, MONDAY), rules, deployed_at_s=MONDAY, fitted=fitted_between(before, after)
    )
    assert [c.outcome for c in found] == ["inconclusive", "steady", "steady", "steady"]
    assert all("beside" not in c.numbers for c in found)


def test_an_early_look_asks_for_nothing_less():
    before, after = days(gross=3.0)
    found = ask(before, after[:, :240], [rule(i) for i in range(4)], SHIPPED)
    assert [c.outcome for c in found] == ["moved", "steady", "steady", "steady"]
    assert all(c.limit == 1.0 and "beside" not in c.numbers for c in found)


def test_no_change_request_is_judged_worse_for_it():
    """Whether anything moved is decided without it: the false alarms of whole change requests are the same ones."""
    rng, more, outcomes = np.random.default_rng(5), 0, set()
    rules = [rule(i) for i in range(40)]
    for kind in KINDS:
        values = quiet(kind, rng, 40, 2)
        for gain in (1.0, 2.0):
            after = values[:, 144:] * np.where(np.arange(40) == 0, gain, 1.0)[:, None]
            a, b = window(values[:, :144], step=600.0), window(after, T0 + DAY, step=600.0)
            alone, together = (
                judge(a, b, rules, deployed_at_s=T0 + DAY, fitted=replace(SHIPPED, beside=beside))
                for beside in (0.0, 9.0)
            )
            assert overall(alone) == overall(together), (kind, gain)
            one, all_ = ({c.sli for c in found if c.outcome == "moved"} for found in (alone, together))
            assert one <= all_, (kind, gain)
            outcomes.add(overall(alone))
            more += len(all_ - one)
    assert outcomes == {"steady", "moved"} and more

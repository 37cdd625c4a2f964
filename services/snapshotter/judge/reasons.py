"""One plain sentence with numbers for every SLI, and the policy's practical minimum."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime, timezone

import numpy as np

from services.snapshotter.judge.align import HOURS
from services.snapshotter.judge.early import DOUBTFUL, Early
from services.snapshotter.judge.measures import Days
from services.snapshotter.judge.order import median
from services.snapshotter.judge.seen import Seen, since_of
from services.snapshotter.judge.values import Comparison, Floats, Outcome, Rule, said
from services.snapshotter.judge.views import NAMES, view_of
from services.snapshotter.judge.views.level import late_start, quarters
from services.snapshotter.judge.views.scale import scale_of

# How far from the anchor, in the weakest quarter of the day. With three earlier days or more: in the largest movement
# between two of them, or usual movements where those are more; with fewer there is only the latter to go by.
CREEP_LIMIT, CREEP_BLIND, CREEP_DAYS = 3.0, 10.0, 3
AT_ONCE_S = 300.0  # what begins so soon after the deploy began with it


_VIEWS = sorted({view_of(n) for n in NAMES})
_AT = np.array([_VIEWS.index(view_of(n)) for n in NAMES])


def _ranked(credit: Floats) -> list[tuple[str, float]]:
    """The views by the points that they earned, the best first; the character of a series is no view."""
    points = np.bincount(_AT, credit, len(_VIEWS)).tolist()
    total = [(v, p) for v, p in zip(_VIEWS, points, strict=True) if v != "character"]
    return sorted(total, key=lambda item: (-item[1], item[0]))


def moved(seen: Seen, credit: Floats, by: str | None = None) -> Comparison:
    """It moved: which view says so most (`by`: the plain rule's), and does the policy mind?"""
    if seen.rule.direction == "higher_is_worse" and _fell_to_zero(seen):
        return _better(seen)
    ranked = _ranked(credit)
    rule, f, j = seen.rule, seen.facts, seen.j
    weak = float(np.min(np.multiply(f.shifts[j], seen.sign)))
    views = [v for v, points in ranked if points > 0.2 * max(ranked[0][1], 0.0)] or [ranked[0][0]]
    if weak > f.usual[j] > 0:  # a whole day beyond its usual movement is read as a level, whatever else it did
        views = ["level", *(v for v in views if v != "level")]
    if by is not None and (by == "frozen or dead" or seen.score <= seen.limit):
        views = [by, *(v for v in views if v != by)]
    level = abs(seen.unit(float(seen.x.q[3, seen.benchmark, j])))
    told: list[tuple[str, float, float, float | None, str]] = []
    minded = None
    for v in views:
        told.append((v, *_told(seen, v)))
        if abs(told[-1][2] - told[-1][1]) >= max(rule.min_absolute, rule.min_relative * level):
            minded = told[-1]
            break
    # Frozen is told by how long, not by how far: any policy minds it.
    minded = minded or next((t for t in told if t[0] == "frozen or dead"), None)
    view, was, now, since, text = minded or told[0]
    numbers = _numbers(seen) | {f"points {v}": p for v, p in ranked if p > 0}
    change = now - was
    share = change / abs(was) if was else None
    ending = _usual(seen) if minded else f"less than the policy minds ({_least(rule, level)})"
    outcome: Outcome = "moved" if minded else "steady"
    limit = seen.limit - seen.beside
    return Comparison(
        rule.sli, outcome, f"{text}; {ending}", rule.decides, view, was, now, share, change, limit, since, numbers
    )


def _fell_to_zero(seen: Seen) -> bool:
    """Whether it mostly stands at 0, and nothing of the day is above the benchmark's."""
    (b, y), j, day = (seen.x, seen.y), seen.j, seen.benchmark
    higher = [(y.q[k, 0, j], b.q[k, day, j]) for k in (-1, -2)] + [(y.mean[0, j], b.mean[day, j])]
    is_zero = y.zeros[0, j] > 0.5 and y.dead[0, j] >= 0.9 * y.still[0, j] and y.q[0, 0, j] >= 0
    return bool(is_zero and all(now <= was for now, was in higher))


def _better(seen: Seen) -> Comparison:
    was, now, _, text = _told(seen, "frozen or dead")
    share = (now - was) / abs(was) if was else None
    limit = seen.limit - seen.beside
    text = f"{text}; that is the better direction"
    return Comparison(
        seen.rule.sli, "steady", text, seen.rule.decides, None, was, now, share, now - was, limit, None, _numbers(seen)
    )


def counted_beside(c: Comparison, other: Rule) -> Comparison:
    """What moved only because `other` did, says so."""
    if c.outcome != "moved":
        return c
    return replace(c, sentence=f"{c.sentence}; too little by itself, it counts because {other.title} moved")


def asked_less(c: Comparison, beside: float) -> Comparison:
    """What stayed `steady` though it had only to pass the lower limit that holds beside another SLI that moved."""
    if c.outcome != "steady" or c.limit is None:
        return c
    return replace(c, limit=c.limit - beside, numbers={**c.numbers, "beside": beside})


def steady(seen: Seen) -> Comparison:
    was, now = _levels(seen)
    change = now - was
    share = change / abs(was) if was else None
    text = f"{seen.rule.title} stayed: {_change(seen.rule, was, now)}; {_usual(seen)}"
    return Comparison(
        seen.rule.sli,
        "steady",
        text,
        seen.rule.decides,
        None,
        was,
        now,
        share,
        change,
        seen.limit,
        None,
        _numbers(seen),
    )


def _numbers(seen: Seen) -> dict[str, float]:
    f, j = seen.facts, seen.j
    q1, q2, q3, q4 = f.shifts[j]
    read_before, read_after = f.read[j]
    largest = f.largest[j]
    return {
        "score": seen.score,
        "score_limit": seen.limit,
        **({"beside": seen.beside} if seen.beside else {}),
        "gross": seen.gross,
        "earlier_days": float(len(seen.x.read)),
        "usual_movement": f.usual[j],
        **({} if math.isnan(largest) else {"largest_movement": largest}),
        "read_before": read_before,
        "read_after": read_after,
        "shift quarter 1": q1,
        "shift quarter 2": q2,
        "shift quarter 3": q3,
        "shift quarter 4": q4,
    }


def _one(d: Days, j: int) -> Days:
    """The measures of one SLI, still shaped (D, 1)."""
    cut = {k: v[:, j : j + 1] for k, v in vars(d).items() if k not in ("q", "r", "residual")}
    return Days(**cut, residual=d.residual, q=d.q[:, :, j : j + 1], r=d.r[:, :, j : j + 1])


def _mid(a: Floats) -> float:
    return float(median(a[None])[0])


def _levels(seen: Seen) -> tuple[float, float]:
    return seen.facts.was[seen.j], seen.facts.now[seen.j]


def _told(seen: Seen, view: str) -> tuple[float, float, float | None, str]:
    """Before and after in the SLI's unit, since when, and the sentence of a view."""
    rule, j, b = seen.rule, seen.j, seen.benchmark
    rose = "rose" if seen.sign > 0 else "fell"
    tail = 4 if seen.sign > 0 else 1  # 99.5 % or 0.5 % quantile of what stands out of its hour
    end = 5 if seen.sign > 0 else 0
    if view == "frozen or dead":
        dead = seen.y.dead[0, j] >= 0.9 * seen.y.still[0, j] > 0
        run = float(seen.y.still[0, j]) * 24
        longest = float(np.fmax.reduce(seen.x.still[:, j])) * 24
        was, now = _levels(seen)
        what = "was 0" if dead else "stood still at one value"
        return was, now, None, f"{rule.title} {what} for {run:.1f} h without a break (at most {longest:.1f} h before)"
    if view == "spread":
        was = seen.unit(_mid(seen.x.hour_spread(b)[j]))
        now = seen.unit(_mid(seen.y.hour_spread(0)[j]))
        verb = "spreads wider" if now > was else "spreads less"
        return was, now, None, f"{rule.title} {verb} inside an hour: {_change(rule, was, now)} between 10 % and 90 %"
    if view == "upper tail":
        was, now = (
            seen.unit(float(seen.x.q[5 if tail == 4 else 1, b, j])),
            seen.unit(float(seen.y.q[5 if tail == 4 else 1, 0, j])),
        )
        which = "highest" if tail == 4 else "lowest"
        if (now - was) * seen.sign > 0:
            return was, now, None, f"the {which} twentieth of {rule.title} {rose}: {_change(rule, was, now)}"
        was, now = (
            seen.unit(float(seen.x.q[-1 if end else 0, b, j])),
            seen.unit(float(seen.y.q[-1 if end else 0, 0, j])),
        )
        return was, now, None, f"the {which} of {rule.title} {rose}: {_change(rule, was, now)}"
    if view == "bursts":
        top = seen.x.r[end, :, j]
        edge = np.fmax.reduce(top) if seen.sign > 0 else np.fmin.reduce(top)
        r = seen.y.residual[0, j]
        out = int((((r > edge) if seen.sign > 0 else (r < edge)) & np.isfinite(r)).sum())
        was, now = (
            seen.unit(float(seen.x.q[-1 if end else 0, b, j])),
            seen.unit(float(seen.y.q[-1 if end else 0, 0, j])),
        )
        kind = "bursts" if seen.sign > 0 else "dips"
        ends = "highest" if seen.sign > 0 else "lowest"
        steps = "1 step stands" if out == 1 else f"{out} steps stand"
        text = f"{rule.title} shows {kind}: {steps} out further than any before; {ends} {_change(rule, was, now)}"
        return was, now, None, text
    if view == "rare events":
        steps = seen.y.residual.shape[-1]
        was, now = (1 - float(seen.x.zeros[b, j])) * steps, (1 - float(seen.y.zeros[0, j])) * steps
        unit = replace(rule, unit="steps that are not 0")
        mean = seen.unit(float(seen.x.mean[b, j])), seen.unit(float(seen.y.mean[0, j]))
        return *mean, None, f"{rule.title}: its rare events changed, {_change(unit, was, now)}"
    hb, hy = seen.hours
    d = (hy - hb) * seen.sign
    if view == "slow leak":
        was, now = (seen.unit(_mid(h[-HOURS // 6 :])) for h in (hb, hy))
        return was, now, None, f"{rule.title} kept moving all day and {rose} by its end: {_change(rule, was, now)}"
    if view == "late start":
        _, at, mean0, mean1 = (v[0] for v in late_start(d[None]))
        if mean1 > 2 * max(mean0, 0):
            was, now = seen.unit(_mid(hb[at:])), seen.unit(_mid(hy[at:]))
            since = since_of(seen, int(at), 0.5 * float(mean0 + mean1))
            return was, now, since, f"{rule.title} {rose}: {_change(rule, was, now)} {_from(seen, since)}"
    was, now = _levels(seen)
    rose = "rose" if now >= was else "fell"
    half = np.flatnonzero(d > 0.5 * seen.sign * seen.facts.shift[j])
    since = since_of(seen, int(half[0]) if half.size else 0, 0.5 * abs(seen.facts.shift[j]))
    stayed = all(v * seen.sign > 0 for v in seen.facts.shifts[j])
    kept = " and stayed so in every quarter of the day" if stayed else ""
    return was, now, since, f"{rule.title} {rose}: {_change(rule, was, now)} {_from(seen, since)}{kept}"


def _from(seen: Seen, since: float) -> str:
    clock = datetime.fromtimestamp(since, timezone.utc).strftime("%H:%M UTC")  # noqa: UP017
    late = since - seen.deployed_at_s
    when = f"{late / 3600:.0f} h" if late >= 7200 else f"{late / 60:.0f} min"
    return f"from {clock}, {'at the deploy' if late < AT_ONCE_S else f'{when} after the deploy'},"


def _change(rule: Rule, was: float, now: float) -> str:
    share = f" ({(now - was) / abs(was):+.0%})" if was and abs(now - was) < 100 * abs(was) else ""
    return said(rule.unit, was, now) + share


def _usual(seen: Seen) -> str:
    """What earlier days did by themselves."""
    f, j, days, unit = seen.facts, seen.j, len(seen.x.read), seen.rule.unit
    if days < 3:
        return f"a day usually differs by about {said(unit, f.usual[j], digits=3)}"
    span = said(unit, f.lowest[j], f.highest[j], between=" to ")
    return f"on {days} earlier days it was {span} and differed by {said(unit, f.typical[j], digits=3)}"


def _least(rule: Rule, level: float) -> str:
    return f"{rule.min_relative:.0%} of {said(rule.unit, level)} and {said(rule.unit, rule.min_absolute)}"


def early(rule: Rule, e: Early, j: int, exponent: int, covered: int) -> Comparison:
    """An early look: gross changes are `moved`, what is more than usual and less than gross is for a person, and what
    is quiet so far is `steady` so far, and says what would have shown."""
    was, now, visible = (float(np.ldexp(v[j], exponent)) for v in (e.before, e.after, e.visible))
    change = now - was
    share = change / abs(was) if was else None
    sides = {"level up": e.up[j], "level down": e.down[j], "spread": e.wider[j], "rare events": e.unlike[j]}
    if rule.direction == "higher_is_worse":
        sides.pop("level down")
    if rule.direction == "lower_is_worse":
        sides.pop("level up")
    view = max(sides, key=lambda k: float(sides[k]))
    score = float(sides[view])
    numbers = {"score": score, "steps": float(covered), "hops": float(e.hops[j])}
    numbers |= {"visible": visible} if np.isfinite(visible) else {}
    level = view.startswith("level")
    minded = not level or abs(change) >= max(rule.min_absolute, rule.min_relative * abs(was))
    is_worse = not (e.dead[j] and rule.direction == "higher_is_worse")  # what stands at 0 did not go up
    if e.frozen[j] >= 1 and is_worse and not (score >= 1 and minded):  # any policy minds it
        view, score, level, minded = "frozen or dead", float(e.frozen[j]), False, True
        numbers |= {"score": score, "stood": float(e.stood[j]), "stood_before": float(e.stood_before[j])}
    words = {"level up": "rose", "level down": "fell", "spread": "changed its spread",
             "rare events": "was 0 all through the benchmark and is no more",
             "frozen or dead": f"stood still at one value for {e.stood[j]:.1f} h (at most {e.stood_before[j]:.1f} h before)"
             }[view]  # fmt: skip
    first = f"{_change(rule, was, now)} in the first {covered} steps"
    share_of_it = f" ({visible / abs(was):.0%})" if 0 < visible < 100 * abs(was) else ""
    shows = said(rule.unit, visible, digits=3) + share_of_it
    outcome: Outcome = "steady"
    text = f"{rule.title}: {first}"
    if score >= 1 and minded:
        outcome, text = "moved", f"{rule.title} {words}: {first}"
    elif level and minded and min(score, float((e.higher if view == "level up" else e.lower)[j])) >= DOUBTFUL:
        outcome = "inconclusive"
        text = f"{rule.title} {words}: {first}; more than usual, but so short a window shows a change from {shows} on"
    elif np.isfinite(visible):
        text = f"{text}; a change from {shows} on would have shown"
    return Comparison(
        rule.sli, outcome, text, rule.decides, view if outcome == "moved" else None, was, now, share, change, 1.0, None,
        numbers,
    )  # fmt: skip


def creep(c: Comparison, rule: Rule, x: Days, y: Days, j: int, exponent: int) -> Comparison:
    """A `steady` SLI against the anchor: small steps that each passed may add up."""
    s = scale_of(_one(x, j), 0, _one(y, j))
    d = y.hour_mid[0, j] - x.hour_mid[0, j]
    up = median(d[None])[0] >= 0
    if rule.direction == ("lower_is_worse" if up else "higher_is_worse"):
        return c
    weak = np.ldexp(min(float(v[0]) * (1 if up else -1) for v in quarters(d[None])), exponent)
    was = float(np.ldexp(_mid(x.hour_mid[0, j]), exponent))
    now = float(np.ldexp(_mid(y.hour_mid[0, j]), exponent))
    knows = c.numbers.get("earlier_days", 1.0) >= CREEP_DAYS
    yardstick = max(float(np.ldexp(s.usual[0], exponent)), c.numbers.get("largest_movement", 0.0) if knows else 0.0)
    size, limit = float(weak) / yardstick if yardstick > 0 else 0.0, CREEP_LIMIT if knows else CREEP_BLIND
    if not size > limit or abs(now - was) < max(rule.min_absolute, rule.min_relative * abs(was)):
        return c
    text = f"{rule.title} crept away from the anchor: {_change(rule, was, now)}, though not at this deploy alone"
    share = (now - was) / abs(was) if was else None
    return replace(
        c, outcome="moved", sentence=text, view="creep", before=was, after=now, effect_relative=share,
        effect_absolute=now - was, limit=limit, numbers={**c.numbers, "creep": size},
    )  # fmt: skip

"""What was not held against the anchor for its gaps has not "not crept"."""

from __future__ import annotations

import numpy as np

from services.snapshotter.domain import DAY, Anchor, Observation, Standing
from services.snapshotter.handlers.judging import Grounds, judged
from tests.judge.test_outcomes import day
from tests.unit.test_beside_others import AT, POLICY, taken


def test_a_verdict_names_what_the_anchor_has_too_little_of() -> None:
    anchor = day(5)
    anchor[0, :1000] = np.nan
    look = Observation("CR-1", "epl", 1, 1, "after", AT, AT + DAY, AT + DAY, AT, "p1")
    grounds = Grounds(
        look, POLICY, Standing(None, "good", "SNAP-1"), taken(0, day(103)), taken(-1, day(3)),
        anchored=Anchor(None, None, "SNAP-30"), anchor=taken(-30, anchor),
    )  # fmt: skip
    said = judged(grounds).verdict
    assert said.outcome == "steady"
    assert said.creep.startswith("No SLI that is steady has crept away from the anchor (SNAP-30).")
    assert (
        "For 1 of 4 it could not be looked at, first: 31% of the steps are read at the same minutes of both."
        in said.creep
    )

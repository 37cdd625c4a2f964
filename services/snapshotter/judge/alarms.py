"""One family-wise error budget for a CR, and who may spend how much of it.

0.05 is what may alarm in the life of a CR that changed nothing: over all SLIs, views, both references, the pass over the
release history and every early look. A product's own limits are set to the share of the final look; the shipped ones so that
tables and plain rules together stay below the whole on label-verified normal days of held-out entities (`tests/judge/fit.py`),
which is more than their shares: docs/judge.md has what was really spent.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

ALARMS = 0.05
SHARES: Mapping[str, float] = MappingProxyType(
    {
        "final look": 0.032,  # every view that goes through the tables, both directions
        "plain rules": 0.004,  # see plain.py
        "references": 0.001,  # the anchor
        "releases": 0.001,  # the change-point pass over the release history
        "early looks": 0.012,  # all of them together, see the snapshotter's domain/early.py
    }
)


def budget(slis: int, *, references: int = 0, releases: bool = False, early_looks: int = 0) -> dict[str, float]:
    """How the budget of one CR is split, to be stored beside its verdict.

    slis         how many are judged together
    references   how many beside the benchmark (the anchor counts as one)
    releases     whether the release history is passed over
    early_looks  how many are taken before the final one

    Returns {"alarms": the whole, "<part>": its share, "<part> of one SLI" or "of one look": what is left for each}.
    A part that is not used leaves its share unspent: nobody else may have it, so no limit depends on it.
    """
    if slis < 0 or references < 0 or early_looks < 0:
        raise ValueError("counts cannot be negative")
    used = {"final look", "plain rules"}
    used |= {n for n, use in (("references", references), ("releases", releases), ("early looks", early_looks)) if use}
    split = {"alarms": ALARMS} | {name: share for name, share in SHARES.items() if name in used}
    each = {"final look": slis, "plain rules": slis, "references": references * slis, "releases": slis}
    split |= {f"{name} of one SLI": SHARES[name] / max(1, n) for name, n in each.items() if name in used}
    if early_looks:
        split["early looks of one look"] = SHARES["early looks"] / early_looks
    return split

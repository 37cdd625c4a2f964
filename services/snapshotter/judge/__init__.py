"""The judge: did production move? Pure functions on numpy arrays; imports numpy, scipy and the stdlib alone.

>>> judge(benchmark, after, rules, deployed_at_s=t)        # doctest: +SKIP
"""

from services.snapshotter.judge.alarms import ALARMS, budget
from services.snapshotter.judge.releases import across_releases
from services.snapshotter.judge.values import Comparison, Direction, Outcome, Rule, Window, overall, read_as, said
from services.snapshotter.judge.verdict import judge

VERSION = "1.5.0"

__all__ = [
    "ALARMS",
    "VERSION",
    "Comparison",
    "Direction",
    "Outcome",
    "Rule",
    "Window",
    "across_releases",
    "budget",
    "judge",
    "overall",
    "read_as",
    "said",
]

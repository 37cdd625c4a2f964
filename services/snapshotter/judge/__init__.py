"""The judge: did production move? Pure functions on numpy arrays; imports numpy, scipy and the stdlib alone.

>>> judge(benchmark, after, rules, deployed_at_s=t)        # doctest: +SKIP
"""

from services.snapshotter.judge.values import Comparison, Direction, Outcome, Rule, Window, overall
from services.snapshotter.judge.verdict import judge

VERSION = "1.0"

__all__ = ["VERSION", "Comparison", "Direction", "Outcome", "Rule", "Window", "judge", "overall"]

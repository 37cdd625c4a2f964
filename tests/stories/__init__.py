"""Sets of facts as the four services would say them, without the services: for the reviewer's tests and screenshots."""

from tests.stories.before import AUTHOR, COMMIT, DEPLOYER, ENGINEER, OPS, OPS2, PTASK, T0, H, policy
from tests.stories.fortnight import whole
from tests.stories.looks import MOVED, compared, moved, steady
from tests.stories.production import Story

__all__ = [
    "AUTHOR",
    "COMMIT",
    "DEPLOYER",
    "ENGINEER",
    "MOVED",
    "OPS",
    "OPS2",
    "PTASK",
    "T0",
    "H",
    "Story",
    "compared",
    "moved",
    "policy",
    "steady",
    "whole",
]

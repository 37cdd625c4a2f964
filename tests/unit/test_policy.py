"""What a policy's version is the hash of: the words that were said, and nothing that came into the language later."""

from typing import Annotated

from shared.contracts import SLI, Policy
from shared.contracts.policy import Later, _Part

POLICY = Policy(id="epl", name="EPL", enforcement="enforce", slis=(SLI(id="a", title="A", source="main", query="a"),))


class _Inner(_Part):
    old: int = 1
    new: Annotated[int, Later] = 5


class _Outer(_Part):
    inner: _Inner = _Inner()
    inners: tuple[_Inner, ...] = ()
    new: Annotated[float, Later] = 2.0


def test_a_policy_keeps_the_version_it_had_before_the_language_grew() -> None:
    assert POLICY.version() == "68ada19c098e512e"  # as of the day the first services stood


def test_what_was_added_later_counts_from_the_moment_somebody_says_it() -> None:
    assert _Outer(inners=(_Inner(),)).spoken() == {"inner": {"old": 1}, "inners": [{"old": 1}]}
    said = _Outer(inner=_Inner(new=6), inners=(_Inner(new=7),), new=3.0).spoken()
    assert said == {"inner": {"old": 1, "new": 6}, "inners": [{"old": 1, "new": 7}], "new": 3.0}
    assert POLICY.model_copy(update={"freshness_s": 61}).version() != POLICY.version()

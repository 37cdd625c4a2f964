"""A program that tests need and that is not here: a skip of one line for somebody's machine, a failure for CI."""

import pytest

from tests.servers.absent import Absent, program

pytest_plugins = ("pytester",)
SAID = "no-such-program is not here: install it"


def test_an_absence_is_a_skip_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(Absent) as skipped:
        program("no-such-program", "install it")
    assert isinstance(skipped.value, pytest.skip.Exception) and skipped.value.msg == SAID


def test_in_ci_an_absence_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=SAID):
        program("no-such-program", "install it")


def test_whoever_asks_one_line_says_it_for_all(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    pytester.makeconftest("from tests.conftest import pytest_runtest_makereport")
    asks = "from tests.servers.absent import program\ndef test_it(): program('no-such-program', 'install it')"
    pytester.makepyfile(test_one=asks, test_two=asks)
    found = pytester.runpytest_inprocess("-rs", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:asyncio")
    found.assert_outcomes(skipped=2)
    (line,) = [line for line in found.outlines if "no-such-program" in line]
    assert line.startswith("SKIPPED [2]") and line.endswith(SAID)

"""When a task of the plumbing says that it is not well, and when it says so no more."""

import pytest

from shared import progress
from shared.errors import Unavailable
from shared.progress import Progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds, to be moved by the test."""
    now = [100.0]
    monkeypatch.setattr(progress, "monotonic_s", lambda: now[0])
    return now


def test_one_lost_connection_is_no_problem_and_three_failures_in_a_row_are_one(clock: list[float]) -> None:
    task = Progress()
    for _ in range(2):
        task.failed(Unavailable("The database does not answer."))
    assert task.problem() is None
    task.failed(Unavailable("The database does not answer."))
    assert task.problem() == "failed 3 times in a row, the last time with: The database does not answer."
    task.moved()
    assert task.problem() is None


def test_a_turn_without_work_heals_only_when_the_failures_are_long_past(clock: list[float]) -> None:
    task = Progress()
    for _ in range(3):
        task.failed(OSError())
    clock[0] += 5
    task.idle()
    assert task.problem()
    clock[0] += 11
    task.idle()
    assert task.problem() is None


def test_a_turn_that_never_ends_is_a_problem_until_it_ends(clock: list[float]) -> None:
    task = Progress(turn_s=60)
    clock[0] += 61
    assert task.problem() == "nothing has ended for 61 s"
    task.idle()
    assert task.problem() is None


def test_of_a_strangers_error_only_its_kind_is_told(clock: list[float]) -> None:
    task = Progress()
    for _ in range(3):
        task.failed(ValueError("postgresql://intake:secret@db"))
    assert task.problem() == "failed 3 times in a row, the last time with: ValueError"


def test_what_stopped_for_good_stays_stopped(clock: list[float]) -> None:
    task = Progress()
    task.stop("more than 20 parked")
    task.moved()
    assert task.problem() == "more than 20 parked"

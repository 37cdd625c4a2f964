"""What to do when a program that is not Python is not there."""

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest
from _pytest.outcomes import Skipped  # what pytest.skip raises, by the name that type checkers know


class Absent(Skipped):
    """Skips the test that asked."""

    def reported(self) -> tuple[str, int, str]:
        """(file, line, reason) for pytest's summary, the same for all who asked: so it is one line, with their number."""
        return str(Path(__file__)), 1, f"Skipped: {self.msg}"


def absent(what: str, remedy: str) -> NoReturn:
    """Skip the test with one line; where `CI=true`, fail it: there an absence would hide what was not tested."""
    message = f"{what} is not here: {remedy}"
    if os.environ.get("CI") == "true":
        pytest.fail(message, pytrace=False)
    raise Absent(message)


def program(name: str, remedy: str) -> str:
    """The path of a program, or `absent`."""
    return shutil.which(name) or absent(name, remedy)

"""What to do when a program that is not Python is not there."""

import os
import shutil
from typing import NoReturn

import pytest


def absent(what: str, remedy: str) -> NoReturn:
    """Skip the test with one line; where `CI=true`, fail it: there an absence would hide what was not tested."""
    message = f"{what} is not here: {remedy}"
    if os.environ.get("CI") == "true":
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


def program(name: str, remedy: str) -> str:
    """The path of a program, or `absent`."""
    return shutil.which(name) or absent(name, remedy)

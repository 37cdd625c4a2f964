"""What `make` alone tells of its targets."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()
(PHONY,) = re.findall(r"^\.PHONY: (.+)$", MAKEFILE, re.MULTILINE)


@pytest.mark.parametrize("target", PHONY.split())
def test_every_target_has_a_line_of_help(target: str) -> None:
    assert re.search(rf"^{target}:[^#\n]*## \S", MAKEFILE, re.MULTILINE), (
        f"add `## what {target} does` behind {target}:"
    )


def test_every_target_with_help_is_phony() -> None:
    assert set(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.MULTILINE)) == set(PHONY.split())


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not here")
def test_make_alone_prints_one_line_for_each() -> None:
    told = subprocess.run(
        ["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert [line.split()[1] for line in told] == PHONY.split()


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not here")
def test_python_may_keep_its_bytecode_whatever_the_machine_says() -> None:
    told = subprocess.run(
        ["make", "--no-print-directory", "--eval", "told: ; @env", "told"],
        cwd=ROOT, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "MAKELEVEL=" in told and "PYTHONDONTWRITEBYTECODE" not in told

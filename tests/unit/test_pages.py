"""The written pages keep their word: links lead somewhere, and what a reader is told to type is there to be typed."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from typer.main import get_command

from cli.main import app
from services.reviewer.console import words

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    ROOT / name for name in subprocess.check_output(["git", "ls-files", "*.md"], cwd=ROOT, text=True).split()
)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_TYPED = re.compile(r"(?:^|`|\s)(make|daymark) ([a-z][a-z-]*)(?: ([a-z][a-z-]*))?", re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The headings of a page as GitHub names them in links."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for link in _LINK.findall(page.read_text()):
        if re.match(r"[a-z]+:", link):
            continue  # the world outside
        path, _, anchor = link.partition("#")
        to = (page.parent / path).resolve() if path else page
        assert to.exists(), f"{link} leads nowhere"
        if anchor and to.suffix == ".md":
            assert anchor in anchors(to), f"{link}: there is no such heading"


def test_every_command_that_a_page_names_is_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    commands = {name: set(getattr(one, "commands", {})) for name, one in get_command(app).commands.items()}  # type: ignore[attr-defined]
    for page in PAGES:
        spans = re.findall(r"```.*?```|`[^`\n]+`", page.read_text(), re.DOTALL)
        for program, name, further in _TYPED.findall("\n".join(span.strip("`") for span in spans)):
            if program == "make":
                assert name in targets, f"{page.name}: make {name}"
            else:
                assert name in commands, f"{page.name}: daymark {name}"
                assert not commands[name] or further in {"", *commands[name]}, f"{page.name}: daymark {name} {further}"


def test_shares_are_shown_in_percent_and_nothing_else_is_touched() -> None:
    assert words.sentence("rose: 0.41 -> 1.256 % (+206%)") == "rose: 0.41 → 1.256\N{NO-BREAK SPACE}% (+206%)."
    assert (words.number(0.01248, "ratio"), words.unit_of("ratio")) == ("1.248", "%")
    assert (words.number(0.01248, "s"), words.unit_of("s"), words.number(None, "ratio")) == ("0.01248", "s", "–")

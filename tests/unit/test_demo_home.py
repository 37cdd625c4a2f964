"""A demo begins in an empty home or finds a told story; what is none of its own it never touches."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest

from deploy.local.demo import _clear, demo
from deploy.local.story import StoryError


@pytest.fixture(autouse=True)
def nothing_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DAYMARK_DATABASE_URL", "DAYMARK_BUS_URL"):
        monkeypatch.delenv(name, raising=False)


def cleared(home: Path) -> None:
    _clear(home, home / "begun", home / "told", sys.stdout)


def held(home: Path, *marks: str) -> None:
    """A home with a cluster that does not run, and these marks."""
    (home / "data").mkdir()
    (home / "data" / "PG_VERSION").write_text("18")
    (home / "keys.json").write_text("{}")
    for mark in marks:
        (home / mark).touch()


def test_an_empty_home_is_marked_as_begun(home: Path) -> None:
    cleared(home / "demo")
    assert [file.name for file in (home / "demo").iterdir()] == ["begun"]


def test_a_told_story_is_left_as_it_is(home: Path) -> None:
    held(home, "begun", "told")
    cleared(home)
    assert (home / "data" / "PG_VERSION").exists() and (home / "keys.json").exists()


def test_an_interrupted_story_begins_anew_from_nothing(home: Path) -> None:
    held(home, "begun")
    cleared(home)
    assert not (home / "data").exists() and not (home / "keys.json").exists() and (home / "begun").exists()


@pytest.mark.parametrize("name", ["DAYMARK_DATABASE_URL", "DAYMARK_BUS_URL"])
def test_what_was_given_is_never_emptied(home: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    held(home, "begun")
    monkeypatch.setenv(name, "x://y")
    with pytest.raises(SystemExit, match=name):
        cleared(home)
    assert (home / "data").exists()


def test_an_instance_that_is_no_demo_is_refused(home: Path) -> None:
    held(home)
    with pytest.raises(SystemExit, match="no demo"):
        cleared(home)
    assert (home / "data").exists() and not (home / "begun").exists()


def test_a_story_that_fails_by_itself_is_one_sentence(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(**_: Any) -> NoReturn:
        raise StoryError("olga: POST /snapshotter/v1/snapshots answered 503")

    monkeypatch.setattr("deploy.local.demo.up", failing)
    with pytest.raises(SystemExit, match="could not be told to its end: olga: POST"):
        demo(home=home / "demo")
    assert not (home / "demo" / "told").exists()

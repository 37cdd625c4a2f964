"""A container's user may have no name, no home and nowhere to write: each is one plain sentence with what to do."""

from __future__ import annotations

import pwd
from pathlib import Path

import pytest

from deploy.local import postgres
from deploy.local.postgres import PostgresError, _refuse_nameless, default_home
from deploy.local.up import make_home


def nobody_of_that_number(uid: int) -> pwd.struct_passwd:
    raise KeyError(f"getpwuid(): uid not found: {uid}")


def test_who_has_no_name_is_told_before_initdb_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pwd, "getpwuid", nobody_of_that_number)
    with pytest.raises(
        PostgresError, match=r"has none here: start Daymark as a user of /etc/passwd.*DAYMARK_DATABASE_URL"
    ):
        _refuse_nameless()


def test_who_has_no_home_is_asked_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DAYMARK_HOME", "XDG_DATA_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody_of_that_number)
    monkeypatch.setattr(postgres.os, "geteuid", lambda: 12345)
    with pytest.raises(SystemExit, match="set DAYMARK_HOME"):
        default_home()


def test_a_place_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match=r"file/daymark cannot be made \(Not a directory\): set DAYMARK_HOME"):
        make_home(tmp_path / "file" / "daymark")

"""How far long work is, is said on a terminal; where nobody looks, nothing is."""

from __future__ import annotations

import io
import sys

import pytest

from cli.waiting import waiting


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def told(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, *, quiet: bool = False) -> str:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", stream)
    with waiting("Judging up to 50 verdicts again", quiet=quiet) as say:
        say("10 of up to 50 verdicts judged again [1 would flip]")
    return stream.getvalue()


def test_a_terminal_is_told_how_far_it_is_and_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    said = told(monkeypatch, Terminal())
    assert "10 of up to 50 verdicts judged again [1 would flip]" in said  # words, never markup
    assert said.endswith("\x1b[1A\x1b[2K")  # the line is taken back


def test_a_pipe_and_a_program_are_told_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(monkeypatch, io.StringIO()) == ""
    assert told(monkeypatch, Terminal(), quiet=True) == ""

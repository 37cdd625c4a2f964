"""`daymark benchmark`: what it sends, what it prints, how it ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
from typer.testing import CliRunner

import cli.benchmark
from cli.asking import Asking
from cli.main import app

UPLOAD: dict[str, Any] = {
    "id": "UP-1", "state": "waiting", "samples": 0, "bytes": 15, "problems": [], "problems_total": 0, "draft": None,
}  # fmt: skip
MADE: dict[str, Any] = {
    "id": "SNAP-9", "product": "epl", "change_request": None, "provenance": {"health": {"sentence": "No gaps."}},
}  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "readings.csv"
    made.write_text("sli,time,value\n")
    return made


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run `daymark benchmark ...` against answers in the place of Daymark's, one after the other; what was asked."""
    monkeypatch.setattr(cli.benchmark, "_ASK_EVERY_S", 0.0)

    def run(answers: list[httpx2.Response], *words: str) -> tuple[Any, list[httpx2.Request]]:
        asked: list[httpx2.Request] = []

        def answer(request: httpx2.Request) -> httpx2.Response:
            asked.append(request)
            return answers[len(asked) - 1]

        monkeypatch.setattr(cli.benchmark, "Asking", partial(Asking, transport=httpx2.MockTransport(answer)))
        return CliRunner(env={"DAYMARK_KEY": "dmk_1"}).invoke(app, ["benchmark", *words]), asked

    return run


def ok(document: dict[str, Any], **differs: Any) -> httpx2.Response:
    return httpx2.Response(200, json={**document, **differs})


def test_a_file_is_sent_read_and_published_in_one_go(ask: Callable[..., Any], file: Path) -> None:
    drafted = ok(UPLOAD, state="drafted", samples=576, draft="SNAP-8")
    answers = [ok(UPLOAD), ok(UPLOAD, state="reading", samples=10), drafted, ok(MADE)]
    words = (
        "upload",
        str(file),
        "--product",
        "epl",
        "--reason",
        "from the old monitoring",
        "--despite",
        "gaps= at night",
    )
    done, asked = ask(answers, *words)
    assert done.exit_code == 0 and done.output == "SNAP-9 is the benchmark of epl. No gaps.\n"
    sent, *looked, published = asked
    assert dict(sent.url.params) == {"product": "epl", "reason": "from the old monitoring"}
    assert sent.headers["content-type"] == "text/csv" and sent.content == file.read_bytes()
    assert [request.url.path for request in looked] == ["/snapshotter/v1/uploads/UP-1"] * 2
    assert published.url.path == "/snapshotter/v1/drafts/SNAP-8/publish"
    assert json.loads(published.content) == {"reason": "from the old monitoring", "despite": {"gaps": "at night"}}
    done, _ = ask(answers, *words, "--json")
    assert json.loads(done.output) == MADE


def test_wrong_rows_are_named_nothing_is_published_and_it_ends_with_3(ask: Callable[..., Any], file: Path) -> None:
    problems = [{"where": "row 17", "reason": "the policy has no SLI 'x'"}]
    refused = ok(UPLOAD, state="refused", problems=problems, problems_total=120)
    words = ("upload", str(file), "--cr", "CR-1", "--reason", "why")
    done, asked = ask([refused], *words)
    assert done.exit_code == 3 and len(asked) == 1
    assert "row 17: the policy has no SLI 'x'" in done.output and "120 wrong (119 more are not shown)" in done.output
    done, _ = ask([refused], *words, "--json")
    assert done.exit_code == 3 and json.loads(done.output)["problems"] == problems


def test_a_draft_stays_when_somebody_must_look_or_something_speaks_against_it(
    ask: Callable[..., Any], file: Path, tmp_path: Path
) -> None:
    drafted = ok(UPLOAD, state="drafted", samples=576, draft="SNAP-8")
    done, asked = ask([drafted], "upload", str(file), "--product", "epl", "--reason", "why", "--draft")
    assert done.exit_code == 0 and "SNAP-8 is a draft: 576 samples" in done.output and len(asked) == 1
    problem = {
        "title": "No.",
        "detail": "This speaks against it: gaps.",
        "fields": [{"path": "gaps", "message": "17%"}],
    }
    done, _ = ask([httpx2.Response(409, json=problem)], "publish", "SNAP-8", "--reason", "why")
    assert done.exit_code == 1 and "gaps: 17%" in done.output and "SNAP-8 stays a draft" in done.output
    done, asked = ask([], "publish", "SNAP-8", "--reason", "why", "--despite", "gaps")
    assert done.exit_code == 1 and "CODE=REASON" in done.output and not asked
    nameless = tmp_path / "readings"
    nameless.write_text("x")
    done, asked = ask([], "upload", str(nameless), "--product", "epl", "--reason", "why")
    assert done.exit_code == 1 and "give --format" in done.output and not asked

"""`daymark judge`: what it asks, what it prints, how it ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
from typer.testing import CliRunner

import cli.judge
from cli.asking import Asking
from cli.main import app

Answer = Callable[[httpx2.Request], httpx2.Response]


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run `daymark judge ...` against a function in the place of Daymark."""

    def run(answer: Answer, *words: str) -> Any:
        monkeypatch.setattr(cli.judge, "Asking", partial(Asking, transport=httpx2.MockTransport(answer)))
        return CliRunner(env={"DAYMARK_KEY": "dmk_1"}).invoke(app, ["judge", *words])

    return run


def recomputed(is_equal: bool) -> dict[str, Any]:
    differ = [] if is_equal else [{"sli": "latency", "what": "after", "stored": 1.0, "recomputed": 2.0}]
    verdict = {"kind": "after", "deployment": 1, "outcome": "moved", "sentence": "Said.", "differences": differ}
    return {"change_request": "CR-1", "is_equal": is_equal, "verdicts": [verdict]}


def test_a_verdict_that_is_not_what_it_was_ends_with_3(ask: Callable[..., Any]) -> None:
    asked: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request)
        return httpx2.Response(200, json=recomputed(len(asked) == 1))

    equal = ask(answer, "recompute", "CR-1")
    assert equal.exit_code == 0 and equal.output == "CR-1/1 after, moved. Said.\n"
    assert asked[0].headers["authorization"] == "Bearer dmk_1"
    assert asked[0].url.path == "/snapshotter/v1/change-requests/CR-1/recomputation"
    differs = ask(answer, "recompute", "../x")
    assert differs.exit_code == 3 and "latency, after: stored 1.0, now 2.0" in differs.output
    assert asked[1].url.raw_path.endswith(b"/change-requests/..%2Fx/recomputation")
    assert json.loads(ask(answer, "recompute", "CR-1", "--json").output)["is_equal"] is False


def test_a_refusal_is_its_sentence_and_each_field(ask: Callable[..., Any]) -> None:
    problem = {"title": "No.", "detail": "Not this.", "fields": [{"path": "policy.slis", "message": "is wrong"}]}
    refused = ask(lambda _: httpx2.Response(422, json=problem), "recompute", "CR-1")
    assert refused.exit_code == 1 and "Not this.\n  policy.slis: is wrong" in refused.output
    other = ask(lambda _: httpx2.Response(502, text="<html>"), "recompute", "CR-1")
    assert other.exit_code == 1 and "is this Daymark's address?" in other.output

    def nobody(_: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("nobody is there")

    assert "nobody is there" in ask(nobody, "recompute", "CR-1").output
    assert "DAYMARK_KEY" in ask(nobody, "recompute", "CR-1", "--key", "").output


def test_a_backtest_is_asked_page_by_page_and_ends_with_3_when_a_verdict_flips(
    ask: Callable[..., Any], tmp_path: Path
) -> None:
    policy = tmp_path / "new.yaml"
    policy.write_text("id: epl\nslis: []\n")
    asked: list[Any] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(json.loads(request.content))
        flips = len(asked) == 2
        sli = {"sli": "latency", "was": "moved", "now": "steady", "sentence": "Less than the policy minds."}
        one = {
            "change_request": f"CR-{len(asked)}", "deployment": 1, "kind": "after", "was": "moved",
            "now": "steady" if flips else "moved", "flips": flips, "sentence": "Said.", "slis": [sli] if flips else [],
            "notes": ["heap: was not measured then; it is left out."],
        }  # fmt: skip
        return httpx2.Response(200, json={"verdicts": [one], "next": "SNAP-5" if len(asked) == 1 else None})

    found = ask(answer, "backtest", "--product", "epl", "--policy", str(policy))
    assert found.exit_code == 3, found.output
    assert [each["cursor"] for each in asked] == [None, "SNAP-5"] and asked[0]["policy"] == {"id": "epl", "slis": []}
    assert found.output.splitlines() == [
        "CR-1/1 after: moved",
        "  note: heap: was not measured then; it is left out.",
        "CR-2/1 after: moved -> steady, FLIPS. Said.",
        "  latency: moved -> steady. Less than the policy minds.",
        "  note: heap: was not measured then; it is left out.",
        "1 of 2 verdicts would flip.",
    ]
    asked.clear()
    assert json.loads(ask(answer, "backtest", "--product", "epl", "--policy", str(policy), "--json").output)["flipped"]
    policy.write_text("a: [")
    assert ask(answer, "backtest", "--product", "epl", "--policy", str(policy)).exit_code == 1


def test_an_explanation_is_written_where_it_was_asked_for(ask: Callable[..., Any], tmp_path: Path) -> None:
    out = tmp_path / "latency.svg"

    def answer(request: httpx2.Request) -> httpx2.Response:
        assert dict(request.url.params) == {"sli": "latency", "kind": "after"}
        return httpx2.Response(200, content=b"<svg/>")

    assert ask(answer, "explain", "CR-1", "latency", "--out", str(out)).exit_code == 0
    assert out.read_bytes() == b"<svg/>"

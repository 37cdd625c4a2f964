"""`daymark benchmark`: readings from a file become a draft, and the draft the benchmark, under the caller's key."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.asking import HERE, Asking, Key, Refused, Url
from cli.waiting import waiting
from shared.errors import DaymarkError

benchmark = typer.Typer(no_args_is_help=True, help="Make readings a benchmark.")

Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
Reason = Annotated[str, typer.Option(help="Why this window may stand for how production should be.")]
Despite = Annotated[
    list[str] | None, typer.Option(help="CODE=REASON: what speaks against it, and why it stands; repeatable.")
]
_MEDIA = {
    ".csv": "text/csv",
    ".json": "application/json",
    ".om": "application/openmetrics-text",
    ".prom": "application/openmetrics-text",
    ".txt": "application/openmetrics-text",
}
_ASK_EVERY_S = 0.3
_DIFFER = 3  #: exit code: an answer, and not the one to hope for


@benchmark.command("upload")
def benchmark_upload(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="CSV, OpenMetrics text or JSON.")],
    reason: Reason,
    product: Annotated[str | None, typer.Option(help="The product it is for; or give --cr.")] = None,
    cr: Annotated[str | None, typer.Option(help="The change request it is for.")] = None,
    window_end: Annotated[
        str | None, typer.Option(help="End of its 24 hours; the last whole step when not said.")
    ] = None,
    format: Annotated[
        str | None, typer.Option(help="csv, json or openmetrics; by the file's name when not said.")
    ] = None,
    despite: Despite = None,
    draft: Annotated[
        bool, typer.Option("--draft", help="Stop at the draft: somebody else looks at its health.")
    ] = False,
    url: Url = HERE,
    key: Key = "",
    as_json: Json = False,
) -> None:
    """Upload 24 hours of readings and publish them as a benchmark. Exit code 3 when rows are wrong: none is taken then."""
    answers = _answers(despite)
    media = _MEDIA.get(file.suffix.lower(), "application/octet-stream")
    if media == "application/octet-stream" and format is None:
        raise _ended(
            Refused(f"{file.name} does not say by its name what it is: give --format csv, json or openmetrics.")
        )
    about = {"product": product, "change_request": cr, "reason": reason, "window_end": window_end, "format": format}
    try:
        with Asking(url, key) as daymark:
            sent = daymark.send("/snapshotter/v1/uploads", file.read_bytes(), media, **about).json()
            sent = _read(daymark, sent, quiet=as_json)
            if sent["state"] == "refused":
                _show_problems(file, sent, as_json=as_json)
                raise typer.Exit(_DIFFER)
            if draft:
                _say(sent, f"{sent['draft']} is a draft: {sent['samples']} samples. Operations publishes it.", as_json)
                return
            _publish(daymark, sent["draft"], reason, answers, as_json=as_json)
    except (DaymarkError, OSError) as error:
        raise _ended(error) from None


@benchmark.command("publish")
def benchmark_publish(
    draft: Annotated[str, typer.Argument(help="The draft: SNAP-7.")],
    reason: Reason,
    despite: Despite = None,
    url: Url = HERE,
    key: Key = "",
    as_json: Json = False,
) -> None:
    """Publish a draft as the benchmark."""
    answers = _answers(despite)
    try:
        with Asking(url, key) as daymark:
            _publish(daymark, draft, reason, answers, as_json=as_json)
    except (DaymarkError, OSError) as error:
        raise _ended(error) from None


def _read(daymark: Asking, sent: dict[str, Any], *, quiet: bool) -> dict[str, Any]:
    """Wait until the file was read; on a terminal how far it is."""
    with waiting(f"{sent['id']}: waiting", quiet=quiet) as say:
        while sent["state"] in ("waiting", "reading"):
            time.sleep(_ASK_EVERY_S)
            sent = daymark.get(f"/snapshotter/v1/uploads/{sent['id']}").json()
            say(f"{sent['id']}: {sent['samples']:,} samples read of {sent['bytes']:,} bytes")
    return sent


def _publish(daymark: Asking, draft: str, reason: str, despite: dict[str, str], *, as_json: bool) -> None:
    try:
        made = daymark.post(f"/snapshotter/v1/drafts/{draft}/publish", {"reason": reason, "despite": despite}).json()
    except Refused as refused:
        again = "answer each with --despite CODE=REASON, or publish another window"
        raise Refused(f"{refused}\n{draft} stays a draft (daymark benchmark publish {draft}): {again}.") from None
    health = made["provenance"]["health"]
    said = f" {health['sentence']}" if health else ""
    _say(made, f"{made['id']} is the benchmark of {made['change_request'] or made['product']}.{said}", as_json)


def _show_problems(file: Path, sent: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(sent))
        return
    for each in sent["problems"]:
        typer.echo(f"{file}: {each['where']}: {each['reason']}", err=True)
    more = sent["problems_total"] - len(sent["problems"])
    rest = f" ({more} more are not shown)" if more else ""
    typer.echo(f"{sent['problems_total']} wrong{rest}: nothing was taken.", err=True)


def _answers(despite: list[str] | None) -> dict[str, str]:
    found = {}
    for each in despite or ():
        code, is_there, reason = each.partition("=")
        if not is_there:
            raise _ended(Refused(f"--despite is CODE=REASON, such as gaps='the exporter was down'; not {each!r}."))
        found[code.strip()] = reason.strip()
    return found


def _say(document: dict[str, Any], sentence: str, as_json: bool) -> None:
    print(json.dumps(document)) if as_json else typer.echo(sentence)


def _ended(error: Exception) -> typer.Exit:
    typer.echo(str(error), err=True)
    return typer.Exit(1)

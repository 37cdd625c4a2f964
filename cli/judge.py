"""`daymark judge`: look behind a verdict. Everything is asked of the snapshotter over HTTP, under the caller's key."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from cli.asking import HERE, Asking, Key, Url
from cli.waiting import Say, waiting
from shared.errors import DaymarkError

judge = typer.Typer(no_args_is_help=True, help="Look behind a verdict.")

Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
_PAGE = 10  #: verdicts asked for at a time: each takes a while
_DIFFER = 3  #: exit code: an answer, and not the one to hope for


def _asking(url: str, key: str) -> Asking:
    try:
        return Asking(url, key)
    except DaymarkError as error:
        raise _ended(error) from None


def _ended(error: Exception) -> typer.Exit:
    typer.echo(str(error), err=True)
    return typer.Exit(1)


@judge.command("recompute")
def judge_recompute(
    cr: Annotated[str, typer.Argument(help="The change request.")],
    url: Url = HERE,
    key: Key = "",
    as_json: Json = False,
) -> None:
    """Compute the verdicts on a CR again from stored samples. Exit code 3 when one is not what it was."""
    try:
        with _asking(url, key) as daymark, waiting(f"Computing the verdicts on {cr} again", quiet=as_json):
            found = daymark.get(f"/snapshotter/v1/change-requests/{quote(cr, safe='')}/recomputation").json()
    except (DaymarkError, OSError) as error:
        raise _ended(error) from None
    if as_json:
        print(json.dumps(found))
    else:
        for one in found["verdicts"]:
            typer.echo(f"{cr}/{one['deployment']} {one['kind']}, {one['outcome']}. {one['sentence']}")
            for each in one["differences"]:
                where = each["sli"] or "the verdict"
                typer.echo(f"  {where}, {each['what']}: stored {each['stored']}, now {each['recomputed']}")
    raise typer.Exit(0 if found["is_equal"] else _DIFFER)


@judge.command("backtest")
def judge_backtest(
    product: Annotated[str, typer.Option(help="The product.")],
    policy: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="The changed policy, as in products/.")],
    last: Annotated[int, typer.Option(min=1, max=1000, help="How many verdicts, from the newest back.")] = 50,
    url: Url = HERE,
    key: Key = "",
    as_json: Json = False,
) -> None:
    """Judge stored verdicts again under a changed policy, before it is enforced. Exit code 3 when one flips."""
    import yaml

    try:
        document = yaml.safe_load(policy.read_text())
        with _asking(url, key) as daymark, waiting(f"Judging up to {last} verdicts again", quiet=as_json) as say:
            found = _tested(daymark, product, document, last, say)
    except (DaymarkError, OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise _ended(error) from None
    flipped = sum(one["flips"] for one in found)
    if as_json:
        print(json.dumps({"product": product, "verdicts": found, "flipped": flipped}))
    else:
        for one in found:
            typer.echo("\n".join(_tested_lines(one)))
        typer.echo(f"{flipped} of {len(found)} verdicts would flip.")
    raise typer.Exit(_DIFFER if flipped else 0)


def _tested(daymark: Asking, product: str, document: object, last: int, say: Say) -> list[dict[str, Any]]:
    """Page after page, newest first; `say` hears how far it is."""
    found: list[dict[str, Any]] = []
    cursor = None
    while len(found) < last:
        ask = {"policy": document, "limit": min(_PAGE, last - len(found)), "cursor": cursor}
        page = daymark.post(f"/snapshotter/v1/products/{quote(product, safe='')}/backtest", ask).json()
        found += page["verdicts"]
        say(f"{len(found)} of up to {last} verdicts judged again, {sum(one['flips'] for one in found)} would flip")
        cursor = page["next"]
        if cursor is None:
            break
    return found


def _tested_lines(one: dict[str, Any]) -> Iterator[str]:
    what = f"{one['change_request']}/{one['deployment']} {one['kind']}"
    if one["now"] is None:
        yield f"{what}: {one['was']}, cannot be tested. {one['sentence']}"
        return
    yield f"{what}: {one['was']} -> {one['now']}, FLIPS. {one['sentence']}" if one["flips"] else f"{what}: {one['was']}"
    for sli in one["slis"]:
        yield f"  {sli['sli']}: {sli['was'] or 'not judged'} -> {sli['now'] or 'not judged'}. {sli['sentence']}"
    for note in one["notes"]:
        yield f"  note: {note}"


@judge.command("explain")
def judge_explain(
    cr: Annotated[str, typer.Argument(help="The change request.")],
    sli: Annotated[str, typer.Argument(help="The SLI.")],
    out: Annotated[Path, typer.Option(dir_okay=False, help="Where the picture goes: an .svg file.")],
    kind: Annotated[str, typer.Option(help="after or recovery.")] = "after",
    deployment: Annotated[int | None, typer.Option(help="The last one when not given.")] = None,
    url: Url = HERE,
    key: Key = "",
    as_json: Json = False,
) -> None:
    """Draw what an answer rests on: before, after, earlier days, what fired."""
    try:
        with _asking(url, key) as daymark, waiting(f"Drawing {sli} of {cr}", quiet=as_json):
            path = f"/snapshotter/v1/change-requests/{quote(cr, safe='')}/explanation"
            drawn = daymark.get(path, sli=sli, kind=kind, deployment=deployment)
        out.write_bytes(drawn.content)
    except (DaymarkError, OSError) as error:
        raise _ended(error) from None
    print(json.dumps({"written": str(out), "bytes": len(drawn.content)})) if as_json else typer.echo(
        f"{out} is written."
    )

"""`daymark judge`: look behind a verdict. Everything is asked of the snapshotter over HTTP, under the caller's key."""

from __future__ import annotations

import json
from typing import Annotated
from urllib.parse import quote

import typer

from cli.asking import HERE, Asking, Key, Url
from shared.errors import DaymarkError

judge = typer.Typer(no_args_is_help=True, help="Look behind a verdict.")

Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
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
        with _asking(url, key) as daymark:
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

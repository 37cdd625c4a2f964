"""`daymark sli`: try the queries of a product, and take SLIs over from other tools' files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer
import yaml

from cli.asking import HERE, Asking, Key, Url
from cli.waiting import waiting
from shared.errors import DaymarkError

sli = typer.Typer(no_args_is_help=True, help="The SLIs of a product.")
Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
_NOT_FINE = 3  #: exit code: an answer, and not the one to hope for


@sli.command("check")
def sli_check(
    product: Annotated[str | None, typer.Argument(help="Its id; every product that you may read, without it.")] = None,
    hours: Annotated[float, typer.Option(min=0.05, max=24, help="Over how long the queries are tried.")] = 1,
    url: Url = HERE,
    key: Key = "",
    as_json: Json = False,
) -> None:
    """Ask each query once, and say which return nothing, several series, or NaN. Exit code 3 when one is not fine."""
    try:
        with Asking(url, key) as daymark, waiting("Looking up the products", quiet=as_json) as say:
            listed = (
                [product] if product else [each["id"] for each in daymark.get("/intake/v1/products").json()["items"]]
            )
            found = []
            for each in listed:
                say(f"Trying the queries of {each}")
                found.append(
                    daymark.get(f"/snapshotter/v1/products/{quote(each, safe='')}/sli-check", hours=hours).json()
                )
    except (DaymarkError, OSError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    if as_json:
        print(json.dumps(found))
    else:
        for each in found:
            for one in each["slis"]:
                typer.echo(f"{each['product']}  {one['sli']}  {one['result']}: {one['sentence']}")
    raise typer.Exit(0 if all(each["is_fine"] for each in found) else _NOT_FINE)


@sli.command("import")
def sli_import(
    file: Annotated[Path, typer.Argument(help="OpenSLO, Sloth or Pyrra YAML; - for standard input.")],
    source: Annotated[str, typer.Option(help="The source that the policy reads these from.")] = "main",
    as_json: Json = False,
) -> None:
    """Print the SLIs of a file in the form of a policy, to be looked at and pasted. They decide nothing yet (shadow)."""
    from cli.imports import ImportProblem, read

    try:
        found = read(sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8"), source)
    except (OSError, UnicodeDecodeError, ImportProblem) as problem:
        typer.echo(f"{file}: {problem}", err=True)
        raise typer.Exit(1) from None
    if as_json:
        print(json.dumps({"slis": found}))
    else:
        print(yaml.safe_dump({"slis": found}, sort_keys=False, allow_unicode=True, width=10_000), end="")

"""The `daymark` command: run it here, make a database and topics, make keys, look after dead letters, publish readings
from a file, ask the judge, try a product's queries.

Every command has `--json`. On a terminal people get tables, and what takes long says how far it is; elsewhere plain lines.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from cli.benchmark import benchmark
from cli.judge import judge
from cli.sli import sli
from cli.waiting import waiting
from shared.errors import DaymarkError

app = typer.Typer(no_args_is_help=True, help=__doc__, pretty_exceptions_enable=False, rich_markup_mode=None)
topics = typer.Typer(no_args_is_help=True, help="The topics on the bus.")
db = typer.Typer(no_args_is_help=True, help="The database.")
keys = typer.Typer(no_args_is_help=True, help="Principals, their keys and sign-in links.")
dead = typer.Typer(no_args_is_help=True, help="Letters that nobody could hear.")
groups = {"topics": topics, "db": db, "keys": keys, "dead": dead, "benchmark": benchmark, "judge": judge, "sli": sli}
for name, group in groups.items():
    app.add_typer(group, name=name)

Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def admin_url() -> str:
    """The admin's URL, from the environment, else of the instance that runs here: services may not what these may."""
    url = os.environ.get("DAYMARK_DATABASE_URL") or _url_here()
    if not url:
        err.print(
            "Set DAYMARK_DATABASE_URL to the admin's URL of the database, or DAYMARK_HOME to a running instance's."
        )
        raise typer.Exit(2)
    return url


def _url_here() -> str | None:
    """Of the embedded server that runs here. An image of commands alone has none, nor what it is made of."""
    try:
        from deploy.local.postgres import default_home, running_url
    except ModuleNotFoundError:
        return None
    return running_url(default_home())


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """Run to the end; an error of ours is one sentence and exit code 1."""
    try:
        return asyncio.run(work)
    except DaymarkError as error:
        err.print(str(error))
        raise typer.Exit(1) from None
    except OSError as error:
        err.print(f"No answer: {error}")
        raise typer.Exit(1) from None


def show(rows: list[dict[str, Any]], *, as_json: bool, title: str, empty: str) -> None:
    """Rows as JSON, as a table on a terminal, as tab-separated lines elsewhere."""
    if as_json:
        print(json.dumps(rows, default=str))
    elif not rows:
        out.print(empty)
    elif sys.stdout.isatty():
        table = Table(*rows[0], title=title)
        for row in rows:
            table.add_row(*(str(value) for value in row.values()))
        out.print(table)
    else:
        print("\t".join(rows[0]))
        for row in rows:
            print("\t".join(str(value) for value in row.values()))


@app.command()
def up(
    port: Annotated[int | None, typer.Option(help="Loopback port; DAYMARK_PORT, else 8080.")] = None,
    home: Annotated[Path | None, typer.Option(help="Where the data is; DAYMARK_HOME.")] = None,
    as_json: Json = False,
) -> None:
    """Everything on this machine, until Ctrl-C."""
    from deploy.local.up import up as start

    start(home=home, port=port, as_json=as_json)


@app.command()
def demo(
    port: Annotated[int | None, typer.Option(help="Loopback port; DAYMARK_PORT, else 8080.")] = None,
    home: Annotated[Path | None, typer.Option(help="Where the data is; DAYMARK_HOME/demo.")] = None,
    leave: Annotated[bool, typer.Option("--leave", help="End when the story is told.")] = False,
    as_json: Json = False,
) -> None:
    """The same with a story: four days of three products, told through the public doors, up to now."""
    from deploy.local.demo import demo as start

    start(home=home, port=port, leave=leave, as_json=as_json)


@db.command("upgrade")
def db_upgrade(
    movable: Annotated[
        bool, typer.Option("--movable", help="Only for a new database: its clock can be moved (demo, tests).")
    ] = False,
    as_json: Json = False,
) -> None:
    """Bring the database to this code's shape. Safe to repeat, and to run twice at once."""
    from shared.db.migrations import upgrade

    with waiting("Bringing the database up to date", quiet=as_json) as say:
        run(upgrade(admin_url(), movable=movable, say=say))
    print(json.dumps({"upgraded": True})) if as_json else out.print("The database is up to date.")


@topics.command("apply")
def topics_apply(as_json: Json = False) -> None:
    """Create the topics that are missing; report what drifted. Partitions are never changed."""
    from shared.bus import open_bus
    from shared.settings import Settings
    from shared.topics import apply as apply_topics
    from shared.topics import specs

    async def make() -> list[str]:
        settings = Settings()
        async with open_bus(settings.bus_at(admin_url()), access=settings.kafka_access()) as bus:
            return list(await apply_topics(bus))

    with waiting(f"Looking at {len(specs())} topics", quiet=as_json):
        drift = run(make())
    if as_json:
        print(json.dumps({"topics": [spec.name for spec in specs()], "drift": drift}))
    else:
        out.print(f"{len(specs())} topics are there.")
        for line in drift:
            out.print(f"  {line}")
    raise typer.Exit(3 if drift else 0)


@keys.command("create")
def keys_create(
    subject: Annotated[str, typer.Argument(help="Who: the subject of the principal.")],
    role: Annotated[list[str], typer.Option(help="A role; repeatable.")],
    product: Annotated[str, typer.Option(help="On which product; * for all.")] = "*",
    issuer: Annotated[str, typer.Option(help="Who vouches for the subject.")] = "local",
    name: Annotated[str | None, typer.Option(help="The name people see.")] = None,
    scope: Annotated[list[str] | None, typer.Option(help="Limit the key to this action; repeatable.")] = None,
    days: Annotated[float | None, typer.Option(help="How long it is good; no end when not given.")] = None,
    link: Annotated[bool, typer.Option("--link", help="A one-time sign-in link instead of a key.")] = False,
    as_json: Json = False,
) -> None:
    """A principal where it is new, its roles, and a key that is shown once."""
    import asyncpg

    from shared import keys as making

    async def make() -> dict[str, str | None]:
        admin = await asyncpg.connect(admin_url())
        try:
            principal = await making.grant(
                admin, subject, name=name or subject, roles=role, product=product, issuer=issuer
            )
            if link:
                return {"id": None, "secret": await making.create_link(admin, principal)}
            key_id, secret = await making.create_key(admin, principal, scopes=scope, days=days)
            return {"id": key_id, "secret": secret}
        finally:
            await admin.close()

    made = run(make())
    if as_json:
        print(json.dumps(made))
    elif link:
        out.print(f"/sign-in?link={made['secret']}", soft_wrap=True)
    else:
        out.print(f"{made['id']}  {made['secret']}", soft_wrap=True)
        err.print("Keep it now: it is not shown again.")


@keys.command("register")
def keys_register(
    subject: Annotated[str, typer.Argument(help="Whose signing key it is: a program's subject.")],
    public_key: Annotated[str, typer.Argument(help="The Ed25519 public key: 32 bytes as base64.")],
    product: Annotated[str, typer.Option(help="On which product; * for all.")] = "*",
    scope: Annotated[list[str] | None, typer.Option(help="Limit the key to this action; repeatable.")] = None,
    as_json: Json = False,
) -> None:
    """Take events signed with this key, on daymark.inbound, as the integration's."""
    import base64
    import binascii

    import asyncpg

    from shared import keys as making

    try:
        raw = base64.b64decode(public_key, validate=True)
    except binascii.Error:
        err.print("The public key is not base64.")
        raise typer.Exit(2) from None

    async def make() -> str:
        admin = await asyncpg.connect(admin_url())
        try:
            principal = await making.grant(admin, subject, name=subject, roles=["integration"], product=product)
            return await making.register_signing_key(admin, principal, raw, scopes=scope)
        finally:
            await admin.close()

    key_id = run(make())
    print(json.dumps({"id": key_id})) if as_json else out.print(key_id)


@keys.command("revoke")
def keys_revoke(key_id: str, as_json: Json = False) -> None:
    """End a key or a session at once."""
    import asyncpg

    from shared import keys as making

    async def end() -> None:
        admin = await asyncpg.connect(admin_url())
        try:
            await making.revoke(admin, key_id)
        finally:
            await admin.close()

    run(end())
    print(json.dumps({"revoked": key_id})) if as_json else out.print(f"{key_id} is revoked.")


@dead.command("list")
def dead_list(
    service: Annotated[str | None, typer.Option(help="Only of this service.")] = None, as_json: Json = False
) -> None:
    """Letters that are dead and not replayed."""
    from cli.dead import listed

    rows = run(listed(admin_url(), service))
    show(rows, as_json=as_json, title="Dead letters", empty="There are no dead letters.")


@dead.command("show")
def dead_show(service: str, id: int, as_json: Json = False) -> None:
    """One dead letter, whole: where it lay, why it died, headers and bytes."""
    from cli.dead import shown

    letter = run(shown(admin_url(), service, id))
    if as_json:
        print(json.dumps(letter, default=str))
    else:
        for field, value in letter.items():
            out.print(f"{field:>10}  {value}", markup=False, soft_wrap=True)


@dead.command("replay")
def dead_replay(service: str, id: int, as_json: Json = False) -> None:
    """Put a dead letter back on its topic, for its key to be heard again, once what stood in its way is mended."""
    from cli.dead import replayed
    from shared.settings import Settings

    with waiting(f"Putting letter {id} of {service} back on its topic", quiet=as_json):
        run(replayed(admin_url(), Settings(), service, id))
    print(json.dumps({"replayed": id})) if as_json else out.print(f"Letter {id} of {service} is on its topic again.")


def main() -> None:
    """The entry point."""
    app()


if __name__ == "__main__":
    main()

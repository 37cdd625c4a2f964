"""What flow tests ask of a world: what was said of a change, and where it stands."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tests.flow.world import Change, World


def when(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def said(world: World, kind: type[Any], cr: Change) -> list[Any]:
    await world.quiet()
    return [event.data for event in await world.facts() if isinstance(event.data, kind) and event.data.cr_id == cr.id]


async def stage(world: World, cr: Change) -> str:
    return str((await world.t.dossier(cr.id))["stage"])


def codes(reasons: list[dict[str, str]]) -> set[str]:
    return {reason["code"] for reason in reasons}

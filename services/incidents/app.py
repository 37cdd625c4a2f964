"""The wiring of incidents: the only file that knows all its rooms."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI

import services.incidents as card
from services.incidents import api, domain, handlers
from shared.service import Parts, service
from shared.settings import Settings


@asynccontextmanager
async def make_deps(parts: Parts) -> AsyncIterator[handlers.Deps]:
    yield handlers.Deps(db=parts.db)


def build(settings: Settings | None = None) -> FastAPI:
    """The service as an ASGI application; settings from the environment when none are given."""
    return service(
        name="incidents",
        card=card.__doc__ or "",
        routers=[api.router],
        rights=domain.RIGHTS,
        on=handlers.ON,
        jobs=handlers.JOBS,
        deps=make_deps,
        examples=json.loads((Path(__file__).parent / "examples.json").read_text()),
        settings=settings,
    )


app = build()

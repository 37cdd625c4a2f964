"""The reviewer, put together: `uvicorn services.reviewer.app:app`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI

import services.reviewer
from services.reviewer import api, domain, handlers
from shared.service import Parts, service
from shared.settings import Settings


@asynccontextmanager
async def make_deps(parts: Parts) -> AsyncIterator[handlers.Deps]:
    yield handlers.Deps(db=parts.db)


def build(settings: Settings | None = None) -> FastAPI:
    """The service as an ASGI application."""
    return service(
        name="reviewer",
        card=services.reviewer.__doc__ or "",
        routers=[api.router, api.pages],
        rights=domain.RIGHTS,
        on=handlers.ON,
        jobs=handlers.JOBS,
        deps=make_deps,
        hears_heartbeats=True,
        examples=json.loads((Path(__file__).parent / "examples.json").read_text()),
        settings=settings,
    )


app = build()

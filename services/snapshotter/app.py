"""The snapshotter, wired: `uvicorn services.snapshotter.app:app`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from fastapi import FastAPI

from services import snapshotter
from services.snapshotter import api, domain, handlers
from services.snapshotter.handlers.workers import workers
from services.snapshotter.samples import open_bucket
from services.snapshotter.sources import open_source
from shared.service import Parts, service
from shared.settings import Settings


@asynccontextmanager
async def make_deps(parts: Parts) -> AsyncIterator[handlers.Deps]:
    """The sources and the bucket that the settings describe, and worker processes, for as long as the service lives.

    Raises ValueError for a source or a bucket that is wrong.
    """
    async with AsyncExitStack() as stack:
        processes = workers()
        stack.push_async_callback(processes.close)
        wanted = parts.settings.sources.get_secret_value()
        sources = {name: open_source(name, settings) for name, settings in wanted.items()}
        for source in sources.values():
            stack.push_async_callback(source.close)
        where = parts.settings.samples_url
        bucket = open_bucket(where.get_secret_value()) if where else None
        yield handlers.Deps(db=parts.db, sources=sources, workers=processes, bucket=bucket)


def build(settings: Settings | None = None) -> FastAPI:
    return service(
        name="snapshotter",
        card=snapshotter.__doc__ or "",
        routers=api.routers,
        rights=domain.RIGHTS,
        on=handlers.ON,
        jobs=handlers.JOBS,
        deps=make_deps,
        uploads=api.UPLOADS,
        examples=json.loads((Path(__file__).parent / "examples.json").read_text()),
        settings=settings,
    )


app = build()

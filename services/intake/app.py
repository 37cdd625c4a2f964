"""intake, wired: `uvicorn services.intake.app:app`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI

import services.intake
from services.intake import api, domain, handlers
from services.intake.reports import MOST_BYTES
from services.intake.webhooks import open_hook
from shared.service import Parts, service
from shared.settings import Settings

#: A report, and what a form puts around it.
UPLOAD_BYTES = MOST_BYTES + 64 * 1024


@asynccontextmanager
async def make_deps(parts: Parts) -> AsyncIterator[handlers.Deps]:
    """What the settings let in. Raises ValueError for a webhook that is wrong."""
    hooks = {name: open_hook(name, said) for name, said in parts.settings.webhooks.get_secret_value().items()}
    yield handlers.Deps(db=parts.db, hooks=hooks)


def build(settings: Settings | None = None) -> FastAPI:
    return service(
        name="intake",
        card=services.intake.__doc__ or "",
        routers=api.routers,
        rights=domain.RIGHTS,
        on=handlers.ON,
        jobs=handlers.JOBS,
        raw=handlers.RAW,
        deps=make_deps,
        uploads={api.UPLOADS: UPLOAD_BYTES},
        examples=json.loads((Path(__file__).parent / "examples.json").read_text()),
        settings=settings,
    )


app = build()

"""intake's HTTP doors: parse, call one handler, answer. One file for each kind of thing."""

from fastapi import APIRouter

from services.intake.api import change_requests, events, evidence, products, releases
from services.intake.api.evidence import UPLOADS

router = APIRouter()
for part in (products, releases, change_requests, evidence, events):
    router.include_router(part.router)

__all__ = ["UPLOADS", "router"]

"""What intake's doors have in common: what they are given, how lists are paged, which noes they document."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import ValidationError

from services.intake import handlers
from services.intake.handlers.cursors import MOST
from shared.doors.caller import deps_of
from shared.doors.strict import StrictRoute
from shared.errors import Invalid

Deps = Annotated[handlers.Deps, Depends(deps_of)]
Cursor = Annotated[str | None, Query(max_length=100, description="`next` of the page before.")]
Limit = Annotated[int, Query(ge=1, le=MOST, description="At most so many on a page.")]
Only = Annotated[str | None, Query(description="Only those that say exactly this.")]

REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"description": "The body cannot be read."},
    401: {"description": "No valid key."},
    403: {"description": "This principal may not; the refusal is on the record."},
    409: {"description": "It is in a state in which this cannot happen, or a twin of this request is under way."},
    422: {"description": "Readable and wrong: `fields` says which and why."},
}
OR_NONE: dict[int | str, dict[str, Any]] = {**REFUSALS, 404: {"description": "There is no such thing here."}}
READ: dict[int | str, dict[str, Any]] = {code: OR_NONE[code] for code in (401, 404, 422)}


def door(tag: str) -> APIRouter:
    """A router of intake's paths, strict in what it reads."""
    return APIRouter(prefix="/intake/v1", route_class=StrictRoute, tags=[tag])


def invalid(error: ValidationError) -> Invalid:
    """A model's refusal, for what FastAPI does not read itself."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    fields = [
        {"path": ".".join(str(part)[:60] for part in each["loc"]) or "request", "message": each["msg"]}
        for each in found
    ]
    return Invalid(f"{fields[0]['path']}: {fields[0]['message']}", fields=fields)

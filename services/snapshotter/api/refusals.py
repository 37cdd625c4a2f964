"""What many doors may answer instead, said once."""

from __future__ import annotations

from typing import Any

Refusals = dict[int | str, dict[str, Any]]

LISTING: Refusals = {
    401: {"description": "No valid key."},
    422: {"description": "Readable and wrong: `fields` says which and why."},
}
READING: Refusals = {**LISTING, 404: {"description": "There is no such thing here."}}
ACTING: Refusals = {**READING, 403: {"description": "The caller may not do this; the refusal is on the record."}}

"""Cursors of lists: the number of the last thing shown, so that a page does not move when something new arrives."""

from __future__ import annotations

import base64
import binascii

from shared.errors import Invalid

PAGE = 50
MOST = 200


def written(number: int) -> str:
    """The cursor of the page after the thing with this number."""
    return base64.urlsafe_b64encode(f"n{number}".encode()).decode().rstrip("=")


def read(cursor: str | None) -> int | None:
    """The number in a cursor of ours. Raises Invalid for anything else."""
    if cursor is None:
        return None
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
    except (ValueError, binascii.Error):
        text = ""
    if not (text[:1] == "n" and text[1:].isdigit() and len(text) <= 19):
        raise Invalid("This cursor is not one of ours; take `next` of the page before.")
    return int(text[1:])

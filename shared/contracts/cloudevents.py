"""CloudEvents 1.0 as other systems send them to us: structured (one JSON document) or binary (attributes beside the data).

Conformance is tested against the `cloudevents` SDK. Our own facts on the bus are read by `envelope.py`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from shared.errors import Invalid, Malformed
from shared.jsons import digest

STRUCTURED = "application/cloudevents+json"
_LIMIT = 500  #: characters of one attribute
# RFC 3339, as the specification asks; fromisoformat takes much more.
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Inbound:
    """One event from outside: its envelope read and checked, its data parsed and not yet checked."""

    id: str
    source: str
    type: str
    data: Any
    subject: str = ""
    time: datetime | None = None
    time_text: str = ""  #: the time as it was written: what a signature covers

    def digest(self) -> bytes:
        """SHA-256 of what it says, the same in both modes: (source, id) with another digest is another event."""
        return bytes.fromhex(digest([self.type, self.subject, self.time_text, self.data]))


def structured(document: Any) -> Inbound:
    """The event in a parsed `application/cloudevents+json` document. Raises Invalid, Malformed."""
    if not isinstance(document, dict):
        raise Invalid("A structured CloudEvent is one JSON object.")
    attributes = {name: value for name, value in document.items() if name not in ("data", "data_base64")}
    if "data" in document and "data_base64" in document:
        raise Invalid("An event has data or data_base64, not both.")
    if "data_base64" in document:
        try:
            raw = base64.b64decode(document["data_base64"], validate=True)
        except (TypeError, ValueError, binascii.Error):
            raise Invalid("data_base64 is not base64.") from None
        return _event(attributes, _loads(raw))
    return _event(attributes, document.get("data"))


def binary(attributes: Mapping[str, Any], data: bytes) -> Inbound:
    """The event whose attributes (without `ce-` or `ce_`) came beside its data, JSON as bytes. Raises Invalid, Malformed."""
    return _event(attributes, _loads(data))


def from_http(headers: Mapping[str, str]) -> dict[str, str]:
    """The attributes in `ce-` headers; values percent-decoded as the HTTP binding says. Raises Invalid."""
    found: dict[str, str] = {}
    for name, value in headers.items():
        attribute = name[3:].lower()
        if name.lower().startswith("ce-"):
            if attribute in found:
                raise Invalid(f"The header {name[:40]} is there twice.")
            try:
                found[attribute] = unquote(value, errors="strict")
            except UnicodeDecodeError:
                raise Invalid(f"The header {name[:40]} is not UTF-8.") from None
    found["datacontenttype"] = headers.get("content-type", "")
    return found


def _loads(raw: bytes) -> Any:
    # The doors' reader is as strict as the database; imported late, because shared.doors speaks of HTTP.
    from shared.doors.strict import words_loads

    return words_loads(raw)


def _event(attributes: Mapping[str, Any], data: Any) -> Inbound:
    if attributes.get("specversion") != "1.0":
        raise Invalid("specversion must be 1.0.")
    named = {name: _text(attributes, name) for name in ("id", "source", "type", "subject", "time", "datacontenttype")}
    for name in ("id", "source", "type"):
        if not named[name]:
            raise Invalid(f"The CloudEvents attribute {name} is missing.")
    media = named["datacontenttype"].partition(";")[0].strip().lower()
    if media and media != "application/json" and not media.endswith("+json"):
        raise Invalid("The event's data is read as JSON alone.")
    if data is None:
        raise Invalid("The event has no data.")
    return Inbound(
        id=named["id"],
        source=named["source"],
        type=named["type"],
        data=data,
        subject=named["subject"],
        time=_time(named["time"]) if named["time"] else None,
        time_text=named["time"],
    )


def _text(attributes: Mapping[str, Any], name: str) -> str:
    value = attributes.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > _LIMIT or not value.isprintable():
        raise Invalid(f"The CloudEvents attribute {name} must be one printable line of at most {_LIMIT} characters.")
    return value


def _time(text: str) -> datetime:
    try:
        if _TIME.fullmatch(text):
            fraction = re.sub(r"\.(\d{6})\d+", r".\1", text.upper())  # Python keeps microseconds
            moment = datetime.fromisoformat(fraction)
            moment.timestamp()  # year 1 with an offset has no UTC
            return moment
    except (ValueError, OverflowError):
        pass
    raise Malformed("The event's time is not RFC 3339, for example 2026-11-23T09:00:00Z.")

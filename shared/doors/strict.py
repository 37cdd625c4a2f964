"""JSON as strict as the database: refused here is what would be refused, changed or lost later.

orjson is strict already (UTF-8, BOM, NaN, lone surrogates, overflow, trailing bytes). What it takes silently is found
by a cheap look at the bytes, and only a doubtful body is read a second time, slowly and exactly: duplicate keys,
`\\u0000`, integers beyond int64, numbers of absurd length. Depth and number of values are measured always.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Container, Coroutine
from typing import Any
from urllib.parse import unquote_to_bytes

import orjson
from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import get_flat_params
from fastapi.exceptions import RequestValidationError
from fastapi.params import Form, Query
from fastapi.routing import APIRoute
from starlette.types import Scope

from shared.access import Call
from shared.doors.caller import call, credential
from shared.errors import Invalid, Malformed, UnsupportedMedia

DEPTH_LIMIT = 64  #: arrays and objects inside each other
NODE_LIMIT = 100_000  #: values in one document
DIGIT_LIMIT = 40  #: digits of one number
INT_LIMIT = 2**63 - 1

_FILLERS = "\u115f\u1160\u2800\u3164\uffa0"  #: letters and signs by their category, and blank all the same
# A key is a string followed by a colon. Looked for inside strings too: that counts too many, never too few.
_KEY = re.compile(rb'"[ \t\r\n]*:')
_BLANK_COLONS = (b" :", b"\t:", b"\n:", b"\r:")
# Runs are looked for in a translation, where each character of the run is a 0: ten times as fast as a pattern.
_DIGITS = bytes(0x30 if byte in b"0123456789" else 0x20 for byte in range(256))
_NUMBERS = bytes(0x30 if byte in b"0123456789.eE+-" else 0x20 for byte in range(256))
_LONG_INTEGER = b"0" * 19  # what is beyond int64 has no fewer digits
_LONG_NUMBER = b"0" * (DIGIT_LIMIT + 1)


def strict_loads(raw: bytes) -> Any:
    """The value in a JSON document. Raises Malformed with one plain sentence; nothing of the input is in it."""
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise Malformed(f"The body is not JSON: {error.msg} at character {error.pos}.") from None
    keys = _measured(value)
    if (
        _most_keys(raw) != keys
        or b"\\u0000" in raw
        or _LONG_INTEGER in raw.translate(_DIGITS)
        or _LONG_NUMBER in raw.translate(_NUMBERS)
    ):
        _read_exactly(raw)
    return value


def words_loads(raw: bytes) -> Any:
    """`strict_loads` of what people and programs say to us. Raises Invalid for a text in which nothing can be seen.

    A name, a reason, an item of nothing but zero width characters says nothing, and would pass for something.
    """
    value = strict_loads(raw)
    if not raw.isascii() or b"\\u" in raw:
        refuse_unseen(value)
    return value


def refuse_unseen(value: Any) -> None:
    """Raises Invalid when a text anywhere in `value` holds something, and nothing that can be seen."""
    waiting = [("body", value)]
    while waiting:
        path, each = waiting.pop()
        if isinstance(each, str):
            if each.strip() and not any(map(_is_visible, each)):
                raise Invalid(
                    "A text holds nothing that can be seen.", fields=[{"path": path, "message": "shows nothing"}]
                )
        elif isinstance(each, dict):
            waiting.extend((f"{path}.{name}", below) for name, below in each.items())
        elif isinstance(each, list):
            waiting.extend((f"{path}.{n}", below) for n, below in enumerate(each))


def _is_visible(character: str) -> bool:
    """Not a blank, a control, a format character (zero width ones are), a mark that only joins what stands before it."""
    return (
        unicodedata.category(character)[0] not in "ZC"
        and unicodedata.category(character) not in ("Mn", "Me")
        and (character not in _FILLERS)
    )


def _most_keys(raw: bytes) -> int:
    """No fewer than the keys written in `raw`, twins included."""
    if any(blank in raw for blank in _BLANK_COLONS):
        return len(_KEY.findall(raw))
    return raw.count(b'":')


def _measured(value: Any) -> int:
    """The number of keys in `value`, level by level; refuses what is too deep or too much."""
    level = [value]
    depth = keys = nodes = 0
    while level:
        below: list[Any] = []
        is_container = False
        for each in level:
            kind = type(each)
            if kind is dict:
                keys += len(each)
                below.extend(each.values())
                is_container = True
            elif kind is list:
                below.extend(each)
                is_container = True
        depth += is_container
        nodes += len(level)
        if depth > DEPTH_LIMIT:
            raise Malformed(f"The body is nested deeper than {DEPTH_LIMIT} levels.")
        if nodes > NODE_LIMIT:
            raise Malformed(f"The body holds more than {NODE_LIMIT} values.")
        level = below
    return keys


def _read_exactly(raw: bytes) -> None:
    """Read once more with the reader that tells of each key and each number."""
    if _has_nul(json.loads(raw, object_pairs_hook=_object, parse_int=_int, parse_float=_float)):
        raise Malformed("A string holds the character NUL.")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Malformed("An object has the same key twice.")
    return found


def _int(text: str) -> int:
    if len(text) > DIGIT_LIMIT or not -INT_LIMIT - 1 <= int(text) <= INT_LIMIT:
        raise Malformed("An integer is beyond 64 bits.")
    return int(text)


def _float(text: str) -> float:
    if sum(map(str.isdigit, text)) > DIGIT_LIMIT:
        raise Malformed(f"A number has more than {DIGIT_LIMIT} digits.")
    return float(text)


def _has_nul(value: Any) -> bool:
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, str):
            if "\0" in each:
                return True
        elif isinstance(each, dict):
            waiting.extend(each)
            waiting.extend(each.values())
        elif isinstance(each, list):
            waiting.extend(each)
    return False


def refuse_bad_target(scope: Scope) -> None:
    """Raises Malformed when path or query holds NUL or is not UTF-8 (lone surrogates are not): no column takes it."""
    path: bytes = scope.get("raw_path") or scope["path"].encode("utf-8", "surrogatepass")
    for part in (path, scope.get("query_string", b"")):
        if part.isascii() and b"%" not in part and b"\0" not in part:
            continue
        plain = unquote_to_bytes(part)
        if b"\0" in plain:
            raise Malformed("The address holds the character NUL.")
        try:
            plain.decode()
        except UnicodeDecodeError:
            raise Malformed("The address is not UTF-8.") from None


Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class StrictRoute(APIRoute):
    """A route whose JSON body is read by `words_loads` before any dependency: `APIRouter(route_class=StrictRoute)`.

    415 for another content type (or a content encoding), 400 for an unreadable or missing body, 422 for a query parameter
    that the route does not declare. Forms, and bodies declared with a `media_type` of their own, are left to the route;
    both pass the same body limit. Where a key is needed, a stranger gets 401 whatever else is wrong: who shows no key has
    nothing of the body read, and who shows a bad one is not told what is wrong with it.
    """

    def get_route_handler(self) -> Handler:
        handle = self._reading(super().get_route_handler())
        declared = {each.alias for each in get_flat_params(self.dependant) if isinstance(each.field_info, Query)}
        documented = (self.openapi_extra or {}).get("parameters", ())  # of routes that read their query themselves
        declared |= {each["name"] for each in documented if each["in"] == "query"}
        needs_key = _depends_on(self.dependant, call)

        async def strictly(request: Request) -> Response:
            if needs_key:
                credential(request)
            try:
                _refuse_undeclared(request, declared)
                return await handle(request)
            except (Malformed, UnsupportedMedia, Invalid, RequestValidationError):
                if needs_key:
                    async with request.app.state.db.read(Call(credential(request), "")):
                        pass
                raise

        return strictly

    def _reading(self, handle: Handler) -> Handler:
        field = self.body_field
        info = field.field_info if field is not None else None
        declared = getattr(info, "media_type", "application/json")
        if field is None or info is None or isinstance(info, Form) or not _is_json(declared):
            return _encoded_plainly(handle)
        is_needed = info.is_required()

        async def reading(request: Request) -> Response:
            raw = await request.body()
            if raw:
                _refuse_other_media(request)
                # Where Request.json() keeps what it has read; FastAPI would turn an error raised there into a bare 400.
                request._json = words_loads(raw)
            elif is_needed:
                raise Malformed("This needs a JSON body.")
            return await handle(request)

        return reading


def _depends_on(dependant: Dependant, wanted: Callable[..., Any]) -> bool:
    return any(each.call is wanted or _depends_on(each, wanted) for each in dependant.dependencies)


def _refuse_undeclared(request: Request, declared: Container[str]) -> None:
    """A misspelt filter must not become no filter."""
    unknown = [name for name in request.query_params if name not in declared]
    if unknown:
        fields = [{"path": f"query.{name}", "message": "is not a parameter of this address"} for name in unknown]
        raise Invalid(f"There is no query parameter {unknown[0][:60]!r} here.", fields=fields)


def _encoded_plainly(handle: Handler) -> Handler:
    async def plainly(request: Request) -> Response:
        _refuse_encoded(request)
        return await handle(request)

    return plainly


def _refuse_encoded(request: Request) -> None:
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMedia("Bodies are read as they are; send it without a content encoding.")


def _refuse_other_media(request: Request) -> None:
    _refuse_encoded(request)
    media, _, parameters = request.headers.get("content-type", "").partition(";")
    if not _is_json(media):
        raise UnsupportedMedia("This reads application/json.")
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset" and value.strip().strip('"').lower() not in ("utf-8", "utf8"):
            raise UnsupportedMedia("JSON is read as UTF-8 alone.")


def _is_json(media: str) -> bool:
    kind, _, subtype = media.strip().lower().partition("/")
    return kind == "application" and (subtype == "json" or subtype.endswith("+json"))

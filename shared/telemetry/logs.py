"""One line of JSON for each event, with service, trace and span; plain on a terminal; no input can forge a line.

`structlog.get_logger(__name__).info("relay started", lane=3)` is how we log; the standard library's loggers (uvicorn,
SQLAlchemy, aiokafka) come out the same way.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Callable, Mapping, MutableMapping
from contextvars import ContextVar
from typing import Any, TextIO

import orjson
import structlog
from opentelemetry import trace

from shared.clock import monotonic_s, wall

#: The service on whose behalf this task runs: four may share a process.
current_service: ContextVar[str | None] = ContextVar("daymark_service", default=None)

_LONGEST = 16_000  #: characters of one value
# What a terminal or a log viewer may take for a command or a line end, beyond what JSON escapes itself.
_UNSAFE = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
_UNSAFE_PLAIN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_services: list[str] = []


def configure_logs(*, level: str = "INFO", stream: TextIO | None = None, plain: bool | None = None) -> None:
    """Set up logging for the process; call once, before anything logs. `plain` is asked of the stream when None."""
    out = stream or sys.stdout
    is_plain = out.isatty() if plain is None else plain
    minimum = logging.getLevelNamesMapping()[level.upper()]
    processors: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        _add_place,
        structlog.processors.format_exc_info,
        _as_plain if is_plain else _as_json,
    ]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(minimum),
        logger_factory=lambda *names: _Line(out, names[0] if names else "daymark"),
        cache_logger_on_first_use=False,  # so that tests can capture; logging is on no hot path
    )
    root = logging.getLogger()
    for old in [handler for handler in root.handlers if isinstance(handler, _FromStdlib)]:
        root.removeHandler(old)
    root.addHandler(_FromStdlib(out, processors))
    root.setLevel(minimum)
    for chatty in ("aiokafka", "asyncio", "httpx", "httpx2", "urllib3"):
        logging.getLogger(chatty).setLevel(max(minimum, logging.WARNING))
    exporter = logging.getLogger("opentelemetry")
    exporter.setLevel(max(minimum, logging.WARNING))
    for handler in list(exporter.handlers):
        exporter.removeHandler(handler)


def named(service: str) -> None:
    """Remember that this process runs `service`: its name stands in lines that no task of a service wrote."""
    if service not in _services:
        _services.append(service)


class _Line:
    """Where a rendered line goes: one write, so that lines of several threads do not mix."""

    def __init__(self, out: TextIO, name: str) -> None:
        self.out, self.name = out, name

    def msg(self, line: str) -> None:
        self.out.write(line + "\n")
        self.out.flush()

    debug = info = warning = warn = error = critical = fatal = exception = log = msg


class _FromStdlib(logging.Handler):
    """The standard library's records, through the same processors. A repeated line is let through once a minute."""

    def __init__(self, out: TextIO, processors: list[structlog.typing.Processor]) -> None:
        super().__init__()
        self.out, self.processors = out, processors
        self._seen: dict[tuple[str, int], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith("opentelemetry"):
            return bool(super().filter(record))
        place, now = (record.pathname, record.lineno), monotonic_s()
        if now - self._seen.get(place, -60.0) < 60:
            return False  # a collector that is down says so every few seconds, for each signal
        self._seen[place] = now
        return True

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = _Line(self.out, record.name)
            event: Any = {"event": record.getMessage()}
            if record.exc_info and not record.name.startswith("opentelemetry"):
                event["exc_info"] = record.exc_info
            for process in self.processors:
                event = process(line, record.levelname.lower(), event)
            line.msg(event)
        except Exception:
            self.handleError(record)


def _add_place(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """When, where and in which trace. The time is for people; nothing decides by it."""
    name = getattr(logger, "name", "daymark")
    service = current_service.get()
    if service is None:
        parts = name.split(".")
        service = parts[1] if parts[0] == "services" and len(parts) > 1 else None
    event.setdefault("service", service or (_services[0] if len(_services) == 1 else "daymark"))
    event.setdefault("logger", name)
    event["at"] = wall().isoformat(timespec="milliseconds").replace("+00:00", "Z")
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = f"{context.trace_id:032x}"
        event["span_id"] = f"{context.span_id:016x}"
    return event


def _cut(value: Any) -> Any:
    return value[:_LONGEST] + "…" if isinstance(value, str) and len(value) > _LONGEST else value


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def _as_json(logger: Any, method: str, event: Mapping[str, Any]) -> str:
    cut = {key: _cut(value) for key, value in event.items()}
    try:
        line = orjson.dumps(cut, default=repr, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:  # a lone surrogate, an integer beyond 64 bits, a structure too deep
        try:
            line = json.dumps(cut, default=repr, skipkeys=True)
        except (TypeError, ValueError, RecursionError):
            line = json.dumps({key: str(value) for key, value in cut.items()})
    return _UNSAFE.sub(_escaped, line)


_LEVELS = {"debug": "\x1b[2m", "warning": "\x1b[33m", "error": "\x1b[31m", "critical": "\x1b[31m"}


def _as_plain(logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
    safe: Callable[[Any], str] = lambda value: _UNSAFE_PLAIN.sub(_escaped, str(_cut(value)))  # noqa: E731
    at, level = str(event.pop("at", ""))[11:19], str(event.pop("level", method))
    stack = event.pop("exception", None)
    event.pop("logger", None)
    event.pop("span_id", None)
    service, text = safe(event.pop("service", "")), safe(event.pop("event", ""))
    rest = " ".join(f"{safe(key)}={safe(value)}" for key, value in event.items())
    line = f"{at} {_LEVELS.get(level, '')}{level:<8}\x1b[0m{service:<12} {text}" + (
        f"  \x1b[2m{rest}\x1b[0m" if rest else ""
    )
    if stack is not None:
        line += "\n" + "\n".join("    " + safe(each) for each in str(stack).splitlines())
    return line

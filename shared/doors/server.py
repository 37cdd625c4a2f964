"""How uvicorn is run, whoever runs it: with the time limits it does not have itself.

uvicorn waits for ever for the headers of a request, for a client that never reads its answer, and, when told to stop,
for a body that never ends. `PatientProtocol` is patient, not endlessly so.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.flow_control import service_unavailable
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from shared.doors.problems import problem
from shared.errors import Unavailable

HEADERS_DEADLINE_S = 10.0  #: from the first byte of a request, or the connection, to the end of its headers
HEADERS_LIMIT = 64 * 1024  #: bytes of one request's headers
UNREAD_DEADLINE_S = 30.0  #: how long an answer may lie unread
STOPPING_DEADLINE_S = 3.0  #: for bodies still coming in when the server is told to stop
CONNECTIONS_LIMIT = 1000


def uvicorn_settings() -> dict[str, Any]:
    """Keyword arguments for `uvicorn.run` or `uvicorn.Config`; add `app`, `host` and `port`.

    Told to stop, the server has closed all connections after 8 s; what the lifespan then does must be bounded too.
    """
    return {
        "http": PatientProtocol,
        "ws": "none",
        "lifespan": "on",
        "timeout_graceful_shutdown": 8,
        "timeout_keep_alive": 5,
        "limit_concurrency": CONNECTIONS_LIMIT,
        "h11_max_incomplete_event_size": HEADERS_LIMIT,
        "log_config": None,  # ours: shared.telemetry.configure_logs
        "access_log": False,  # metrics and traces say it better, and a query may hold what logs should not
        "server_header": False,
    }


class PatientProtocol(HttpToolsProtocol):
    """HTTP/1.1 by httptools, with deadlines for clients that are slow in ways an app never sees."""

    _late: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._has_headers()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._late is None and self._is_between_requests():
            self._await_headers()
        is_waiting = self._late is not None
        super().data_received(data)
        if is_waiting and self._late is not None:  # the headers are still not complete
            self._head_bytes += len(data)
            if self._head_bytes > HEADERS_LIMIT and not self.transport.is_closing():
                self.send_400_response("The headers are too large.")

    def on_headers_complete(self) -> None:
        self._has_headers()
        super().on_headers_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(UNREAD_DEADLINE_S, self.transport.abort)

    def resume_writing(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
        super().resume_writing()

    def shutdown(self) -> None:
        super().shutdown()
        if not self._is_between_requests() and self.cycle.more_body and self._late is None:
            self._late = self.loop.call_later(STOPPING_DEADLINE_S, self.transport.abort)

    def _is_between_requests(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _await_headers(self) -> None:
        self._head_bytes = 0
        self._late = self.loop.call_later(HEADERS_DEADLINE_S, self.transport.abort)

    def _has_headers(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        super()._start_asgi_task(cycle, _busy if app is service_unavailable else app)


async def _busy(scope: Any, receive: Any, send: Any) -> None:
    error = Unavailable("Too many connections at once.", retry_after_s=1)
    await problem(error, scope, headers={"Connection": "close"})(scope, receive, send)

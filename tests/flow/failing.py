"""The demo's metric source, which can fail as a real one does."""

from __future__ import annotations

from urllib.parse import urlsplit

import numpy as np
from fastapi import Request, Response

from deploy.local.plant import Floats, Plant
from deploy.local.telemetry import DemoTelemetry
from shared.clock import wall


class Telemetry(DemoTelemetry):
    """The demo's, which can also fall silent: `silent` holds SLI ids whose series are absent; `down` and `up` the door.

    refused  SLI ids whose queries are not answered
    """

    def __init__(self, plant: Plant) -> None:
        super().__init__(plant=plant, present_s=lambda: max(wall().timestamp(), self.present_s))
        self.present_s: float = 0.0  #: unix seconds; what a world's clock says when it was moved past the real present
        self.silent: set[str] = set()
        self.refused: set[str] = set()
        self.never_before: float = 0.0  #: unix seconds; nothing was scraped before
        self.traces: list[str] = []  #: the traceparent of each range query, "" where none came
        self.url = ""

    def samples(self, query: str, at_s: Floats) -> Floats | None:
        known = self._queries.get(query)
        if known is None or known[1] in self.silent:
            return None
        values = super().samples(query, at_s)
        if values is not None and self.never_before:
            values = np.where(at_s < self.never_before, np.nan, values)
        return values

    async def _query_range(self, request: Request) -> Response:
        self.traces.append(request.headers.get("traceparent", ""))
        known = self._queries.get(str((await request.form()).get("query")))
        if known is not None and known[1] in self.refused:
            return Response(status_code=422, content=b'{"status":"error","error":"the expression is too complex"}')
        return await super()._query_range(request)

    def up(self) -> str:
        """Serve, the second time on the same port."""
        self.url = self.start(urlsplit(self.url).port or 0 if self.url else 0)
        return self.url

    def down(self) -> None:
        self.stop()

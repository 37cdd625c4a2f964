"""The door of files of readings."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import ValidationError

from services.snapshotter import handlers
from services.snapshotter.api.refusals import LISTING
from services.snapshotter.commands import TakeUpload, UploadView
from shared.doors.caller import Caller, deps_of
from shared.doors.problems import answered
from shared.doors.strict import StrictRoute
from shared.errors import Invalid

router = APIRouter(prefix="/snapshotter/v1", route_class=StrictRoute, tags=["benchmarks"])
Deps = Annotated[handlers.Deps, Depends(deps_of)]
PATH = "/snapshotter/v1/uploads"

_CSV = "sli,time,value\nlatency-p95,2026-11-22T09:00:00Z,182.5\nlatency-p95,2026-11-22T09:01:00Z,\n"
_OPENMETRICS = '# TYPE daymark_reading gauge\ndaymark_reading{sli="latency-p95"} 182.5 1763802000\n# EOF\n'
_JSON = {"series": [{"sli": "latency-p95", "start_s": 1763802000, "step_s": 60, "values": [182.5, None]}]}
_QUERY = TakeUpload.model_json_schema()["properties"]
_DOCS: dict[str, Any] = {
    "parameters": [
        {
            "name": name,
            "in": "query",
            "required": name == "reason",
            "description": schema.get("description", ""),
            "schema": {"type": "string"},
        }
        for name, schema in _QUERY.items()
    ],
    "requestBody": {
        "required": True,
        "content": {
            "text/csv": {"schema": {"type": "string"}, "example": _CSV},
            "application/openmetrics-text": {"schema": {"type": "string"}, "example": _OPENMETRICS},
            "application/json": {"schema": {"type": "object"}, "example": _JSON},
        },
    },
}


@router.post(
    "/uploads",
    status_code=202,
    response_model=UploadView,
    responses={
        **LISTING,
        403: {"description": "Not of operations, and no integration; the refusal is on the record."},
        404: {"description": "The CR or product is not known here."},
        409: {"description": "The product's policy names no SLI."},
        413: {"description": "Over 32 MiB."},
        415: {"description": "No format that is read here."},
    },
    summary="Upload readings for a benchmark",
    description=(
        "For what no source can be asked for. 24 hours of readings as CSV (`sli,time,value`), OpenMetrics text (gauges"
        " with timestamps; the label `sli` names the SLI) or JSON (as `GET .../series` answers). The file is read"
        " afterwards: the `Location` says how far it is. One wrong row refuses all of it, and each is named with its"
        " number and reason: an SLI that the policy does not have, a time outside the window, two values for one step,"
        " infinity. `NaN`, null and an empty value are steps without a number. What was read becomes a draft with its"
        " health; operations publishes it like any other."
    ),
    openapi_extra=_DOCS,
)
async def take_upload(call: Caller, deps: Deps, request: Request) -> Response:
    said: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name in said:
            raise Invalid(f"{name} is said twice.", fields=[{"path": f"query.{name}", "message": "is said twice"}])
        said[name] = value
    try:
        command = TakeUpload.model_validate(said)
    except ValidationError as error:
        fields = [
            {"path": ".".join(["query", *(str(part) for part in each["loc"])]), "message": each["msg"]}
            for each in error.errors(include_url=False, include_input=False)
        ]
        raise Invalid("What the file is for cannot be read.", fields=fields) from None
    media = request.headers.get("content-type", "")
    return answered(await handlers.take_upload(deps, call, command, media, await request.body()))


@router.get(
    "/uploads/{id}",
    response_model=UploadView,
    responses={401: {"description": "No valid key."}, 404: {"description": "There is no such thing here."}},
    summary="How far an upload is",
    description="`waiting`, `reading` with the samples read so far, `drafted`, or `refused` with every problem named.",
)
async def see_upload(call: Caller, deps: Deps, id: Annotated[str, Path(pattern=r"^UP-[0-9]{1,18}$")]) -> Response:
    return answered(await handlers.see_upload(deps, call, id))

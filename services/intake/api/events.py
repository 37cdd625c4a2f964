"""The door of CloudEvents."""

from __future__ import annotations

from fastapi import Request, Response

from services.intake import handlers
from services.intake.api.doors import OR_NONE, Deps, door
from shared.contracts.cloudevents import STRUCTURED, binary, from_http, structured
from shared.contracts.inbound import INBOUND
from shared.doors.caller import Caller
from shared.doors.problems import answered
from shared.doors.strict import words_loads
from shared.errors import UnsupportedMedia

router = door("events")

_EVENT = {
    "specversion": "1.0",
    "id": "dep-2026-12-01-0812",
    "source": "https://deployer.example",
    "type": "inbound.cr.deployed.v1",
    "time": "2026-12-01T08:13:00Z",
    "datacontenttype": "application/json",
    "data": {"source": "servicenow", "external_id": "CHG0041", "deployed_at": "2026-12-01T08:12:00Z"},
}


@router.post(
    "/events",
    responses={
        **OR_NONE,
        200: {"description": "What the command answers: the CR."},
        201: {"description": "A CR was registered."},
        415: {"description": "Neither structured nor binary mode."},
    },
    summary="Take a CloudEvent",
    description="CloudEvents 1.0: structured (`application/cloudevents+json`), or binary (`ce-` headers, the data as"
    f" `application/json`). Types: {', '.join(f'`{name}`' for name in INBOUND)}; their data is the body of the path of the"
    " same name, and names the CR by `cr_id`, or by `source` and `external_id`. Your (source, id) is taken once: again the first"
    " answer, with other content 409. The same events are read, signed, from the Kafka topic `daymark.inbound`.",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {STRUCTURED: {"schema": {"type": "object"}, "example": _EVENT}},
        }
    },
)
async def receive_event(call: Caller, deps: Deps, request: Request) -> Response:
    raw = await request.body()
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media == STRUCTURED:
        event = structured(words_loads(raw))
    elif media == "application/json" or (media.startswith("application/") and media.endswith("+json")):
        if media.startswith("application/cloudevents"):
            raise UnsupportedMedia("Events are taken one at a time.")
        event = binary(from_http(request.headers), raw)
    else:
        raise UnsupportedMedia(f"This reads {STRUCTURED}, or application/json beside ce- headers.")
    return answered(await handlers.receive(deps, call, event))

"""The doors of events: CloudEvents, and other systems' own words (webhooks)."""

from __future__ import annotations

from fastapi import Request, Response

from services.intake import handlers
from services.intake.api.doors import OR_NONE, Deps, door
from services.intake.commands import CRReported, NotTaken
from services.intake.webhooks import kinds
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


_DEPLOYED = {
    "action": "created",
    "deployment_status": {"id": 91, "state": "success", "created_at": "2026-12-01T08:12:00Z"},
    "deployment": {
        "id": 12,
        "sha": "4f2c9d1",
        "environment": "production",
        "task": "deploy",
        "payload": {"cr": "CR-7"},
        "creator": {"login": "deploybot"},
    },
    "repository": {"full_name": "acme/orders"},
}


@router.post(
    "/webhooks/{name}",
    responses={
        **OR_NONE,
        200: {"description": "What the command answers: the CR. A delivery that came before: the first answer."},
        201: {"description": "A CR was registered.", "model": CRReported},
        202: {"description": "Heard, signed as it should be, and nothing of a change: `reason`.", "model": NotTaken},
        401: {"description": "Not signed by a webhook that is let in here."},
        404: {"description": "The CR that it names is not here."},
        415: {"description": "Not `application/json`."},
    },
    summary="Take a webhook's delivery",
    description="What another system says in its own words, signed by its own rule; no bearer key. `name` is a webhook of the"
    f" setting `DAYMARK_WEBHOOKS`. Systems whose words are read: {', '.join(f'`{kind}`' for kind in kinds())}. The delivery's own"
    " id makes it once, so an Idempotency-Key beside it is not used; what is read of a body is said in the guide, the rest is"
    " ignored.",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"type": "object"}, "example": _DEPLOYED}},
        }
    },
)
async def receive_delivery(deps: Deps, name: str, request: Request) -> Response:
    return answered(await handlers.receive_delivery(deps, name, request.headers, await request.body()))

"""intake's HTTP door: parse, call one handler, answer."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Depends, Header, Query, Request, Response
from pydantic import ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from starlette.datastructures import UploadFile

from services.intake import handlers
from services.intake.commands import (
    CRDetail,
    CRReported,
    CRs,
    CRView,
    PlanRelease,
    Products,
    ProductView,
    RecordCodeReview,
    Releases,
    ReleaseView,
    TestResultView,
)
from services.intake.handlers.cursors import MOST, PAGE
from shared.access import person
from shared.contracts import Policy, read_policy
from shared.contracts.cloudevents import STRUCTURED, binary, from_http, structured
from shared.contracts.inbound import (
    INBOUND,
    ChangeCR,
    RegisterCR,
    ReportDeployed,
    ReportRolledBack,
    Uploaded,
    WithdrawCR,
)
from shared.doors.caller import Caller, deps_of
from shared.doors.problems import answered
from shared.doors.strict import StrictRoute, strict_loads
from shared.errors import Invalid, Malformed, UnsupportedMedia

router = APIRouter(prefix="/intake/v1", route_class=StrictRoute)
Deps = Annotated[handlers.Deps, Depends(deps_of)]
Cursor = Annotated[str | None, Query(max_length=100, description="`next` of the page before.")]
Limit = Annotated[int, Query(ge=1, le=MOST)]

#: The path whose bodies may be larger than elsewhere.
UPLOADS = "/intake/v1/change-requests/{id}/test-results"


def _strictly(document: object, _: ValidatorFunctionWrapHandler) -> Policy:
    return read_policy(document)  # the whole tree refuses unknown words, as a file in products/ does


PolicyDocument = Annotated[Policy, WrapValidator(_strictly)]

_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"description": "The body cannot be read."},
    401: {"description": "No valid key."},
    403: {"description": "This principal may not; the refusal is on the record."},
    409: {"description": "It is in a state in which this cannot happen, or a twin of this request is under way."},
    422: {"description": "Readable and wrong: `fields` says which and why."},
}
_OR_NONE: dict[int | str, dict[str, Any]] = {**_REFUSALS, 404: {"description": "There is no such thing here."}}
_READ: dict[int | str, dict[str, Any]] = {code: _OR_NONE[code] for code in (401, 404, 422)}


# -- products -------------------------------------------------------------------------------------------------------


@router.put(
    "/products/{id}",
    tags=["products"],
    response_model=ProductView,
    responses={
        **_REFUSALS,
        201: {"model": ProductView, "description": "A new product."},
        202: {"model": ProductView, "description": "Looser than before: it waits for a second release manager."},
    },
    summary="Put a product's policy",
    description="The same document as a file in `products/`. Its version is a hash of its content; the policy in force put"
    " again changes nothing (and takes an open proposal back). A document that loosens enforcement, evidence, clocks or"
    " limits is kept as a proposal (202, `proposal.loosens` says what) until a **second** release manager puts the same"
    " document. Applying any other change ends the proposal.",
)
async def put_product(call: Caller, deps: Deps, id: str, policy: Annotated[PolicyDocument, Body()]) -> Response:
    return answered(await handlers.put_product(deps, call, id, policy))


@router.get("/products", tags=["products"], responses=_READ, summary="All products with their policies")
async def list_products(call: Caller, deps: Deps) -> Products:
    return await handlers.list_products(deps, call)


@router.get("/products/{id}", tags=["products"], responses=_READ, summary="One product with its policy")
async def get_product(call: Caller, deps: Deps, id: str) -> ProductView:
    return await handlers.get_product(deps, call, id)


# -- releases -------------------------------------------------------------------------------------------------------


@router.post(
    "/releases",
    tags=["releases"],
    status_code=201,
    response_model=ReleaseView,
    responses=_REFUSALS,
    summary="Plan a release",
    description="201 with `Location`; 200 when exactly this was planned before; 409 when the name is taken otherwise.",
)
async def plan_release(
    call: Caller,
    deps: Deps,
    command: Annotated[
        PlanRelease,
        Body(examples=[{"product": "epl", "name": "2026.12", "planned_at": "2026-12-01T08:00:00Z"}]),
    ],
) -> Response:
    return answered(await handlers.plan_release(deps, call, command))


@router.get("/releases", tags=["releases"], responses=_READ, summary="Releases, newest first")
async def list_releases(
    call: Caller, deps: Deps, product: str | None = None, cursor: Cursor = None, limit: Limit = PAGE
) -> Releases:
    return await handlers.list_releases(deps, call, product, cursor, limit)


@router.get("/releases/{id}", tags=["releases"], responses=_READ, summary="One release")
async def get_release(call: Caller, deps: Deps, id: str) -> ReleaseView:
    return await handlers.get_release(deps, call, id)


@router.post(
    "/releases/{id}/freeze",
    tags=["releases"],
    response_model=ReleaseView,
    responses=_OR_NONE,
    summary="Freeze a release",
    description="From now on only a release manager changes which CRs are in it and what they bring.",
)
async def freeze_release(call: Caller, deps: Deps, id: str) -> Response:
    return answered(await handlers.freeze_release(deps, call, id))


@router.post(
    "/releases/{id}/close", tags=["releases"], response_model=ReleaseView, responses=_OR_NONE, summary="Close a release"
)
async def close_release(call: Caller, deps: Deps, id: str) -> Response:
    return answered(await handlers.close_release(deps, call, id))


# -- change requests ------------------------------------------------------------------------------------------------

_CR = {
    "product": "epl",
    "release": "epl-2026.12",
    "source": "servicenow",
    "external_id": "CHG0041",
    "title": "Cache the rate tables",
    "author": "corp|ada",
    "ptask": "corp|grace",
    "kind": "normal",
    "planned_start": "2026-12-01T08:00:00Z",
    "planned_end": "2026-12-01T10:00:00Z",
    "backout_plan": "Deploy the image before it.",
    "commit": "4f2c9d1",
    "link": "https://servicenow.example/CHG0041",
}


@router.post(
    "/change-requests",
    tags=["change requests"],
    status_code=201,
    response_model=CRView,
    responses={**_REFUSALS, 200: {"model": CRView, "description": "Exactly this was registered before."}},
    summary="Register a CR",
    description="(source, external_id) is one CR, by whichever door it comes: the same content again answers 200 with the"
    " existing one, other content 409. Into a frozen release only a release manager may register.",
)
async def register_cr(call: Caller, deps: Deps, command: Annotated[RegisterCR, Body(examples=[_CR])]) -> Response:
    return answered(await handlers.register_cr(deps, call, command))


@router.get("/change-requests", tags=["change requests"], responses=_READ, summary="CRs, newest first")
async def list_crs(
    call: Caller,
    deps: Deps,
    product: str | None = None,
    release: str | None = None,
    source: str | None = None,
    external_id: str | None = None,
    author: str | None = None,
    ptask: str | None = None,
    state: Literal["registered", "deployed", "rolled_back", "withdrawn"] | None = None,
    cursor: Cursor = None,
    limit: Limit = PAGE,
) -> CRs:
    wanted = handlers.CRFilter(
        product_id=product,
        release_id=release,
        source=source,
        external_id=external_id,
        author=author and person(author),
        ptask=ptask and person(ptask),
        state=state,
    )
    return await handlers.list_crs(deps, call, wanted, cursor, limit)


@router.get(
    "/change-requests/{id}",
    tags=["change requests"],
    responses=_READ,
    summary="One CR with its deployments, rollbacks, test results and code reviews",
)
async def get_cr(call: Caller, deps: Deps, id: str) -> CRDetail:
    return await handlers.get_cr(deps, call, id)


@router.patch(
    "/change-requests/{id}",
    tags=["change requests"],
    response_model=CRReported,
    responses=_OR_NONE,
    summary="Change a CR",
    description="Reschedule it, move it to another release, name its people, its commit. A field left out stays; null"
    " empties. `If-Match` (or `revision`) refuses with 409 `stale` when the CR changed since. What is in production, or in"
    " a frozen release (there: for all but a release manager), keeps its kind, author, release, planned window, commit"
    " and artifact; the words and the PTASK engineer may still be put right.",
)
async def change_cr(
    call: Caller,
    deps: Deps,
    id: str,
    command: Annotated[ChangeCR, Body(examples=[{"planned_start": "2026-12-02T08:00:00Z", "planned_end": None}])],
    if_match: Annotated[str | None, Header(description='The revision you saw, for example `"3"`.')] = None,
) -> Response:
    return answered(await handlers.change_cr(deps, call, id, _matching(command, if_match)))


def _matching(command: ChangeCR, if_match: str | None) -> ChangeCR:
    if if_match is None or if_match.strip() == "*":
        return command
    text = if_match.strip().removeprefix("W/").strip('"')
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise Invalid('If-Match is one revision, for example "3".')
    if command.revision is not None and command.revision != int(text):
        raise Invalid("If-Match and revision say different things.")
    return command.model_copy(update={"revision": int(text)})


@router.post(
    "/change-requests/{id}/deployed",
    tags=["change requests"],
    response_model=CRReported,
    responses=_OR_NONE,
    summary="Report that it was deployed",
    description="Never refused because of the CR's state; what went against the process is flagged in `against_process`."
    " May come late. The same again changes nothing; another time is a correction: the deployment's `revision` rises and"
    " everything that hangs on it moves. After a rollback, a later time is the next deployment.",
)
async def report_deployed(
    call: Caller,
    deps: Deps,
    id: str,
    command: Annotated[ReportDeployed, Body(examples=[{"deployed_at": "2026-12-01T08:12:00Z", "commit": "4f2c9d1"}])],
) -> Response:
    return answered(await handlers.report_deployed(deps, call, id, command))


@router.post(
    "/change-requests/{id}/rolled-back",
    tags=["change requests"],
    response_model=CRReported,
    responses=_OR_NONE,
    summary="Report that it was rolled back",
    description="About the latest deployment unless `deployment` says another. Corrected like a deployment. 409 only when"
    " no deployment was ever reported.",
)
async def report_rolled_back(
    call: Caller,
    deps: Deps,
    id: str,
    command: Annotated[
        ReportRolledBack, Body(examples=[{"rolled_back_at": "2026-12-02T09:00:00Z", "reason": "p99 doubled"}])
    ],
) -> Response:
    return answered(await handlers.report_rolled_back(deps, call, id, command))


@router.post(
    "/change-requests/{id}/withdrawn",
    tags=["change requests"],
    response_model=CRReported,
    responses=_OR_NONE,
    summary="Withdraw it before it is deployed",
)
async def withdraw_cr(
    call: Caller,
    deps: Deps,
    id: str,
    command: Annotated[WithdrawCR, Body(examples=[{"reason": "Not needed any more"}])],
) -> Response:
    return answered(await handlers.withdraw_cr(deps, call, id, command))


@router.post(
    "/change-requests/{id}/code-review",
    tags=["change requests"],
    status_code=201,
    response_model=CRReported,
    responses=_OR_NONE,
    summary="Record that engineering reviewed it",
    description="By an engineer; neither caller nor reviewer may be (or have been) its author, have registered it, or belong"
    " to operations. It counts for the revision that the CR has now.",
)
async def record_code_review(
    call: Caller,
    deps: Deps,
    id: str,
    command: Annotated[
        RecordCodeReview,
        Body(examples=[{"reviewed_at": "2026-11-30T15:00:00Z", "where": "https://git.example/epl/merge/812"}]),
    ],
) -> Response:
    return answered(await handlers.record_code_review(deps, call, id, command))


# -- test results ---------------------------------------------------------------------------------------------------

_UPLOADED_FIELDS = (
    ("suite_kind", {"type": "string", "enum": ["regression", "integration", "other"]}, True),
    ("run_at", {"type": "string", "format": "date-time"}, True),
    ("commit", {"type": "string"}, False),
    ("artifact", {"type": "string"}, False),
)
_UPLOAD_DOCS = {
    "parameters": [
        {"name": name, "in": "query", "required": False, "schema": schema, "description": "In the query or the form."}
        for name, schema, _ in _UPLOADED_FIELDS
    ],
    "requestBody": {
        "required": True,
        "content": {
            "application/xml": {"schema": {"type": "string"}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}}
                    | {name: schema for name, schema, _ in _UPLOADED_FIELDS},
                }
            },
        },
    },
}


@router.post(
    "/change-requests/{id}/test-results",
    tags=["test results"],
    status_code=201,
    response_model=TestResultView,
    responses={**_OR_NONE, 413: {"description": "Over 5 MB."}, 415: {"description": "No format that is read here."}},
    summary="Attach a test report",
    description="JUnit XML (other formats as they grow in `services/intake/reports/`) as the body, or as `file` of a form."
    " `suite_kind`, `run_at` and `commit` or `artifact` in the query or the form. The answer says what was counted, and"
    " how many cases of this product's last report of this kind are `lost`. The same bytes about the same run again: 200."
    " A case that proves a regression case says so by the property `daymark.case`.",
    openapi_extra=_UPLOAD_DOCS,
)
async def record_tests(call: Caller, deps: Deps, id: str, request: Request) -> Response:
    said: dict[str, str] = {}
    _put_once(said, request.query_params.multi_items())
    media = request.headers.get("content-type", "")
    if media.lower().startswith("multipart/form-data"):
        async with request.form() as form:
            files = [(name, value) for name, value in form.multi_items() if isinstance(value, UploadFile)]
            _put_once(said, [(name, value) for name, value in form.multi_items() if isinstance(value, str)])
            if [name for name, _ in files] != ["file"]:
                raise Invalid("The form has exactly one file, named `file`.")
            raw, media = await files[0][1].read(), files[0][1].content_type or ""
    elif media.lower().startswith("application/x-www-form-urlencoded"):
        raise UnsupportedMedia("Send the report as the body, or as a file of a multipart form.")
    else:
        raw = await request.body()
    try:
        uploaded = Uploaded.model_validate(said)
    except ValidationError as error:
        raise _invalid(error) from None
    return answered(await handlers.record_tests(deps, call, id, uploaded, raw, media))


def _put_once(said: dict[str, str], items: list[tuple[str, str]]) -> None:
    for name, value in items:
        if name in said:
            raise Malformed(f"{name[:40]} is there twice.")
        said[name] = value


def _invalid(error: ValidationError) -> Invalid:
    found = error.errors(include_url=False, include_input=False, include_context=False)
    fields = [
        {"path": ".".join(str(part)[:60] for part in each["loc"]) or "request", "message": each["msg"]}
        for each in found
    ]
    return Invalid(f"{fields[0]['path']}: {fields[0]['message']}", fields=fields)


# -- events ---------------------------------------------------------------------------------------------------------

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
    tags=["events"],
    responses={
        **_OR_NONE,
        200: {"description": "What the command answers: the CR."},
        201: {"description": "A CR was registered."},
        415: {"description": "Neither structured nor binary mode."},
    },
    summary="Take a CloudEvent",
    description="CloudEvents 1.0: structured (`application/cloudevents+json`), or binary (`ce-` headers, the data as"
    f" `application/json`). Types: {', '.join(f'`{name}`' for name in INBOUND)}; their data is the body of the path of the"
    " same name, and names the CR by `cr_id`, or by `source` and `external_id`. (source, id) is taken once: again the first"
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
        event = structured(strict_loads(raw))
    elif media == "application/json" or (media.startswith("application/") and media.endswith("+json")):
        if media.startswith("application/cloudevents"):
            raise UnsupportedMedia("Events are taken one at a time.")
        event = binary(from_http(request.headers), raw)
    else:
        raise UnsupportedMedia(f"This reads {STRUCTURED}, or application/json beside ce- headers.")
    return answered(await handlers.receive(deps, call, event))

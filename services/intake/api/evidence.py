"""The door of test reports."""

from __future__ import annotations

from fastapi import Request, Response
from pydantic import ValidationError
from starlette.datastructures import UploadFile

from services.intake import handlers
from services.intake.api.doors import OR_NONE, Deps, door, invalid
from services.intake.commands import TestResultView
from shared.contracts.inbound import Uploaded
from shared.doors.caller import Caller
from shared.doors.problems import answered
from shared.errors import Invalid, Malformed, UnsupportedMedia

router = door("test results")

#: The path whose bodies may be larger than elsewhere.
UPLOADS = "/intake/v1/change-requests/{id}/test-results"
_UPLOADED_FIELDS = (
    ("suite_kind", {"type": "string", "enum": ["regression", "integration", "other"]}, True),
    ("run_at", {"type": "string", "format": "date-time"}, True),
    ("commit", {"type": "string"}, False),
    ("artifact", {"type": "string"}, False),
)
_REPORT = (
    '<testsuite name="orders" tests="2" failures="1"><testcase classname="orders" name="places"/>'
    '<testcase classname="orders" name="cancels"><failure message="timeout"/></testcase></testsuite>'
)
_UPLOAD_DOCS = {
    "parameters": [
        {"name": name, "in": "query", "required": False, "schema": schema, "description": "In the query or the form."}
        for name, schema, _ in _UPLOADED_FIELDS
    ],
    "requestBody": {
        "required": True,
        "content": {
            "application/xml": {"schema": {"type": "string"}, "example": _REPORT},
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
    status_code=201,
    response_model=TestResultView,
    responses={
        **OR_NONE,
        200: {"model": TestResultView, "description": "The same bytes about the same run were recorded before."},
        413: {"description": "Over 5 MB."},
        415: {"description": "No format that is read here."},
    },
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
        raise invalid(error) from None
    return answered(await handlers.record_tests(deps, call, id, uploaded, raw, media))


def _put_once(said: dict[str, str], items: list[tuple[str, str]]) -> None:
    for name, value in items:
        if name in said:
            raise Malformed(f"{name[:40]} is there twice.")
        said[name] = value

"""The console's doors: plain HTML for people. Reading only; whoever acts uses the JSON doors with a key of their own."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from services.reviewer import console, handlers
from services.reviewer.console import words
from services.reviewer.domain.document import Line, ReleaseDocument
from services.reviewer.domain.evidence import Case
from shared.contracts import Policy
from shared.doors.caller import COOKIE, Caller, deps_of
from shared.doors.problems import request_id
from shared.doors.strict import StrictRoute
from shared.errors import DaymarkError, NotFound, Unauthenticated

_SESSION_S = 12 * 3600
_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Vary": "Cookie",
}
Deps = Annotated[handlers.Deps, Depends(deps_of)]


class _Pages(StrictRoute):
    """As strict as the other doors; a no is a page as well."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()

        async def answering(request: Request) -> Response:
            try:
                return await answer(request)
            except Unauthenticated:
                return await _bare(request, "sign_in", status=401, is_used=False)
            except DaymarkError as error:
                if error.status >= 500 and error.status != 503:
                    raise  # our bug: logged and answered where all of them are
                said = {"heading": error.title, "detail": error.detail, "request": request_id(request.scope)}
                return await _bare(request, "problem", status=error.status, **said)

        return answering


router = APIRouter(route_class=_Pages, include_in_schema=False)


@dataclass(frozen=True)
class _Product:
    """One product on the front page, sorted into what is now, what comes and what was."""

    product_id: str
    policy: Policy | None
    now_lines: tuple[Line, ...]
    releases: tuple[ReleaseDocument, ...]
    last_line: Line | None
    owed: tuple[Case, ...]


@router.get("/")
async def front(call: Caller, deps: Deps) -> Response:
    around, found = await handlers.front_page(deps, call)
    products = [
        _Product(
            each.product_id,
            each.policy,
            tuple(
                sorted(
                    (line for line in each.lines if line.stage in words.NOW_STAGES),
                    key=lambda line: words.NOW_STAGES.index(line.stage),
                )
            ),
            each.releases,
            max(
                (line for line in each.lines if line.stage in words.ENDED_STAGES and line.deployments),
                key=lambda line: line.deployments[-1].deployed_at,
                default=None,
            ),
            each.debt,
        )
        for each in found
    ]
    return _page("front", around, products=products)


@router.get("/releases/{release_id}")
async def release(call: Caller, deps: Deps, release_id: str) -> Response:
    around, found, last = await handlers.release_page(deps, call, _name(release_id))
    return _page("release", around, release=found, last_line=last)


@router.get("/change-requests/{cr_id}")
async def change_request(call: Caller, deps: Deps, cr_id: str) -> Response:
    around, found, line, product_name = await handlers.dossier_page(deps, call, _name(cr_id))
    return _page("change_request", around, dossier=found, line=line, product_name=product_name)


@router.get("/glossary")
async def glossary(call: Caller, deps: Deps) -> Response:
    return _page("glossary", await handlers.surroundings(deps, call))


@router.get("/sign-in")
async def sign_in(request: Request, deps: Deps, link: str | None = None) -> Response:
    """Redeem a one-time link: it becomes a session of twelve hours, or says why not."""
    if link is None:
        return await _bare(request, "sign_in", is_used=False)
    session = await handlers.sign_in(deps, link) if len(link) <= 200 else None
    if session is None:
        return await _bare(request, "sign_in", status=401, is_used=True)
    answer = RedirectResponse("/", status_code=303, headers=_HEADERS)
    answer.set_cookie(
        COOKIE, session, max_age=_SESSION_S, path="/", httponly=True, samesite="lax", secure=_is_secure(request)
    )
    return answer


@router.post("/sign-out")
async def sign_out(request: Request, deps: Deps) -> Response:
    """End the session. The cookie is SameSite=Lax, so no other site's form brings it here."""
    session = request.cookies.get(COOKIE)
    if session:
        await handlers.sign_out(deps, session)
    answer = RedirectResponse("/sign-in", status_code=303, headers=_HEADERS)
    answer.delete_cookie(COOKIE, path="/", httponly=True, samesite="lax", secure=_is_secure(request))
    return answer


@router.get("/static/{name}")
async def static(name: str) -> Response:
    found = console.STATIC.get(name)
    if found is None:
        raise NotFound
    media_type, content = found
    return Response(content, media_type=media_type, headers={"Cache-Control": "max-age=300"})


def _name(given: str) -> str:
    """A name that the database can be asked for. Raises NotFound for anything else."""
    if not given or len(given) > 200 or not given.isprintable() or not given.isascii():
        raise NotFound
    return given


def _is_secure(request: Request) -> bool:
    settings = getattr(request.app.state, "settings", None)
    return bool(settings is not None and settings.secure_cookies)


def _page(name: str, around: handlers.Surroundings, **values: Any) -> Response:
    said: dict[str, Any] = {
        "who": around.who,
        "now": around.now,
        "as_of": around.as_of,
        "is_movable": around.is_movable,
    }
    return _html(name, **said, strangers=around.strangers, **values)


async def _bare(request: Request, name: str, /, **values: Any) -> Response:
    """A page for whoever asks. That the clock is none of real time is on this one as well."""
    now = await (await deps_of(request)).db.movable_now()
    return _html(name, now=now, is_movable=now is not None, **values)


def _html(name: str, *, status: int = 200, **values: Any) -> Response:
    shown = {"who": None, "is_movable": False, "as_of": None, "status": status, **values}
    return HTMLResponse(console.page(name, **shown), status, _HEADERS)

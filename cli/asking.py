"""Asking a running Daymark over HTTP, with a person's key: what a command may is what its key may."""

from __future__ import annotations

from types import TracebackType
from typing import Annotated, Any

import httpx2
import typer

from shared.errors import DaymarkError

Url = Annotated[str, typer.Option(envvar="DAYMARK_URL", help="Where Daymark is.")]
Key = Annotated[str, typer.Option(envvar="DAYMARK_KEY", help="Your key; better in the environment than in a history.")]
HERE = "http://127.0.0.1:8080"

#: Verdicts of hundreds of SLIs are computed in seconds; a slow answer is still an answer.
_TIMEOUT_S = 300.0


class Refused(DaymarkError):
    """Daymark said no, or what answered was not Daymark."""

    title = "Daymark did not do it."


class Asking:
    """A connection to one Daymark. Raises Refused with the sentence of the answer; OSError when nobody answers."""

    def __init__(self, url: str, key: str, *, transport: httpx2.BaseTransport | None = None) -> None:
        if not key:
            raise Refused("Set DAYMARK_KEY to your key (daymark keys create).")
        headers = {"Authorization": f"Bearer {key}"}
        self._client = httpx2.Client(base_url=url, headers=headers, timeout=_TIMEOUT_S, transport=transport)

    def __enter__(self) -> Asking:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def get(self, path: str, **query: Any) -> httpx2.Response:
        return self._answer("GET", path, params={name: value for name, value in query.items() if value is not None})

    def post(self, path: str, document: Any) -> httpx2.Response:
        return self._answer("POST", path, json=document)

    def send(self, path: str, content: bytes, media: str, **query: Any) -> httpx2.Response:
        """POST a file as it is."""
        asked = {name: value for name, value in query.items() if value is not None}
        return self._answer("POST", path, params=asked, content=content, headers={"Content-Type": media})

    def _answer(self, method: str, path: str, **more: Any) -> httpx2.Response:
        try:
            answer = self._client.request(method, path, **more)
        except httpx2.HTTPError as error:
            raise OSError(f"{self._client.base_url}: {error}") from error
        if answer.status_code >= 400:
            raise Refused(_why(answer))
        return answer


def _why(answer: httpx2.Response) -> str:
    """The sentence of a problem, and what it says of each field."""
    try:
        problem = answer.json()
        said = str(problem.get("detail") or problem["title"])
        fields = [f"  {each.get('path')}: {each.get('message')}" for each in problem.get("fields") or ()]
    except (ValueError, KeyError, AttributeError, TypeError):
        return f"{answer.status_code} from {answer.url}, and no word why: is this Daymark's address?"
    return "\n".join([said, *fields])

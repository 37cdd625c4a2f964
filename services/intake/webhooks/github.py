"""GitHub's webhooks: a merged pull request that is labelled as a change is registered; a deployment that succeeded is reported.

* `pull_request`: merged, with the label `cr:<product>`. Its one assignee is the PTASK engineer. The CR is named by
  (`github`, `<owner>/<repository>#<number>`), its commit is the one that the merge made.
* `deployment_status`: `success`, in production, of a deployment whose payload names the CR: `{"cr": "CR-7"}`, or
  `{"cr": "<owner>/<repository>#<number>"}`. A deployment whose task is `rollback` takes that CR back.

The signature is HMAC-SHA256 over the exact body (`X-Hub-Signature-256`). Words: docs.github.com, "Webhook events and payloads".
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from services.intake.webhooks import NotOurs
from shared.contracts.cloudevents import Inbound
from shared.doors.strict import strict_loads
from shared.errors import Invalid, Malformed

_LABEL = "cr:"
_CR = re.compile(r"CR-[1-9][0-9]{0,17}")
#: A title is one line of at most so many characters here; GitHub allows more.
_LINE = 200


def is_signed(secret: bytes, headers: Mapping[str, str], raw: bytes) -> bool:
    wanted = f"sha256={hmac.new(secret, raw, 'sha256').hexdigest()}"
    return hmac.compare_digest(headers.get("x-hub-signature-256", "").encode(), wanted.encode())


def read(headers: Mapping[str, str], body: Any, issuer: str) -> Inbound | NotOurs:
    kind, delivery = headers.get("x-github-event", ""), headers.get("x-github-delivery", "")
    if not re.fullmatch(r"[!-~]{1,200}", delivery):
        raise Invalid("A delivery of GitHub says its id in X-GitHub-Delivery.")
    if kind == "ping":
        return NotOurs("The webhook is set up: deliveries are signed as they should be.")
    if kind not in _READ:
        return NotOurs(f"Events of kind {kind[:60]!r} are not read here; {' and '.join(_READ)} are.")
    shape, mapped = _READ[kind]
    try:
        found = mapped(shape.model_validate(body), issuer)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part)[:60] for part in first["loc"]) or "body"
        raise Invalid(f"This is no {kind} of GitHub: {where}: {first['msg']}") from None
    if isinstance(found, NotOurs):
        return found
    type, data = found
    return Inbound(id=delivery, source="github", type=type, data=data)


class _Part(BaseModel):
    """The part of what GitHub says that is read. All else is GitHub's own, and grows as it likes."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class _User(_Part):
    login: str


class _Label(_Part):
    name: str


class _PullRequest(_Part):
    number: int
    title: str
    html_url: str
    merged: bool = False
    merge_commit_sha: str | None = None
    user: _User | None = None  # null when the account is gone
    assignees: tuple[_User, ...] = ()
    labels: tuple[_Label, ...] = ()


class _Repository(_Part):
    full_name: str


class _OnPullRequest(_Part):
    action: str
    pull_request: _PullRequest
    repository: _Repository
    label: _Label | None = None  #: which one, when the action is about a label


class _Deployment(_Part):
    sha: str
    environment: str
    production_environment: bool | None = None
    task: str = "deploy"
    description: str | None = None
    payload: Any = None  #: whatever the deployer put there: an object, or one as a text
    creator: _User | None = None


class _Status(_Part):
    state: str
    created_at: str


class _OnDeploymentStatus(_Part):
    deployment_status: _Status
    deployment: _Deployment


_Mapped = tuple[str, dict[str, Any]] | NotOurs


def _registered(said: _OnPullRequest, issuer: str) -> _Mapped:
    pull = said.pull_request
    products = [label.name.removeprefix(_LABEL) for label in pull.labels if label.name.startswith(_LABEL)]
    if not products:
        return NotOurs(f"The pull request is no change request: it has no label {_LABEL}<product>.")
    if not pull.merged:
        return NotOurs("The change is registered when the pull request is merged.")
    is_about_it = said.action in ("closed", "assigned") or (
        said.action == "labeled" and said.label is not None and said.label.name.startswith(_LABEL)
    )
    if not is_about_it:
        return NotOurs(f"Nothing of the change is in its being {said.action[:60]}.")
    if len(products) > 1:
        raise Invalid(f"A change is of one product; the pull request is labelled for {', '.join(products)[:200]}.")
    if len(pull.assignees) != 1:
        raise Invalid("Assign the pull request to one person, its PTASK engineer; then it is registered.")
    if pull.user is None:
        raise Invalid("The pull request's author has no account any more; register the change by hand.")
    title = " ".join(pull.title.split())
    return "inbound.cr.registered.v1", {
        "product": products[0],
        "source": "github",
        "external_id": f"{said.repository.full_name}#{pull.number}",
        "title": title if len(title) <= _LINE else title[: _LINE - 1] + "…",
        "author": f"{issuer}|{pull.user.login}",
        "ptask": f"{issuer}|{pull.assignees[0].login}",
        "commit": pull.merge_commit_sha,
        "link": pull.html_url,
    }


def _deployed(said: _OnDeploymentStatus, issuer: str) -> _Mapped:
    deployment, status = said.deployment, said.deployment_status
    if status.state != "success":
        return NotOurs(f"Only a deployment that succeeded is a fact; this one is {status.state[:60]}.")
    if not (deployment.production_environment or deployment.environment == "production"):
        return NotOurs(f"The environment {deployment.environment[:60]!r} is not production.")
    cr = _payload(deployment.payload).get("cr")
    if cr is None:
        return NotOurs('The deployment names no change; its payload would: {"cr": "CR-7"}.')
    if not isinstance(cr, str):
        raise Invalid("payload.cr is the name of one change.")
    named = {"cr_id": cr} if _CR.fullmatch(cr) else {"source": "github", "external_id": cr}
    if deployment.task == "rollback":
        reason = deployment.description or "Rolled back by a deployment on GitHub."
        return "inbound.cr.rolled_back.v1", {**named, "rolled_back_at": status.created_at, "reason": reason}
    data = {**named, "deployed_at": status.created_at, "commit": deployment.sha}
    if deployment.creator is not None:
        data["deployer"] = f"{issuer}|{deployment.creator.login}"
    return "inbound.cr.deployed.v1", data


def _payload(said: Any) -> dict[str, Any]:
    if isinstance(said, str):
        try:
            said = strict_loads(said.encode())
        except Malformed:
            return {}
    return said if isinstance(said, dict) else {}


#: kind of event -> its shape, and what it says here.
_READ: dict[str, tuple[type[_Part], Callable[[Any, str], _Mapped]]] = {
    "pull_request": (_OnPullRequest, _registered),
    "deployment_status": (_OnDeploymentStatus, _deployed),
}

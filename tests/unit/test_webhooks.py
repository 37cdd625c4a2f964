"""Other systems' words, and what they are here. Bodies are cut from GitHub's own, with some of what is not read left in."""

from __future__ import annotations

import hmac
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from services.intake import webhooks
from services.intake.webhooks import Hook, NotOurs, open_hook
from shared.contracts.cloudevents import Inbound
from shared.contracts.inbound import INBOUND
from shared.errors import DaymarkError, Invalid, Malformed, UnsupportedMedia

SECRET = "a secret of sixteen or more"
HOOK = open_hook("github", {"kind": "github", "secrets": [SECRET], "integration": "GitHub", "issuer": "ldap"})


def merged(action: str = "closed", **differs: Any) -> dict[str, Any]:
    pull = {
        "id": 279147437,
        "number": 42,
        "title": "Faster order search",
        "html_url": "https://github.com/acme/orders/pull/42",
        "body": None,
        "merged": True,
        "merged_at": "2026-12-01T07:58:01Z",
        "merge_commit_sha": "4f2c9d1be0",
        "user": {"login": "Erin", "id": 7, "site_admin": False},
        "assignees": [{"login": "pia", "id": 8}],
        "labels": [{"id": 1, "name": "search"}, {"id": 2, "name": "cr:epl"}],
        **differs,
    }
    label = {"label": {"name": "cr:epl"}} if action == "labeled" else {}
    return {"action": action, "number": 42, "pull_request": pull, "repository": {"full_name": "acme/orders"}, **label}


def deployed(state: str = "success", at: str = "2026-12-01T08:12:00Z", **differs: Any) -> dict[str, Any]:
    deployment = {
        "id": 145988746,
        "sha": "4f2c9d1be0",
        "ref": "main",
        "task": "deploy",
        "environment": "production",
        "production_environment": True,
        "payload": {"cr": "CR-7"},
        "description": None,
        "creator": {"login": "deploybot[bot]"},
        **differs,
    }
    status = {"id": 209916254, "state": state, "created_at": at, "target_url": ""}
    return {"action": "created", "deployment_status": status, "deployment": deployment, "workflow": None}


def read(body: Any, event: str = "", **headers: str) -> Inbound | NotOurs:
    kind = event or ("pull_request" if "pull_request" in body else "deployment_status")
    said = {"content-type": "application/json", "x-github-event": kind, "x-github-delivery": "72d3162e-cc78", **headers}
    return HOOK.read(said, json.dumps(body).encode())


def command(body: Any) -> dict[str, Any]:
    """What the delivery asks for, as the door of that command reads it."""
    found = read(body)
    assert isinstance(found, Inbound), found
    assert (found.id, found.source) == ("72d3162e-cc78", "github")
    return {"type": found.type} | INBOUND[found.type].model_validate(found.data).model_dump(
        exclude_unset=True, mode="json"
    )


def test_a_merged_pull_request_that_is_labelled_is_a_registration() -> None:
    assert command(merged()) == {
        "type": "inbound.cr.registered.v1",
        "product": "epl",
        "source": "github",
        "external_id": "acme/orders#42",
        "title": "Faster order search",
        "author": "ldap|erin",
        "ptask": "ldap|pia",
        "commit": "4f2c9d1be0",
        "link": "https://github.com/acme/orders/pull/42",
    }
    for late in ("labeled", "assigned"):  # what was forgotten at the merge, and mended
        assert command(merged(late)) == command(merged())


def test_a_long_title_of_several_lines_is_one_line() -> None:
    title = command(merged(title="Faster\n" + "search " * 60))["title"]
    assert title.startswith("Faster search search") and len(title) == 200 and title.endswith("…")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (merged(labels=[{"name": "search"}]), "no label cr:"),
        (merged(merged=False), "when the pull request is merged"),
        (merged("labeled", merged=False), "when the pull request is merged"),
        (merged("edited"), "its being edited"),
        ({**merged("labeled"), "label": {"name": "search"}}, "its being labeled"),
        (deployed("in_progress"), "this one is in_progress"),
        (deployed("failure"), "this one is failure"),
        (deployed(environment="staging", production_environment=False), "'staging' is not production"),
        (deployed(payload={}), "names no change"),
        (deployed(payload=""), "names no change"),
        (deployed(payload="[" * 5000), "names no change"),
        (deployed(payload=["CR-7"]), "names no change"),
    ],
)
def test_what_is_not_about_a_change_is_heard_and_says_why_it_is_nothing(body: Any, why: str) -> None:
    found = read(body)
    assert isinstance(found, NotOurs) and why in found.reason


def test_what_is_read_of_no_kind_is_not_even_looked_at() -> None:
    assert (
        isinstance(found := read({"zen": "Keep it logically awesome."}, "ping"), NotOurs) and "set up" in found.reason
    )
    assert isinstance(found := read([], "workflow_run"), NotOurs) and "'workflow_run'" in found.reason


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (merged(labels=[{"name": "cr:epl"}, {"name": "cr:scp"}]), "labelled for epl, scp"),
        (merged(assignees=[]), "Assign the pull request"),
        (merged(assignees=[{"login": "pia"}, {"login": "paul"}]), "Assign the pull request"),
        (merged(user=None), "no account any more"),
        (merged(number="forty-two"), "pull_request.number"),
        (deployed(payload={"cr": ["CR-7"]}), "one change"),
        (deployed(sha=None), "deployment.sha"),
        ({"action": "closed", "pull_request": None}, "pull_request"),
        (merged(title="\u2800"), "nothing that can be seen"),
    ],
)
def test_what_is_about_a_change_and_cannot_be_is_refused(body: Any, why: str) -> None:
    with pytest.raises(Invalid, match=re.escape(why)):
        read(body)


def test_a_deployment_in_production_that_succeeded_is_reported() -> None:
    said = {
        "type": "inbound.cr.deployed.v1",
        "cr_id": "CR-7",
        "deployed_at": "2026-12-01T08:12:00Z",
        "commit": "4f2c9d1be0",
        "deployer": "ldap|deploybot[bot]",
    }
    assert command(deployed()) == said
    assert command(deployed(payload='{"cr": "CR-7"}')) == said, "some clients send it as a text"
    assert command(deployed(production_environment=None)) == said, "an older GitHub says the name alone"
    assert command(deployed(environment="eu-1")) == said, "an environment by any name may be marked as production"
    assert "deployer" not in command(deployed(creator=None))
    by_name = command(deployed(payload={"cr": "acme/orders#42"}))
    assert (by_name["source"], by_name["external_id"]) == ("github", "acme/orders#42") and "cr_id" not in by_name


def test_a_deployment_whose_task_is_rollback_takes_the_change_back() -> None:
    said = command(deployed(task="rollback", description="INV-1: rollback"))
    assert said == {
        "type": "inbound.cr.rolled_back.v1", "cr_id": "CR-7", "rolled_back_at": "2026-12-01T08:12:00Z",
        "reason": "INV-1: rollback",
    }  # fmt: skip
    assert "GitHub" in command(deployed(task="rollback"))["reason"]


# -- who sent it ----------------------------------------------------------------------------------------------------


def test_the_signature_is_githubs_own() -> None:
    """The example of GitHub's documentation, "Validating webhook deliveries"."""
    hook = Hook("docs", HOOK.system, (b"It's a Secret to Everybody",), "local|github", "github")
    good = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    assert hook.is_signed({"x-hub-signature-256": good}, b"Hello, World!")
    for bad in (
        good.upper(),
        good[:-1],
        good + "0",
        good.removeprefix("sha256="),
        "sha256=",
        "",
        "sha1=" + good[7:],
        "é",
    ):
        assert not hook.is_signed({"x-hub-signature-256": bad}, b"Hello, World!")
    assert not hook.is_signed({"x-hub-signature-256": good}, b"Hello, World! ")
    assert not hook.is_signed({"x-hub-signature": good}, b"Hello, World!") and not hook.is_signed({}, b"")


def test_while_a_secret_is_changed_both_are_good() -> None:
    hook = open_hook("g", {"kind": "github", "secrets": ["the new one, longer", SECRET], "integration": "ci"})
    for secret in ("the new one, longer", SECRET):
        signature = "sha256=" + hmac.new(secret.encode(), b"x", "sha256").hexdigest()
        assert hook.is_signed({"x-hub-signature-256": signature}, b"x")
    assert (hook.integration, hook.issuer) == ("local|ci", "github") and SECRET not in repr(hook)


def test_a_delivery_is_json_and_has_an_id() -> None:
    with pytest.raises(UnsupportedMedia, match="application/json"):
        read(merged(), **{"content-type": "application/x-www-form-urlencoded"})
    with pytest.raises(Malformed):
        HOOK.read({"content-type": "application/json", "x-github-delivery": "1"}, b'{"a":1,"a":2}')
    for delivery in ("", "a b", "x" * 201):
        with pytest.raises(Invalid, match="X-GitHub-Delivery"):
            read(merged(), **{"x-github-delivery": delivery})


# -- what the settings say ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("differs", "why"),
    [
        ({"kind": "carrier pigeon"}, "must be one of github"),
        ({"kind": None}, "must be one of"),
        ({"secrets": []}, "a list"),
        ({"secrets": SECRET}, "a list"),
        ({"secrets": ["short geheim"]}, "at least 16"),
        ({"integration": None}, "the principal"),
        ({"sekrets": ["geheim"]}, "sekrets is no setting"),
    ],
)
def test_a_webhook_that_is_wrong_stops_the_start_and_shows_no_secret(differs: dict[str, Any], why: str) -> None:
    good = {"kind": "github", "secrets": [SECRET], "integration": "local|github"}
    with pytest.raises(ValueError, match=why) as refused:
        open_hook("github", good | differs)
    assert "geheim" not in str(refused.value) and SECRET not in str(refused.value)
    with pytest.raises(ValueError, match="address"):
        open_hook("git/hub", good)


# -- the recipe -----------------------------------------------------------------------------------------------------


def test_the_recipe_for_a_webhook_makes_one_by_lying_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What CONTRIBUTING.md shows is put where it says, as it stands, and is found."""
    recipes = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text()
    (code,) = re.findall(r"```python\n# services/intake/webhooks/gitlab.py\n(.*?)```", recipes, re.DOTALL)
    (tmp_path / "gitlab.py").write_text(code)
    monkeypatch.delitem(sys.modules, "services.intake.webhooks.gitlab", raising=False)
    monkeypatch.setattr(webhooks, "__path__", [*webhooks.__path__, str(tmp_path)])
    assert webhooks.kinds() == ("github", "gitlab")
    hook = open_hook("gitlab", {"kind": "gitlab", "secrets": [SECRET], "integration": "local|gitlab"})
    assert hook.is_signed({"x-gitlab-token": SECRET}, b"") and not hook.is_signed({"x-gitlab-token": "other"}, b"")
    headers = {"content-type": "application/json", "idempotency-key": "f5e5f430"}
    body = {
        "object_kind": "deployment", "status": "success", "status_changed_at": "2026-12-01 09:12:00 +0100",
        "environment_tier": "production", "ref": "cr/CHG0041", "short_sha": "279484c0", "deployable_id": 796,
    }  # fmt: skip
    found = hook.read(headers, json.dumps(body).encode())
    assert isinstance(found, Inbound)
    said = INBOUND[found.type].model_validate(found.data).model_dump(mode="json", exclude_unset=True)
    assert said == {
        "source": "gitlab", "external_id": "CHG0041", "deployed_at": "2026-12-01T08:12:00Z", "commit": "279484c0",
    }  # fmt: skip
    for differs in ({"object_kind": "push"}, {"status": "running"}, {"environment_tier": "staging"}, {"ref": "main"}):
        assert isinstance(hook.read(headers, json.dumps(body | differs).encode()), NotOurs)
    with pytest.raises(DaymarkError):
        hook.read(headers, json.dumps(body | {"status_changed_at": "yesterday"}).encode())

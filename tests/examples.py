"""`python -m tests.examples`: tell the demo's story once more and keep, for each operation, what was asked and answered.

The OpenAPI documents show it (`services/<service>/examples.json`), so an example is never what somebody once imagined.
Lists are cut to two items, for a reader's sake. Run it when a door was added or answers otherwise; a test says when.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2

from deploy.local import story
from deploy.local.plant import EFFECTS
from shared.telemetry import configure_logs
from tests.flow.world import DAY, HOUR, WORSE, World, begun
from tests.servers.postgres import embedded

ROOT = Path(__file__).parents[1]
HOOK: dict[str, Any] = {
    "kind": "github",
    "secrets": ["sixteen letters or more"],
    "integration": "local|pipeline",
    "issuer": "local",
}
#: Which answer is shown where the story has several: the one that these words are in.
TELLING = {
    "GET /reviewer/v1/gate/{cr_id}": '"go":false',
    "GET /reviewer/v1/change-requests/{cr_id}/dossier": '"cr_id":"CR-2"',
    "GET /snapshotter/v1/change-requests/{id}/observation": '"change_request":"CR-2"',
}


class Recorder:
    """Keeps the last exchange of each operation that told something."""

    def __init__(self, world: World) -> None:
        self.kept: dict[str, dict[str, dict[str, Any]]] = {}
        self._paths = {
            name: sorted(app.openapi()["paths"], key=lambda path: path.count("{"))  # the literal ones first
            for name, app in world.app.services.items()
        }

    async def __call__(self, answer: httpx2.Response) -> None:
        await answer.aread()
        request = answer.request
        service = request.url.path.split("/")[1]
        if answer.status_code >= 300:
            return
        for path in self._paths.get(service, ()):
            if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", path), request.url.path):
                self._keep(service, f"{request.method} {path}", request, answer)
                return

    def _keep(self, service: str, operation: str, request: httpx2.Request, answer: httpx2.Response) -> None:
        if not answer.headers["content-type"].startswith("application/json"):
            return
        example = self.kept.setdefault(service, {}).setdefault(operation, {"answers": {}})
        status = str(answer.status_code)
        if (words := TELLING.get(operation)) and words not in answer.text and status in example["answers"]:
            return
        if request.headers.get("content-type", "").startswith("application/json") and request.content:
            example["request"] = json.loads(request.content)
        example["answers"][status] = _cut(answer.json())


def _cut(value: Any) -> Any:
    """The same, lists at most two long."""
    if isinstance(value, dict):
        return {name: _cut(each) for name, each in value.items()}
    return [_cut(each) for each in value[:2]] if isinstance(value, list) else value


async def _ask_the_rest(world: World, crs: dict[str, str]) -> None:
    """What nobody in the story needed to ask."""
    moving, cr = crs["moving"], crs["next_epl"]
    policy = await world.get("/intake/v1/products/epl", "rita")
    policy["policy"]["observation"]["patience_min"] += 5
    for who in ("rita", "ravi"):
        await world.ask(who, "PUT", "/intake/v1/products/epl", policy["policy"])
    for service in ("intake", "snapshotter", "incidents", "reviewer"):
        for path in ("healthz", "readyz", "version"):
            await world.ask(None, "GET", f"/{service}/{path}")
    look = (await world.t.dossier(moving))["deployments"][0]["observations"][0]["snapshot_id"]
    for path in (
        "/intake/v1/products", "/intake/v1/releases", "/intake/v1/releases/epl-2026.48", "/intake/v1/change-requests",
        f"/intake/v1/change-requests/{moving}", "/snapshotter/v1/snapshots", f"/snapshotter/v1/snapshots/{look}",
        f"/snapshotter/v1/snapshots/{look}/series?sli=p99-latency",
        f"/snapshotter/v1/change-requests/{moving}/observation", "/incidents/v1/incidents", "/incidents/v1/incidents/INC-1",
        "/incidents/v1/investigations/INV-1", "/reviewer/v1/releases", "/reviewer/v1/releases/epl-x-2.9",
        f"/reviewer/v1/change-requests/{moving}/dossier", f"/reviewer/v1/gate/{crs['next_epl_x']}",
    ):  # fmt: skip
        await world.ask("ada", "GET", path)
    await world.ask(
        "erin", "PATCH", f"/intake/v1/change-requests/{cr}", {"title": "Invoices by mail in three languages"}
    )
    await world.ask(
        "pipeline", "POST", "/intake/v1/events",
        {
            "specversion": "1.0", "id": "dep-42", "source": "https://deployer.example", "datacontenttype": "application/json",
            "type": "inbound.cr.withdrawn.v1", "data": {"cr_id": crs["next_scp"], "reason": "Not this month."},
        }, headers={"Content-Type": "application/cloudevents+json"},
    )  # fmt: skip
    other = await story.register(
        world.t, "scp", "scp-1.5", "SCP-1.5.1", "A second one", author="erin", ptask="pia", commit="1f"
    )
    await world.ask("erin", "POST", f"/intake/v1/change-requests/{other}/withdrawn", {"reason": "Not this month."})
    incident = await world.ask(
        "omar", "POST", "/incidents/v1/incidents",
        {
            "product": "epl", "title": "Orders time out at noon", "severity": "critical", "change_request": crs["steady"],
            "regression_cases": ["An order placed under noon load answers within 300 ms"],
        },
    )  # fmt: skip
    await world.ask(
        "omar",
        "POST",
        f"/incidents/v1/incidents/{incident.json()['id']}/close",
        {"reason": "Served again since 13:05."},
    )
    await world.ask(
        "pia", "POST", f"/reviewer/v1/change-requests/{cr}/acknowledge",
        {"answers": [{"item_id": "mail", "answer": "The same gateway; the mail team watches it."}]},
    )  # fmt: skip
    await _deliver(world)
    await _ask_of_benchmarks(world, crs)
    await world.quiet()


async def _ask_of_benchmarks(world: World, crs: dict[str, str]) -> None:
    """Drafts, uploads, pins and anchors are operations' own affair; the story needs one benchmark a change."""
    draft = await world.ask(
        "olga", "POST", "/snapshotter/v1/drafts", {"change_request": crs["next_epl"], "reason": "The review is about to begin."}
    )  # fmt: skip
    snapshot = await _despite(
        world, f"/snapshotter/v1/drafts/{_made(draft)}/publish", {"reason": "An ordinary working day."}
    )
    pin = {
        "product": "epl", "snapshot": snapshot, "reason": "This week's load test would be no measure.",
        "expires_at": (world.t.at + timedelta(days=3)).isoformat(),
    }  # fmt: skip
    pinned = await _despite(world, "/snapshotter/v1/pins", pin)
    await world.ask("ada", "GET", "/snapshotter/v1/pins?product=epl")
    await world.ask("olga", "POST", f"/snapshotter/v1/pins/{pinned}/end", {"reason": "The load test is over."})
    chosen = {"snapshot": snapshot, "reason": "The new region is live."}
    await world.ask("olga", "POST", "/snapshotter/v1/products/epl/anchor", chosen)
    for path in (
        "products/epl/anchor",
        "products/epl/calibration",
        "products/epl/sli-check",
        f"change-requests/{crs['moving']}/recomputation",
    ):
        await world.ask("ada", "GET", f"/snapshotter/v1/{path}")
    policy = (await world.get("/intake/v1/products/epl-x", "rita"))["policy"]
    for sli in policy["slis"]:
        sli["min_relative"] = 5.0  # more than the new pools cost: that verdict would flip
    await world.ask("rita", "POST", "/snapshotter/v1/products/epl-x/backtest", {"policy": policy, "limit": 2})
    await _upload(world, _made(draft))
    await _answer_for_one(world)


async def _upload(world: World, draft: str) -> None:
    """What the sources said of one SLI, as if another system had exported it."""
    found = await world.get(f"/snapshotter/v1/snapshots/{draft}/series?sli=p99-latency", "olga")
    rows = [
        f"p99-latency,{found['start_s'] + found['step_s'] * step:.0f},{'' if value is None else value}"
        for step, value in enumerate(found["series"][0]["values"])
    ]
    end = datetime.fromtimestamp(found["start_s"] + found["step_s"] * found["steps"], UTC)
    query = {"product": "epl", "reason": "Exported by hand from the old monitoring.", "window_end": end.isoformat()}
    taken = await world.ask(
        "olga", "POST", "/snapshotter/v1/uploads", None, params=query, content="\n".join(["sli,time,value", *rows, ""]),
        headers={"Content-Type": "text/csv"},
    )  # fmt: skip
    await world.quiet()
    await world.ask("olga", "GET", f"/snapshotter/v1/uploads/{_made(taken)}")


async def _answer_for_one(world: World) -> None:
    """A benchmark that was published while a change was still observed, and that change deviates after all."""
    cr = await world.register("scp", None, WORSE)
    await world.benchmark(cr)
    await world.deploy(cr)
    await world.t.until_stage(cr.id, "deployed", "observing")
    await world.step(3 * HOUR)
    meanwhile = await _despite(
        world, "/snapshotter/v1/snapshots", {"product": "scp", "reason": "Before the rounding rules are changed."}
    )
    await world.step(DAY)
    await world.t.until_stage(cr.id, "deviating")
    await world.quiet()
    await _despite(
        world, f"/snapshotter/v1/benchmarks/{meanwhile}/uphold", {"reason": "The longer import was decided to be kept."}
    )


#: What is answered to each thing that can speak against a benchmark.
ANSWERS = {
    "gaps": "The exporter was down for an hour at night; the rest is complete.",
    "flat": "Nothing was imported over the holiday.",
    "moved": "Month's end: it is so each month.",
    "deviated": "It was decided to be kept: this is how things are now.",
    "observed": "That change touches nothing that is measured here.",
}


async def _despite(world: World, path: str, body: dict[str, Any]) -> str:
    """The id of what operations made there, once what speaks against it, if anything does, was answered."""
    made = await world.ask("olga", "POST", path, body)
    if made.status_code == 409:
        codes = [str(field["path"]).removeprefix("body.despite.") for field in made.json().get("fields", ())]
        made = await world.ask("olga", "POST", path, {**body, "despite": {code: ANSWERS[code] for code in codes}})
    return _made(made)


def _made(answer: httpx2.Response) -> str:
    assert answer.is_success, (answer.request.url, answer.status_code, answer.text)
    return str(answer.json()["id"])


async def _deliver(world: World) -> None:
    """GitHub says that it is there, and that a change was merged."""
    user = {"login": "eli"}
    pull = {
        "number": 42, "title": "Faster order export", "html_url": "https://github.com/acme/orders/pull/42", "merged": True,
        "merge_commit_sha": "4f2c9d1be0", "user": user, "assignees": [{"login": "pia"}], "labels": [{"name": "cr:epl"}],
    }  # fmt: skip
    merged = {"action": "closed", "pull_request": pull, "repository": {"full_name": "acme/orders"}}
    for event, body in (("ping", {"zen": "Design for failure."}), ("pull_request", merged)):
        raw = json.dumps(body).encode()
        signed = f"sha256={hmac.new(HOOK['secrets'][0].encode(), raw, 'sha256').hexdigest()}"
        said = {"X-GitHub-Event": event, "X-GitHub-Delivery": f"72d3162e-{event}", "X-Hub-Signature-256": signed}
        await world.ask(
            None, "POST", "/intake/v1/webhooks/github", None, content=raw,
            headers={"Content-Type": "application/json", **said},
        )  # fmt: skip


async def main() -> None:
    configure_logs(level="WARNING")
    with embedded() as postgres:
        effects = {**EFFECTS, ("scp", WORSE): {"p99-duration": 2.0}}
        async with begun(postgres, effects, webhooks={"github": HOOK}) as world:
            recorder = Recorder(world)
            world.t.client.event_hooks = {"response": [recorder]}
            world.t.present = story.present() - 2 * DAY  # what follows takes a day more
            world.t.at = world.t.present - timedelta(days=story.DAYS) + timedelta(minutes=2)
            await _ask_the_rest(world, await story.tell(world.t))
            for service, kept in recorder.kept.items():
                file = ROOT / "services" / service / "examples.json"
                file.write_text(json.dumps(dict(sorted(kept.items())), indent=1, ensure_ascii=False) + "\n")
                print(f"{file.relative_to(ROOT)}: {len(kept)} operations")


if __name__ == "__main__":
    asyncio.run(main())

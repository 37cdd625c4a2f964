"""`python -m tests.examples`: tell the demo's story once more and keep, for each operation, what was asked and answered.

The OpenAPI documents show it (`services/<service>/examples.json`), so an example is never what somebody once imagined.
Lists are cut to two items, for a reader's sake. Run it when a door was added or answers otherwise; a test says when.
"""

from __future__ import annotations

import asyncio
import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2

from deploy.local import story
from deploy.local.plant import EFFECTS
from tests.flow.world import World, begun
from tests.servers.postgres import embedded

ROOT = Path(__file__).parents[1]
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
    await _ask_of_benchmarks(world, crs)
    await world.quiet()


async def _ask_of_benchmarks(world: World, crs: dict[str, str]) -> None:
    """Drafts, pins and anchors are operations' own affair; the story needs one benchmark a change."""
    despite = {"fresh_incident": "It is closed.", "recent_deploy": "It was steady."}
    draft = await world.ask(
        "olga", "POST", "/snapshotter/v1/drafts", {"change_request": crs["next_epl"], "reason": "The review is about to begin."}
    )  # fmt: skip
    path = f"/snapshotter/v1/drafts/{draft.json().get('id')}/publish"
    made = await world.ask("olga", "POST", path, {"reason": "An ordinary working day."})
    if made.status_code >= 300:
        made = await world.ask("olga", "POST", path, {"reason": "An ordinary working day.", "despite": despite})
    snapshot = made.json().get("id")
    pin = await world.ask(
        "olga", "POST", "/snapshotter/v1/pins",
        {
            "product": "epl", "snapshot": snapshot, "reason": "This week's load test would be no measure.",
            "expires_at": (world.t.at + timedelta(days=3)).isoformat(),
        },
    )  # fmt: skip
    await world.ask("ada", "GET", "/snapshotter/v1/pins?product=epl")
    await world.ask(
        "olga", "POST", f"/snapshotter/v1/pins/{pin.json().get('id')}/end", {"reason": "The load test is over."}
    )
    await world.ask(
        "olga",
        "POST",
        "/snapshotter/v1/products/epl/anchor",
        {"snapshot": snapshot, "reason": "The new region is live."},
    )
    for path in ("products/epl/anchor", "products/epl/calibration", f"change-requests/{crs['moving']}/recomputation"):
        await world.ask("ada", "GET", f"/snapshotter/v1/{path}")


async def main() -> None:
    with embedded() as postgres:
        async with begun(postgres, EFFECTS) as world:
            recorder = Recorder(world)
            world.t.client.event_hooks = {"response": [recorder]}
            world.t.present = story.present()
            world.t.at = world.t.present - timedelta(days=story.DAYS) + timedelta(minutes=2)
            await _ask_the_rest(world, await story.tell(world.t))
            for service, kept in recorder.kept.items():
                file = ROOT / "services" / service / "examples.json"
                file.write_text(json.dumps(dict(sorted(kept.items())), indent=1, ensure_ascii=False) + "\n")
                print(f"{file.relative_to(ROOT)}: {len(kept)} operations")


if __name__ == "__main__":
    asyncio.run(main())

"""The demo's story, told through the public doors alone, in true order, as the systems and people around Daymark would.

`Teller` knows addresses and keys, how to step the clock, and the demo's plant; it cannot reach into a service. The same
story is told to the one-process instance (`make demo`, tests) and to four processes on Kafka (CI): the dossiers are equal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2

from deploy.local.plant import Plant

DAYS = 4  #: the story's length
_PATIENCE_S = 90.0
_HOUR = timedelta(hours=1)
_MINUTE = timedelta(minutes=1)


class StoryError(Exception):
    """The story could not be told as it should: what was asked and what was answered."""


@dataclass
class Teller:
    """Everything the story may touch."""

    address: Callable[[str], str]  #: service name -> base URL
    keys: Mapping[str, str]
    plant: Plant
    present: datetime  #: real time when the story ends
    move_to: Callable[[datetime], Awaitable[None]]  #: step the instance's clock forward to this time
    say: Callable[[str], None]
    client: httpx2.AsyncClient
    at: datetime = field(init=False)
    _asked: int = 0

    def __post_init__(self) -> None:
        # A little later than the instance was made: its clock only moves forward, and starting took a moment.
        self.at = self.present - timedelta(days=DAYS) + 2 * _MINUTE

    async def step(self, by: timedelta) -> None:
        self.at += by
        await self.move_to(self.at)

    async def ask(
        self, who: str, method: str, path: str, body: Any = None, *, expect: tuple[int, ...] = (200, 201), **more: Any
    ) -> Any:
        """One request as one of the people; the answer's JSON. Raises StoryError for any other status."""
        self._asked += 1
        headers = {"Authorization": f"Bearer {self.keys[who]}", **more.pop("headers", {})}
        if method == "POST":
            headers.setdefault("Idempotency-Key", f"story-{self._asked}")
        service = path.split("/")[1]
        deadline = asyncio.get_running_loop().time() + _PATIENCE_S
        while True:
            answer = await self.client.request(method, self.address(service) + path, json=body, headers=headers, **more)
            if answer.status_code != 503 or asyncio.get_running_loop().time() > deadline:
                break
            await asyncio.sleep(0.5)  # "not now": nothing was changed, and the key makes it once
        if answer.status_code not in expect:
            raise StoryError(f"{who}: {method} {path} answered {answer.status_code}: {answer.text[:800]}")
        return answer.json()

    async def until(self, what: str, true: Callable[[], Awaitable[Any]]) -> Any:
        """Wait for the loop to come round: facts travel, jobs run. Raises StoryError when it does not come."""
        deadline = asyncio.get_running_loop().time() + _PATIENCE_S
        while not (found := await true()):
            if asyncio.get_running_loop().time() > deadline:
                raise StoryError(f"waited {_PATIENCE_S:.0f} s for {what}")
            await asyncio.sleep(0.1)
        return found

    async def dossier(self, cr: str) -> Any:
        return await self.ask("auditor", "GET", f"/reviewer/v1/change-requests/{cr}/dossier", expect=(200, 404))

    async def until_stage(self, cr: str, *stages: str) -> Any:
        """The dossier once the CR stands there."""
        last: list[Any] = [None]

        async def there() -> Any:
            found = last[0] = await self.dossier(cr)
            return found if found.get("stage") in stages else None

        try:
            return await self.until(f"{cr} to be {' or '.join(stages)}", there)
        except StoryError as error:
            raise StoryError(f"{error}; it is {last[0].get('stage')}: {str(last[0].get('missing'))[:500]}") from None


def junit(suite: str, cases: Mapping[str, str], marks: Mapping[str, str] | None = None) -> bytes:
    """A small JUnit report: case name -> `passed` or `failed`; `marks`: case name -> regression case it proves."""
    rows = []
    for name, outcome in cases.items():
        inner = ""
        if marks and name in marks:
            inner += f'<properties><property name="daymark.case" value="{marks[name]}"/></properties>'
        if outcome == "failed":
            inner += '<failure message="not as expected">see the log</failure>'
        rows.append(f'<testcase classname="{suite}" name="{name}" time="0.8">{inner}</testcase>')
    failed = sum(outcome == "failed" for outcome in cases.values())
    return (
        f'<testsuites><testsuite name="{suite}" tests="{len(rows)}" failures="{failed}" errors="0" skipped="0">'
        f"{''.join(rows)}</testsuite></testsuites>"
    ).encode()


_REGRESSION = {
    f"test_{name}": "passed" for name in ("login", "order", "cancel", "refund", "search", "export", "limits")
}
_INTEGRATION = {f"test_{name}": "passed" for name in ("billing", "mail", "ledger", "partner_api")}


async def evidence(
    t: Teller, cr: str, commit: str, *, integration: bool = True, failing: str | None = None,
    reviewer: str | None = "erin", marks: Mapping[str, str] | None = None,
) -> None:  # fmt: skip
    """Tests by the pipeline, the code review by an engineer who is not the author."""
    run_at = (t.at - 20 * _MINUTE).isoformat()
    suites = {"regression": dict(_REGRESSION), "integration": dict(_INTEGRATION)}
    if failing:
        suites["integration"][failing] = "failed"
    for name in marks or {}:
        suites["regression"][name] = "passed"
    for kind, cases in suites.items():
        if kind == "integration" and not integration:
            continue
        await t.ask(
            "integration", "POST", f"/intake/v1/change-requests/{cr}/test-results", None,
            params={"suite_kind": kind, "commit": commit, "run_at": run_at},
            content=junit(kind, cases, marks), headers={"Content-Type": "application/xml"},
        )  # fmt: skip
    if reviewer:
        await t.ask(
            reviewer, "POST", f"/intake/v1/change-requests/{cr}/code-review",
            {"how": "review", "reviewed_at": (t.at - 90 * _MINUTE).isoformat(), "where": f"merge request for {commit}"},
        )  # fmt: skip


async def benchmark(t: Teller, cr: str, who: str = "olga", **more: Any) -> str:
    body = {"change_request": cr, "reason": "An ordinary day, no incident open.", **more}
    made = await t.ask(who, "POST", "/snapshotter/v1/snapshots", body)
    return str(made["id"])


async def drafted(t: Teller, cr: str) -> None:
    """Wait for the draft that a review begins with: operations looks at it before publishing."""

    async def is_there() -> bool:
        return any(fact["type"] == "benchmark.drafted.v1" for fact in (await t.dossier(cr)).get("facts", ()))

    await t.until(f"a draft for {cr}", is_there)


async def reviewed(t: Teller, cr: str, verdict: str = "ready", who: str = "olga", **more: Any) -> Any:
    """Operations looks at the dossier once all of it has arrived, and gives its input on exactly that."""

    async def complete() -> Any:
        found = await t.dossier(cr)
        codes = {reason["code"] for reason in found.get("missing", [])}
        return found if found.get("before") and not codes & {"benchmark_missing", "tests_missing"} else None

    dossier = await t.until(f"the evidence of {cr}", complete)
    for _ in range(20):  # a fact that arrives while operations reads makes the digest another: look again
        answer = await t.ask(
            who, "POST", "/reviewer/v1/reviews",
            {"cr_id": cr, "digest": dossier["digest"], "verdict": verdict, **more}, expect=(201, 409),
        )  # fmt: skip
        if "status" not in answer or answer["status"] != 409:
            return answer
        await asyncio.sleep(0.3)
        dossier = await t.dossier(cr)
    raise StoryError(f"the dossier of {cr} never stood still")


async def go(t: Teller, cr: str, who: str) -> None:
    """The PTASK engineer decides, once operations' input has come back round."""

    async def heard() -> Any:
        found = await t.dossier(cr)
        return found if found["before"]["reviews"] else None

    dossier = await t.until(f"operations' input on {cr}", heard)
    await t.ask(
        who, "POST", f"/reviewer/v1/change-requests/{cr}/go",
        {"decision": "go", "reason": "Evidence is complete, operations is ready.", "digest": dossier["digest"]},
    )  # fmt: skip


async def gate(t: Teller, cr: str, *, go: bool) -> Any:
    """What the deployer asks before it starts; waits for the answer that the story has earned."""

    async def answer() -> Any:
        found = await t.ask("integration", "GET", f"/reviewer/v1/gate/{cr}")
        return found if found["go"] is go else None

    return await t.until(f"the gate to say {'go' if go else 'no'} to {cr}", answer)


async def deployed(t: Teller, cr: str, product: str, change: str) -> None:
    """Three minutes after the gate said go."""
    await t.step(3 * _MINUTE)
    t.plant.deploy(product, change, t.at.timestamp())
    body = {"deployed_at": t.at.isoformat(), "deployer": "deploybot", "artifact": change}
    await t.ask("integration", "POST", f"/intake/v1/change-requests/{cr}/deployed", body)


async def register(
    t: Teller, product: str, release: str, change: str, title: str, starts: datetime | None = None, **more: Any
) -> str:
    """A change whose window of two hours starts at `starts`, or in two hours."""
    starts = starts or t.at + 2 * _HOUR
    body = {
        "product": product, "release": release, "source": "servicenow", "external_id": change, "title": title,
        "backout_plan": "Deploy the version before; no data migration.", "commit": more.pop("commit"),
        "planned_start": starts.isoformat(), "planned_end": (starts + 2 * _HOUR).isoformat(), **more,
    }  # fmt: skip
    return str((await t.ask("integration", "POST", "/intake/v1/change-requests", body))["id"])


async def plan(t: Teller, product: str, name: str, planned_at: datetime) -> str:
    body = {"product": product, "name": name, "planned_at": planned_at.isoformat()}
    return str((await t.ask("rita", "POST", "/intake/v1/releases", body))["id"])


async def tell(t: Teller) -> dict[str, str]:
    """The whole story; the names of its CRs. Ends when the instance's clock is the present."""
    began = t.at
    await t.move_to(began)
    t.say("four days ago: releases are planned, changes are registered by ServiceNow")
    starts = {"epl": began + 2 * _HOUR, "epl-x": began + 3 * _HOUR, "scp": began + 4 * _HOUR}
    epl = await plan(t, "epl", "2026.47", starts["epl"])
    epl_x = await plan(t, "epl-x", "2.8", starts["epl-x"])
    scp = await plan(t, "scp", "1.4", starts["scp"])
    following = {product: t.present + timedelta(days=n) for n, product in enumerate(starts, 1)}
    epl_next = await plan(t, "epl", "2026.48", following["epl"])
    epl_x_next = await plan(t, "epl-x", "2.9", following["epl-x"])
    scp_next = await plan(t, "scp", "1.5", following["scp"])
    steady = await register(
        t, "epl", epl, "EPL-7.31.0", "Faster order search", starts["epl"], author="erin", ptask="pia", commit="7c1f9e2",
        description="The search uses the new index; the old one is kept for a fortnight.",
    )  # fmt: skip
    moving = await register(
        t, "epl-x", epl_x, "EPLX-2.8.0", "Connection pool rewritten", starts["epl-x"],
        author="eli", ptask="paul", commit="b81d044",
        description="One pool a tenant instead of one for all.",
    )  # fmt: skip
    watched = await register(
        t, "scp", scp, "SCP-1.4.0", "Price import by stream", starts["scp"], author="erin", ptask="pia", commit="d02a7c5",
    )  # fmt: skip
    crs = {"steady": steady, "moving": moving, "watched": watched}

    t.say("  tests and code reviews come in; operations publishes the benchmarks")
    await t.step(20 * _MINUTE)
    await evidence(t, steady, "7c1f9e2", reviewer="eli")
    await evidence(t, moving, "b81d044", reviewer="erin")
    await evidence(t, watched, "d02a7c5", integration=False, reviewer=None)
    await gate(t, steady, go=False)
    for cr in (steady, moving):
        await drafted(t, cr)
    for cr in (steady, moving, watched):
        await benchmark(t, cr)
    t.say("  operations gives its input, the PTASK engineers decide go, the deployer asks the gate")
    for cr, ptask in ((steady, "pia"), (moving, "paul")):
        await reviewed(t, cr, comment="Evidence complete, an ordinary week.")
        await go(t, cr, ptask)
    for release in (epl, epl_x, scp):
        await t.ask("rita", "POST", f"/intake/v1/releases/{release}/freeze")

    await t.step(100 * _MINUTE)
    await gate(t, steady, go=True)
    await deployed(t, steady, "epl", "EPL-7.31.0")
    t.say(f"  {steady} (EPL) goes live")
    await t.step(_HOUR)
    await gate(t, moving, go=True)
    await deployed(t, moving, "epl-x", "EPLX-2.8.0")
    t.say(f"  {moving} (EPL-X) goes live")
    await t.step(_HOUR)
    await gate(t, watched, go=True)
    await deployed(t, watched, "scp", "SCP-1.4.0")
    t.say(f"  {watched} (SCP, observed only) goes live without operations' input; the page says so")
    await t.step(30 * _MINUTE)
    for cr in (steady, moving, watched):
        await t.until_stage(cr, "observing")

    t.say("a day later: the second look")
    await t.step(21 * _HOUR + 26 * _MINUTE)
    found = await t.until_stage(steady, "verified")
    t.say(f"  {steady}: {_verdict(found)}")
    await t.step(_HOUR + 3 * _MINUTE)  # as long as lay between the deploys: a minute short of it would be waited for
    found = await t.until_stage(moving, "deviating")
    t.say(f"  {moving}: {_verdict(found)}")

    investigation = await t.until("the investigation", lambda: _investigation(t, moving))
    await t.step(9 * _MINUTE)
    await t.ask("paul", "POST", f"/incidents/v1/investigations/{investigation}/acknowledge")
    await t.step(40 * _MINUTE)
    await t.ask(
        "eli", "POST", f"/incidents/v1/investigations/{investigation}/explain",
        {"explanation": "The pools of small tenants close idle connections at once, so each call pays a new handshake."},
    )  # fmt: skip
    await t.step(8 * _MINUTE)
    await t.ask(
        "paul", "POST", f"/incidents/v1/investigations/{investigation}/decide",
        {"decision": "rollback", "reason": "A mend needs two days; partners feel it now."},
    )  # fmt: skip
    t.say(f"  {investigation}: acknowledged after 9 min, explained, and decided: roll back")
    await t.step(13 * _MINUTE)
    found = await t.until_stage(watched, "deviating")
    t.say(f"  {watched}: {_verdict(found)}")
    kept = await t.until("the investigation", lambda: _investigation(t, watched))
    await t.ask("pia", "POST", f"/incidents/v1/investigations/{kept}/acknowledge")
    t.plant.roll_back("epl-x", t.at.timestamp())
    await t.ask(
        "integration", "POST", f"/intake/v1/change-requests/{moving}/rolled-back",
        {"rolled_back_at": t.at.isoformat(), "reason": f"{investigation}: rollback"},
    )  # fmt: skip
    await t.until_stage(moving, "recovering")
    await t.step(50 * _MINUTE)
    await t.ask(
        "erin", "POST", f"/incidents/v1/investigations/{kept}/explain",
        {"explanation": "Each job now checks its prices against the exchange; that call is the added time."},
    )  # fmt: skip
    await t.ask(
        "pia", "POST", f"/incidents/v1/investigations/{kept}/decide",
        {"decision": "keep", "reason": "Agreed with trading: correct prices are worth three seconds."},
    )  # fmt: skip
    await t.until_stage(watched, "kept")
    t.say(f"  {watched}: explained, and kept with a reason")
    await t.step(3 * _HOUR + 15 * _MINUTE)
    found = await t.until_stage(moving, "recovered")
    t.say(f"  {moving}: rolled back and recovered: {_verdict(found, 'recovery')}")
    for release in (epl, epl_x, scp):
        await t.ask("rita", "POST", f"/intake/v1/releases/{release}/close")
    cases = await t.until("the debt", lambda: _debt(t, epl_x_next))
    t.say(f"  {epl_x_next} owes {cases[0]['id']}: {cases[0]['title']}")

    t.say("today: the next releases are in review")
    await t.step(t.present - t.at - 3 * _HOUR)
    crs["next_epl"] = await register(
        t, "epl", epl_next, "EPL-7.32.0", "Invoices by mail in two languages", following["epl"],
        author="eli", ptask="pia", commit="4e9a1b0",
    )  # fmt: skip
    crs["next_epl_x"] = await register(
        t, "epl-x", epl_x_next, "EPLX-2.9.0", "Connection pool, second try", following["epl-x"],
        author="eli", ptask="paul", commit="c7713fd",
    )  # fmt: skip
    crs["next_scp"] = await register(
        t, "scp", scp_next, "SCP-1.5.0", "Currency rounding by rule book", following["scp"],
        author="erin", ptask="pia", commit="09fa3ce",
    )  # fmt: skip
    await t.step(_HOUR)
    await evidence(t, crs["next_epl"], "4e9a1b0", reviewer="erin")
    await evidence(t, crs["next_epl_x"], "c7713fd", failing="test_partner_api", reviewer="erin")
    await drafted(t, crs["next_epl"])
    await benchmark(t, crs["next_epl"])
    await reviewed(
        t, crs["next_epl"], "need_more", "omar", comment="One question before we say ready.",
        items=[{"id": "mail", "text": "Which mail gateway is used for the second language, and who watches it?"}],
    )  # fmt: skip
    await t.step(t.present - t.at)
    return crs


async def _investigation(t: Teller, cr: str) -> str | None:
    found = await t.ask("auditor", "GET", "/incidents/v1/investigations", params={"change_request": cr})
    return found["items"][0]["id"] if found["items"] else None


async def _debt(t: Teller, release: str) -> Any:
    found = await t.ask("auditor", "GET", "/incidents/v1/regression-cases", params={"release": release})
    return found["items"]


def _verdict(dossier: Any, kind: str = "after") -> str:
    """The newest verdict's own sentence."""
    for deployment in reversed(dossier["deployments"]):
        for observation in deployment["observations"]:
            if observation["kind"] == kind and observation.get("sentence"):
                return str(observation["sentence"])
    return "no verdict yet"


def present() -> datetime:
    """The real present, to whole seconds."""
    from shared.clock import wall

    return wall().astimezone(UTC).replace(microsecond=0)

"""What must stand on the record after whatever was done: who did it, under which policy, on which evidence, and why."""

from __future__ import annotations

import re
from importlib import import_module

import orjson

from shared.bus.kept import given_back
from shared.contracts import from_wire
from tests.servers.tables import Fetch

_DIGEST = re.compile(r"[0-9a-f]{64}")
_REQUEST = re.compile(r"[0-9a-f]{32}")  #: the id in X-Request-Id
#: Acts that rest on no evidence: what somebody says or asks for, and what is done because time has passed.
WITHOUT_EVIDENCE = frozenset(
    {
        "load_product", "put_product", "plan_release", "freeze_release", "close_release",
        "register_cr", "change_cr", "report_deployed", "report_rolled_back", "withdraw_cr", "record_code_review",
        "open_incident", "close_incident",
    }
)  # fmt: skip
#: These rest on the answer of a look, where it was an answer: that none came is found by no evidence.
OF_AN_ANSWER = frozenset(
    {
        "open_investigation", "acknowledge_investigation", "explain_investigation", "decide_investigation", "escalate",
    }
)  # fmt: skip


async def unaccounted(fetch: Fetch, *services: str) -> list[str]:
    """Every letter, and every audit row of what changed something, that leaves a question open; `services` are schemas.

    A cause is the id of an event, an Idempotency-Key, a request's id, `start`, or an appointment: job and subject.
    """
    open_questions: list[str] = []
    causes = {"start"}
    jobs: set[str] = set()
    letters = []
    for service in services:
        causes |= {row["id"] for row in await fetch(f"SELECT id FROM {service}.inbox")}
        jobs |= set(import_module(f"services.{service}.handlers").JOBS)
        sent = f"SELECT value, headers::text FROM {service}.outbox WHERE topic NOT LIKE 'daymark.dead.%' ORDER BY id"
        for row in await fetch(sent):
            event = from_wire(row["value"], given_back(orjson.loads(row["headers"])))
            assert event is not None
            letters.append(event)
    causes |= {event.id for event in letters}

    def is_cause(said: str | None) -> bool:
        return said is not None and (said in causes or said.partition(" ")[0] in jobs or bool(_REQUEST.fullmatch(said)))

    for event in letters:
        lacks = {
            "actor": not re.fullmatch(r".+\|.+", event.actor),
            "policy version": not event.policy_version,  # no type without: a product begins with its policy
            f"cause ({event.cause})": not is_cause(event.cause),
        }
        open_questions += [f"{event.type} {event.key}: no {name}" for name, is_open in lacks.items() if is_open]
    for service in services:
        rows = await fetch(
            f"SELECT *, detail ->> 'deviation' AS deviation FROM {service}.audit WHERE NOT refused"
            " AND NOT coalesce((detail ->> 'is_unchanged')::boolean, false) ORDER BY id"
        )
        for row in rows:
            action = row["action"]
            rests = row["deviation"] is not None if action in OF_AN_ANSWER else action not in WITHOUT_EVIDENCE
            lacks = {
                "actor": not re.fullmatch(r".+\|.+", row["actor"]),
                "action": action == "unnamed",
                "object": not row["object"],
                "revision": not row["revision"],
                "product": not row["product_id"],
                "policy version": not row["policy_version"],
                f"cause ({row['cause']})": not is_cause(row["cause"]),
                f"digests ({row['evidence']})": (rests and not row["evidence"])
                or not all(_DIGEST.fullmatch(one) for one in row["evidence"]),
            }
            open_questions += [
                f"{service} {action} {row['object']}: no {name}" for name, is_open in lacks.items() if is_open
            ]
    return open_questions

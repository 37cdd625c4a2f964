"""What a told story left behind, without what differs between two tellings of it: times, digests, event ids.

`normal` picks the essence of each dossier, `timeless` keeps the whole document but for what is of the moment.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

from deploy.local.story import Teller


async def normal(teller: Teller, crs: Mapping[str, str]) -> dict[str, Any]:
    """Role of a CR in the story -> its dossier as ids, stages, outcomes and reasons. Equal for equal stories."""
    return {role: _dossier(ranked(await teller.dossier(cr))) for role, cr in sorted(crs.items())}


def _dossier(found: Mapping[str, Any]) -> dict[str, Any]:
    before = found["before"]
    return {
        "cr": found["cr_id"],
        "product": found["product_id"],
        "release": found["release"]["release_id"] if found["release"] else None,
        "stage": found["stage"],
        "missing": sorted(reason["code"] for reason in found["missing"]),
        "policy": before["policy_version"],
        "tests": [(suite["kind"], suite["state"], suite["result_id"]) for suite in before["tests"]],
        "code_review": before["code_review"]["took_place"],
        "benchmark": (before["benchmark"]["state"], before["benchmark"]["snapshot_id"]),
        "debt": [(case["case_id"], case["state"], case["counts"], case["release_id"]) for case in before["debt"]],
        "reviews": [
            (
                review["review_id"],
                review["verdict"],
                review["by"],
                review["counts"],
                [item["id"] for item in review["items"]],
            )
            for review in before["reviews"]
        ],
        "go": before["go"] and (before["go"]["decision"], before["go"]["by"], before["go"]["counts"]),
        "deployments": [_deployment(one) for one in found["deployments"]],
        "incidents": [
            (one["incident_id"], one["title"], one["severity"], one["case_ids"]) for one in found["incidents"]
        ],
    }


def _deployment(one: Mapping[str, Any]) -> dict[str, Any]:
    gate = one["gate"]
    return {
        "deployment": (one["deployment"], one["revision"]),
        "gate": gate
        and (gate["go"], gate["is_ready"], gate["enforcement"], sorted(code for code, _ in gate["reasons"])),
        "flags": len(one["flags"]),
        "looks": [
            {
                "look": (look["kind"], look["revision"], look["state"], look["outcome"], look["superseded"] is None),
                "slis": {compared["sli"]: compared["outcome"] for compared in look["comparisons"]},
            }
            for look in one["observations"]
        ],
        "deviations": [(each["deviation_id"], each["sli"], each["severity"]) for each in one["deviations"]],
        "investigations": [
            (each["investigation_id"], each["deviation_id"], each["owner"], each["decision"], each["closed"])
            for each in one["investigations"]
        ],
    }


# -- whole documents ------------------------------------------------------------------------------------------------------

#: Times that the story says itself; all others are of a moment, and moments differ.
SAID = {"deployed_at", "rolled_back_at", "planned_at", "planned_start", "planned_end", "run_at", "reviewed_at"}
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|\+00:00| UTC)?")
_HASH = re.compile(r"\b[0-9a-f]{64}\b|\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
#: Facts of which there are as many as somebody asked, or looked again.
ASKED = {"gate.answered.v1", "review.requested.v1", "review.voided.v1"}
#: How often the story had to ask before, and how old what it saw was.
_ASKED = re.compile(r"\bstory-\d+\b|\b\d+ s old\b")
#: Which number a snapshot drew: drafts draw as well, and a transaction that runs again draws a second one.
_DRAWN = re.compile(r"\bSNAP-(\d+)\b")
_NUMBER = re.compile(r"(?<![\w-])\d+(\.\d+)?(?![\w-])")


def ranked(document: Any) -> Any:
    """A document whose snapshots are named by the order in which they were drawn: which is which stays, its number does not."""
    text = json.dumps(document)
    drawn = sorted({int(number) for number in _DRAWN.findall(text)})
    return json.loads(_DRAWN.sub(lambda found: f"SNAP-{drawn.index(int(found[1])) + 1}", text))


def timeless(value: Any, key: str = "") -> Any:
    """A document without what depends on the moment: other times, hashes over them, numbers read off shifted windows."""
    if isinstance(value, dict):
        return {name: timeless(each, name) for name, each in value.items() if name != "as_of"}
    if isinstance(value, list):
        rows = [timeless(each, key) for each in value]
        if key == "facts":
            told = [{**row, "sequence": 0} for row in rows if row["type"] not in ASKED]
            return sorted(told, key=repr)
        if key == "gate_answers":
            # Just after the clock has been stepped an answer may be stale as well: that is of the moment it was asked.
            fresh = [{**row, "reasons": [why for why in row["reasons"] if why[0] != "stale"]} for row in rows]
            told = [row for row in fresh if row["go"] or row["reasons"]]
            return [row for row, next_row in zip_longest(told, told[1:]) if row != next_row]
        return rows
    if isinstance(value, str):
        if key in SAID:
            return value
        if key == "answer_id":
            return "<id>"  # as many as were asked
        text = _ASKED.sub("<asked>", _HASH.sub("<hash>", _TIME.sub("<time>", value)))
        return _NUMBER.sub("<n>", text) if key == "sentence" else text
    if isinstance(value, float):
        return float(f"{value:.1g}")
    return value


def differences(one: Any, other: Any, at: str = "") -> list[str]:
    """Where two documents differ, a line on each place: a whole dossier in an error message says nothing."""
    if isinstance(one, dict) and isinstance(other, dict):
        names = sorted(one.keys() | other.keys())
        return [line for name in names for line in differences(one.get(name), other.get(name), f"{at}.{name}")]
    if isinstance(one, list) and isinstance(other, list):
        if len(one) != len(other):
            lone = [row for row in one if row not in other], [row for row in other if row not in one]
            return [f"{at}: {len(one)} rows and {len(other)}; alone: {str(lone)[:1500]}"]
        return [line for n, pair in enumerate(zip(one, other, strict=True)) for line in differences(*pair, f"{at}.{n}")]
    return [] if one == other else [f"{at}: {str(one)[:300]} and {str(other)[:300]}"]

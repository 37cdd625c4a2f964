"""What a told story left behind, without what differs between two tellings of it: times, digests, event ids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deploy.local.story import Teller


async def normal(teller: Teller, crs: Mapping[str, str]) -> dict[str, Any]:
    """Role of a CR in the story -> its dossier as ids, stages, outcomes and reasons. Equal for equal stories."""
    return {role: _dossier(await teller.dossier(cr)) for role, cr in sorted(crs.items())}


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

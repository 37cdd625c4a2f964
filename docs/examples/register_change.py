"""Register a change request as CI would, attach a test report, and ask the gate. Needs nothing but Python.

    export DAYMARK_URL=http://127.0.0.1:8080 DAYMARK_KEY=dmk_...
    python docs/examples/register_change.py CHG0041 4f2c9d1 [report.xml]

Safe to run again: the same change is the same CR, the same report is the same result. Exit code 0 when the gate says go,
3 when it says no, 1 when Daymark refused something.
"""

import json
import os
import sys
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

URL = urlsplit(os.environ.get("DAYMARK_URL", "http://127.0.0.1:8080"))
KEY = os.environ.get("DAYMARK_KEY", "")


class Refused(Exception):
    """What Daymark said, in its own words."""


def ask(method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[Any, dict[str, str]]:
    """(JSON of the answer, its headers). Raises Refused with the problem's sentence."""
    connection = (HTTPSConnection if URL.scheme == "https" else HTTPConnection)(URL.netloc, timeout=30)
    sent = {"Authorization": f"Bearer {KEY}", **{name.replace("_", "-"): value for name, value in headers.items()}}
    connection.request(method, path, body, sent)
    answer = connection.getresponse()
    document = json.loads(answer.read())
    if answer.status >= 400:
        # 409 busy and 503 come with Retry-After: the same request, with the same Idempotency-Key, may be sent again.
        raise Refused(f"{answer.status} {document['type']}: {document['detail']}")
    return document, {name.lower(): value for name, value in answer.getheaders()}


def main(change: str, commit: str, report: str | None = None) -> int:
    registered, headers = ask(
        "POST",
        "/intake/v1/change-requests",
        json.dumps(
            {
                "product": "epl",
                "source": "example-ci",
                "external_id": change,
                "title": f"Change {change}",
                "author": "erin",
                "ptask": "pia",
                "commit": commit,
                "backout_plan": "Deploy the version before.",
            }
        ).encode(),
        Content_Type="application/json",
        Idempotency_Key=f"register-{change}-{commit}",
    )
    cr, heard = registered["id"], headers.get("daymark-events", "")
    print(f"{change} is {cr}")

    if report:
        about = {"suite_kind": "regression", "commit": commit, "run_at": _ran_at(report)}
        path = f"/intake/v1/change-requests/{cr}/test-results?{urlencode(about)}"
        result, headers = ask("POST", path, Path(report).read_bytes(), Content_Type="application/xml")
        heard = headers.get("daymark-events", heard)
        print(f"{result['id']}: {result['outcome']}, {result['passed']} of {result['total']} passed")

    # `heard` waits, a few seconds at most, until the gate knows what was just said.
    wait = f"?heard={quote(heard)}" if heard else ""
    gate, _ = ask("GET", f"/reviewer/v1/gate/{cr}{wait}")
    print("go" if gate["go"] else "no")
    for reason in gate["reasons"]:
        print(f"  {reason['code']}: {reason['sentence']}")
    return 0 if gate["go"] else 3


def _ran_at(report: str) -> str:
    return datetime.fromtimestamp(Path(report).stat().st_mtime, UTC).isoformat()


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4) or not KEY:
        sys.exit(__doc__)
    try:
        sys.exit(main(*sys.argv[1:]))
    except Refused as refusal:
        print(refusal, file=sys.stderr)
        sys.exit(1)

"""Reads one report from stdin under limits and writes it to stdout as JSON: the process behind `read_in_worker`.

By hand: `python -m services.intake.reports application/xml < report.xml`
"""

from __future__ import annotations

import json
import resource
import sys

from services.intake.reports import MOST_BYTES, read_report, to_json
from shared.errors import DaymarkError

MEMORY_BYTES = 512 * 2**20
CPU_S = 10


def main(content_type: str) -> None:
    """Exit code 0 with `{"report": ...}` or `{"refused": sentence}`; any other exit means that a limit was reached."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S + 1))
    try:
        answer: dict[str, object] = {
            "report": to_json(read_report(sys.stdin.buffer.read(MOST_BYTES + 1), content_type))
        }
    except DaymarkError as refusal:
        answer = {"refused": str(refusal)}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "application/xml")

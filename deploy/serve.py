"""One service in its own process, as production runs it: `python -m deploy.serve intake`.

The same as `uvicorn services.intake.app:app`, with the patience of `shared.doors.server` and our log lines. Settings come
from the environment (`shared/settings.py`); here only where it listens:

    DAYMARK_HOST       127.0.0.1   (0.0.0.0 in the image: the container is the border)
    DAYMARK_PORT       8080
    DAYMARK_LOG_LEVEL  INFO
"""

from __future__ import annotations

import os
import sys

import uvicorn

from shared.doors.server import uvicorn_settings
from shared.settings import SERVICES
from shared.telemetry import configure_logs


def main() -> None:
    """Serve until SIGTERM or SIGINT; the exit code is uvicorn's, 2 for a service that there is not."""
    if len(sys.argv) != 2 or sys.argv[1] not in SERVICES:
        print(f"usage: python -m deploy.serve {'|'.join(SERVICES)}", file=sys.stderr)
        raise SystemExit(2)
    configure_logs(level=os.environ.get("DAYMARK_LOG_LEVEL", "INFO"))
    uvicorn.run(
        f"services.{sys.argv[1]}.app:app",
        host=os.environ.get("DAYMARK_HOST", "127.0.0.1"),
        port=int(os.environ.get("DAYMARK_PORT", "8080")),
        **uvicorn_settings(),
    )


if __name__ == "__main__":
    main()

"""Whether the service in this container is ready, as an exit code: `python -m deploy.healthy intake`. Needs no curl."""

from __future__ import annotations

import os
import sys
from urllib.error import URLError
from urllib.request import urlopen


def main() -> None:
    """0 when `/readyz` says 200, 1 otherwise."""
    port = os.environ.get("DAYMARK_PORT", "8080")
    try:
        with urlopen(f"http://127.0.0.1:{port}/{sys.argv[1]}/readyz", timeout=4):
            pass
    except (URLError, OSError) as error:
        raise SystemExit(f"not ready: {error}") from None


if __name__ == "__main__":
    main()

"""The HTTP doors of the snapshotter: parse, call one handler, answer."""

from services.snapshotter import handlers
from services.snapshotter.api import benchmarks, checks, judged, snapshots, uploads

#: One router per room, each with the prefix and tags of its own.
routers = [snapshots.router, benchmarks.router, uploads.router, judged.router, checks.router]

#: Paths whose bodies may be larger than elsewhere.
UPLOADS = {uploads.PATH: handlers.MOST_BYTES}

__all__ = ["UPLOADS", "routers"]

"""The HTTP doors of the snapshotter: parse, call one handler, answer."""

from services.snapshotter.api import benchmarks, judged, snapshots

#: One router per room, each with the prefix and tags of its own.
routers = [snapshots.router, benchmarks.router, judged.router]

__all__ = ["routers"]

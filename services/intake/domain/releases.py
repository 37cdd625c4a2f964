"""A release: a product's next set of CRs, planned, frozen, closed."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from shared.contracts import Fact, ReleaseClosed, ReleaseFrozen, ReleasePlanned
from shared.errors import Conflict, Invalid

ReleaseState = Literal["planned", "frozen", "closed"]

#: (state, what happens) -> state. A release is never opened again: plan the next one.
RELEASE_MOVES: dict[tuple[ReleaseState, str], ReleaseState] = {
    ("planned", "freeze"): "frozen",
    ("planned", "close"): "closed",
    ("frozen", "close"): "closed",
}


@dataclass(frozen=True, slots=True)
class Release:
    """`version` is raised by every fact about it."""

    id: str
    product_id: str
    name: str
    planned_at: datetime
    state: ReleaseState
    version: int
    created_at: datetime
    frozen_at: datetime | None = None
    closed_at: datetime | None = None


def slug(product_id: str, name: str) -> str:
    """`epl-2026.12` of product `epl` and name `2026.12`. Raises Invalid when nothing of the name can stand in a path."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().casefold()
    text = re.sub(r"[^a-z0-9.]+", "-", plain).strip("-.")[:80].strip("-.")
    if not text:
        raise Invalid(
            "A release's name needs a letter or a digit.", fields=[{"path": "body.name", "message": "no slug"}]
        )
    return f"{product_id}-{text}"


def plan(product_id: str, name: str, planned_at: datetime, now: datetime) -> tuple[Release, list[Fact]]:
    """A new release and what is said of it."""
    release = Release(slug(product_id, name), product_id, name, planned_at, "planned", 1, now)
    return release, [_said(ReleasePlanned, release, now)]


def freeze(release: Release, now: datetime) -> tuple[Release, list[Fact]]:
    """From now on only a release manager changes what is in it. Frozen already: nothing new. Raises Conflict when closed."""
    if release.state == "frozen":
        return release, []
    frozen = replace(release, state=_moved(release, "freeze"), version=release.version + 1, frozen_at=now)
    return frozen, [_said(ReleaseFrozen, frozen, now)]


def close(release: Release, now: datetime) -> tuple[Release, list[Fact]]:
    """Nothing enters or leaves it any more. Closed already: nothing new."""
    if release.state == "closed":
        return release, []
    closed = replace(release, state=_moved(release, "close"), version=release.version + 1, closed_at=now)
    return closed, [_said(ReleaseClosed, closed, now)]


def schedulable(release: Release | None, release_id: str, product_id: str, roles: Collection[str]) -> None:
    """Return when a CR of the product may be put into, or taken out of, this release by somebody with these roles.

    Raises Invalid when there is no such release of the product, Conflict when it is closed, or frozen for all but a
    release manager.
    """
    if release is None or release.product_id != product_id:
        raise Invalid(
            f"There is no release {release_id} of {product_id}.",
            fields=[{"path": "body.release", "message": "is not a release of this product"}],
        )
    if release.state == "closed":
        raise Conflict(f"Release {release.id} is closed.")
    if release.state == "frozen" and "release_manager" not in roles:
        raise Conflict(f"Release {release.id} is frozen: only a release manager changes what is in it.")


def _moved(release: Release, what: str) -> ReleaseState:
    to = RELEASE_MOVES.get((release.state, what))
    if to is None:
        raise Conflict(f"Release {release.id} is {release.state}; it cannot {what}.")
    return to


def _said(
    fact: type[ReleasePlanned] | type[ReleaseFrozen] | type[ReleaseClosed], release: Release, now: datetime
) -> Fact:
    return fact(
        release_id=release.id,
        product_id=release.product_id,
        name=release.name,
        planned_at=release.planned_at,
        at=now,
    )

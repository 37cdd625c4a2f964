"""Days that are kept for calibration, their pairs with a score, and what disturbed them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

from sqlalchemy import or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from services.snapshotter.domain import DayPair, Disturbance
from services.snapshotter.store.tables import day_pairs, deployments, incidents, snapshots
from shared.db import Tx


async def kept_days(tx: Tx, product_id: str, since: datetime) -> dict[datetime, str]:
    """Start of a day -> its snapshot, of the product's days that are kept and began at `since` or later."""
    c = snapshots.c
    found = select(c.window_start, c.id).where(c.product_id == product_id, c.kind == "day", c.window_start >= since)
    return {row.window_start: row.id for row in await tx.all(found.order_by(c.number))}


async def pairs_of(tx: Tx, product_id: str, since: datetime, by: datetime) -> list[DayPair]:
    """The product's scored pairs of days from `since` on that were over at `by`, oldest first."""
    c = day_pairs.c
    names = ("day", "score", "alarms_anyway", "earlier_days", "policy_version", "judge_version")
    found = select(*(c[name] for name in names)).where(c.product_id == product_id, c.day >= since, c.ends_at <= by)
    return [DayPair(**row._mapping) for row in await tx.all(found.order_by(c.day))]


async def save_pairs(tx: Tx, product_id: str, pairs: Sequence[DayPair]) -> None:
    """Write scored pairs; a pair that was scored by an older judge or under an older policy is scored anew."""
    rows = [{"product_id": product_id, "ends_at": pair.ends_at, **asdict(pair)} for pair in pairs]
    if rows:
        new = upsert(day_pairs)
        again = {name: new.excluded[name] for name in rows[0] if name not in ("product_id", "day")}
        await tx.execute(new.on_conflict_do_update(index_elements=["product_id", "day"], set_=again), rows)


async def disturbances(tx: Tx, product_id: str, since: datetime) -> list[Disturbance]:
    """What was deployed, rolled back or went wrong in the product after `since`."""
    d, i = deployments.c, incidents.c
    changes = select(d.cr_id, d.deployed_at, d.rolled_back_at).where(
        d.product_id == product_id, or_(d.deployed_at >= since, d.rolled_back_at >= since)
    )
    found: list[Disturbance] = []
    for row in await tx.all(changes.order_by(d.deployed_at, d.cr_id)):
        if row.deployed_at is not None:
            found.append(Disturbance(f"{row.cr_id} was deployed", row.deployed_at, row.deployed_at))
        if row.rolled_back_at is not None:
            found.append(Disturbance(f"{row.cr_id} was rolled back", row.rolled_back_at, row.rolled_back_at))
    wrong = select(incidents).where(i.product_id == product_id, or_(i.closed_at.is_(None), i.closed_at >= since))
    for row in await tx.all(wrong.order_by(i.opened_at)):
        found.append(Disturbance(f"{row.incident_id} was open", row.opened_at, row.closed_at))
    return found


async def open_incident(tx: Tx, incident_id: str, product_id: str, opened_at: datetime) -> None:
    row = {"incident_id": incident_id, "product_id": product_id, "opened_at": opened_at}
    await tx.execute(upsert(incidents).values(row).on_conflict_do_nothing())


async def close_incident(tx: Tx, incident_id: str, closed_at: datetime) -> None:
    """One that never disturbed, and so is not known here, stays unknown."""
    await tx.execute(update(incidents).where(incidents.c.incident_id == incident_id).values(closed_at=closed_at))

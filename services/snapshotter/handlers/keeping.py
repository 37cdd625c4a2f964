"""Where samples lie: uploaded before a transaction, fetched after one, and gone when their time has come."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta

from services.snapshotter import store
from services.snapshotter.handlers.deps import Deps
from services.snapshotter.samples import LARGE, BucketError, Bundle, Place
from shared.db import Appointment
from shared.errors import Unavailable

#: An upload that no transaction has claimed by then is nobody's: the try that made it is long over.
UNCLAIMED = timedelta(days=2)


async def uploaded(deps: Deps, made: Bundle) -> Bundle:
    """`made`, in the object store when it is large and there is one. Call it before the transaction that keeps it.

    Raises Unavailable when the object store fails.
    """
    if deps.bucket is None or len(made.data) < LARGE:
        return made
    async with deps.db.house() as tx:
        await store.announce_payload(tx, made, deps.bucket.key_of(made))
        tx.schedule(expire_samples, made.hash, tx.now + UNCLAIMED)
    try:
        return await deps.bucket.put(made)
    except BucketError as error:
        raise Unavailable(f"The samples cannot be kept: {error}.") from error


async def fetched(deps: Deps, places: Iterable[Place]) -> dict[Place, bytes | None]:
    """The packed bytes at each place, and no others; None where they have expired. Call it outside of transactions.

    Raises Unavailable when the object store fails.
    """
    wanted: dict[str, list[Place]] = {}
    for place in dict.fromkeys(places):
        wanted.setdefault(place.payload, []).append(place)
    found: dict[Place, bytes | None] = {place: None for parts in wanted.values() for place in parts}
    objects: list[tuple[str, list[Place]]] = []
    async with deps.db.house() as tx:
        for payload in (await store.payloads_at(tx, wanted)).values():
            parts = wanted[payload.hash]
            if payload.key is not None:
                objects.append((payload.key, parts))
            elif payload.expired_at is None:
                found |= zip(parts, await store.parts_of(tx, payload, parts), strict=True)
    for key, parts in objects:
        if deps.bucket is None:
            raise Unavailable(
                "These samples lie in an object store, and none is configured here (DAYMARK_SAMPLES_URL)."
            )
        try:
            found |= zip(parts, await deps.bucket.read(key, parts), strict=True)
        except BucketError as error:
            raise Unavailable(f"The samples cannot be read: {error}.", retry_after_s=5) from error
    return found


async def with_samples(deps: Deps, kept: Sequence[store.KeptSeries]) -> list[store.KeptSeries]:
    """The same series with their packed samples. Raises Unavailable as `fetched`."""
    found = await fetched(deps, [one.place for one in kept if one.place is not None])
    return [one if one.place is None else replace(one, packed=found[one.place]) for one in kept]


async def expire_samples(deps: Deps, appointment: Appointment) -> None:
    """Remove a payload whose time has come, or one that was uploaded and never claimed; subject: its hash.

    Roll-ups and every number of a verdict stay. The object is removed under the row's lock, in the transaction: nobody
    may upload or claim it between the look at the row and its removal.
    """
    async with deps.db.tx(appointment) as tx:
        payload = await store.locked_payload(tx, appointment.subject)
        if payload is None or payload.expired_at is not None:
            return
        if payload.kept_until is not None and payload.kept_until > tx.now:
            tx.schedule(expire_samples, payload.hash, payload.kept_until)
            return
        if payload.key is not None:
            if deps.bucket is None:
                raise Unavailable("The object store of these samples is not configured here (DAYMARK_SAMPLES_URL).")
            try:
                await deps.bucket.delete(payload.key)
            except BucketError as error:
                raise Unavailable(f"The samples cannot be removed: {error}.") from error
        await store.expire_payload(tx, payload)

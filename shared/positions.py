"""Positions: how far a service has heard each partition, in its own database, so that an effect and its position cannot part.

A position carries a generation (raised whenever the partition changes hands, which fences whoever held it) and the types
of facts that were heard below it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from shared.bus import TP, Claim
from shared.db import Database, Tx
from shared.db.database import translated


class Fenced(Exception):
    """Another member owns a partition of this batch by now: nothing of it may take effect here."""


async def claim(db: Database, partitions: set[TP], types: Mapping[str, Sequence[str]]) -> Mapping[TP, Claim]:
    """Positions of newly assigned partitions, their generations raised. `types`: topic -> what the claimer hears on it.

    Where the hearer before did not know one of these types (an older version of the service, or this one before the type
    stood in its `ON`), the claim is for the start of the partition: the inbox passes over what was heard, and the new
    type's history is heard once. Raises Unavailable.
    """
    ordered = sorted(partitions)
    try:
        async with db.connection() as (_, raw):
            rows = await raw.fetch(
                "INSERT INTO positions AS p (topic, partition, next_offset, generation, types)"
                " SELECT t, n, NULL, 1, string_to_array(y, ' ')"
                " FROM unnest($1::text[], $2::int4[], $3::text[]) AS u(t, n, y)"
                " ON CONFLICT (topic, partition) DO UPDATE SET generation = p.generation + 1, types = excluded.types,"
                " next_offset = CASE WHEN excluded.types <@ p.types THEN p.next_offset END"
                " RETURNING topic, partition, next_offset, generation",
                [tp.topic for tp in ordered],
                [tp.partition for tp in ordered],
                [" ".join(sorted(types.get(tp.topic, ()))) for tp in ordered],
            )
    except Exception as error:
        raise translated(error) from error
    return {TP(row["topic"], row["partition"]): Claim(row["next_offset"], row["generation"]) for row in rows}


async def advance(tx: Tx, reached: Mapping[TP, int], generations: Mapping[TP, int]) -> None:
    """Move the positions, if they are still ours to move. Raises Fenced."""
    tps = sorted(reached)
    moved = await tx.raw.execute(
        "UPDATE positions p SET next_offset = greatest(u.o, p.next_offset)"
        " FROM unnest($1::text[], $2::int4[], $3::int8[], $4::int8[]) AS u(t, n, o, g)"
        " WHERE p.topic = u.t AND p.partition = u.n AND p.generation = u.g",
        [tp.topic for tp in tps],
        [tp.partition for tp in tps],
        [reached[tp] for tp in tps],
        [generations.get(tp, -1) for tp in tps],
    )
    if moved != f"UPDATE {len(tps)}":
        raise Fenced


async def forget(db: Database, topics: Collection[str]) -> bool:
    """Begin these topics again from the start; whether there was anything to forget."""
    async with db.connection() as (_, raw):
        forgotten = await raw.execute(
            "UPDATE positions SET next_offset = NULL WHERE topic = ANY($1::text[]) AND next_offset IS NOT NULL",
            list(topics),
        )
    return bool(forgotten != "UPDATE 0")

"""How samples are kept: a hash over what they *are* (content), bytes for one series (packing), many series as one payload
that lies in the database or in an object store (bundles, objects).

To store series of any kind, of a snapshot or of earlier days:

    made = await asyncio.to_thread(bundle, arrays)            one payload; made.places[i] says where arrays[i] lies in it
    made = await keeping.uploaded(deps, made)                 before the transaction: to the object store, if it is large
    await store.save_payload(tx, made, kept_until=...)        in the transaction; keep `places` in your own row, as you like
    found = await keeping.fetched(deps, places)               later, outside of any transaction: place -> packed bytes
    values = unpack(found[place], steps)                      None instead of bytes: expired, only roll-ups remain

Any number of rows may hold places of one payload: it lies there until the latest `kept_until` that was said for it.
"""

from services.snapshotter.samples.bundles import LARGE, Bundle, Place, bundle
from services.snapshotter.samples.content import Sampled, content_hash
from services.snapshotter.samples.objects import Bucket, BucketError, open_bucket
from services.snapshotter.samples.packing import pack, unpack
from services.snapshotter.samples.rollups import RANKS, roll_up, steps_an_hour

__all__ = [
    "LARGE",
    "RANKS",
    "Bucket",
    "BucketError",
    "Bundle",
    "Place",
    "Sampled",
    "bundle",
    "content_hash",
    "open_bucket",
    "pack",
    "roll_up",
    "steps_an_hour",
    "unpack",
]

"""Payloads as objects in a bucket or a folder, through obstore: S3, Google Cloud, Azure, or `file://`.

Credentials come from where the process runs (environment, instance role), never from a request or a policy.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from services.snapshotter.samples.bundles import Bundle, Place

if TYPE_CHECKING:
    from obstore.store import ObjectStore

T = TypeVar("T")
SCHEMES = ("s3", "gs", "az", "file")
#: For one object, whatever its client tries again by itself; less than what an idle transaction is given.
_PATIENCE_S = 10.0


class BucketError(Exception):
    """The object store does not do what it is asked; the message holds no credential."""


class Bucket:
    """One bucket or folder, below one prefix. Every call raises BucketError when it cannot be done in time."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    @staticmethod
    def key_of(bundle: Bundle) -> str:
        """Named by hash, so that a repeat writes the same bytes to the same name."""
        return f"samples/{bundle.hash[:2]}/{bundle.hash}"

    async def put(self, bundle: Bundle) -> Bundle:
        """Upload; the bundle with its key."""
        import obstore

        key = self.key_of(bundle)
        await _done(obstore.put_async(self._store, key, bundle.data))
        return bundle.uploaded(key)

    async def read(self, key: str, places: Sequence[Place]) -> list[bytes]:
        """The bytes of these series, and hardly more than these: neighbours are read together."""
        import obstore

        asked = obstore.get_ranges_async(
            self._store, key, starts=[each.first for each in places], lengths=[each.length for each in places]
        )
        return [bytes(part) for part in await _done(asked)]

    async def delete(self, key: str) -> None:
        """Delete; one that is gone already is fine."""
        import obstore

        try:
            await _done(obstore.delete_async(self._store, key))
        except BucketError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise


def open_bucket(url: str) -> Bucket:
    """The bucket at `s3://bucket/prefix`, `gs://`, `az://` or `file:///folder` (made when it is not there).

    Raises ValueError for another address, or when the extra `objectstore` is not installed.
    """
    scheme = urlsplit(url).scheme
    if scheme not in SCHEMES:
        raise ValueError(f"DAYMARK_SAMPLES_URL must begin with one of {', '.join(f'{each}://' for each in SCHEMES)}")
    try:
        from obstore.store import LocalStore, from_url
    except ImportError:
        raise ValueError(
            "DAYMARK_SAMPLES_URL needs the extra `objectstore`: pip install 'daymark[objectstore]'"
        ) from None
    if scheme == "file":
        return Bucket(LocalStore(urlsplit(url).path, mkdir=True))
    try:
        return Bucket(from_url(url))  # options of its client given here would displace those of the environment
    except Exception as error:
        raise ValueError(f"DAYMARK_SAMPLES_URL cannot be used ({type(error).__name__})") from None


async def _done(work: Awaitable[T]) -> T:
    try:
        return await asyncio.wait_for(work, _PATIENCE_S)
    except TimeoutError as error:
        raise BucketError(f"the object store did not answer within {_PATIENCE_S:g} s") from error
    except Exception as error:
        raise BucketError(f"the object store {_words(error)}") from error


def _words(error: Exception) -> str:
    """What to do about it. The error's own text names addresses, and may hold signed ones: none of it is told on."""
    text, kind = str(error), type(error).__name__
    status = re.search(r"status code: (\d{3})", text)
    if kind in ("PermissionDeniedError", "UnauthenticatedError") or (status and status[1] in ("401", "403")):
        return "does not accept our credentials, or they may not do this"
    if isinstance(error, FileNotFoundError):
        return "has no such object, or no such bucket"
    if "builder error" in text:
        return "has an address that is not https, and nothing allows that (AWS_ALLOW_HTTP, AZURE_ALLOW_HTTP)"
    if status:
        return f"fails: it answers with status {status[1]}"
    return "cannot be reached" if "error sending request" in text else f"fails ({kind})"

"""Readings that come as a file: taken at once, read by a job that says how far it is, all of it or none."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from services.snapshotter import domain, store
from services.snapshotter.commands import ProblemView, TakeUpload, UploadView
from services.snapshotter.domain import DAY, Provenance, Window
from services.snapshotter.handlers.benchmarks import Plan, kept_as, planned
from services.snapshotter.handlers.capture import Captured, prepared
from services.snapshotter.handlers.deps import Deps
from services.snapshotter.handlers.health import earlier_days, health
from services.snapshotter.sources import Missing, Reading, Series, steps
from services.snapshotter.uploads import MOST_BYTES, Collected, collect, formats, named_source
from shared import policies
from shared.access import Call, person
from shared.answers import Answer
from shared.contracts import Policy
from shared.db import Appointment, Tx
from shared.errors import Invalid, NotFound, TooLarge, UnsupportedMedia
from shared.jsons import dumps

_TELL_EVERY_S = 0.5
_HISTORY_DEADLINE_S = 120.0
_NOT_IN_FILE = "not in the file that was uploaded"


class _Left(Exception):
    """Nobody waits for this file any more: the service ends."""


async def take_upload(deps: Deps, call: Call, command: TakeUpload, media: str, raw: bytes) -> Answer:
    """Keep a file to be read. Raises Forbidden, NotFound, Conflict, Invalid, TooLarge, UnsupportedMedia, Repeated."""
    format = command.format or _format_of(media)
    if len(raw) > MOST_BYTES:
        raise TooLarge(f"A file of readings has at most {MOST_BYTES} bytes.")
    async with deps.db.tx(call) as tx:
        plan = await planned(tx, command.change_request, command.product, "upload_readings")
        window = _window(command.window_end, plan, tx.now)
        if not raw:
            raise Invalid("The file is empty.", fields=[{"path": "body", "message": "is empty"}])
        digest = await asyncio.to_thread(lambda: hashlib.sha256(raw).hexdigest())
        sent = store.Upload(
            number=await store.next_upload(tx),
            product_id=plan.product_id,
            cr_id=plan.cr.id if plan.cr else None,
            format=format,
            reason=command.reason,
            window_end=window.end,
            bytes=len(raw),
            sha256=digest,
            uploaded_at=tx.now,
            uploaded_by=person(tx.actor),
        )
        await store.insert_upload(tx, sent, raw)
        tx.schedule(read_upload, sent.id)
        tx.audit(
            sent.id,
            revision=1,
            evidence=[digest],
            policy_version=plan.policy_version,
            subject=sent.cr_id or sent.product_id,
            format=format,
            bytes=len(raw),
            reason=command.reason,
        )
        return tx.answer(202, _view(sent), Location=f"/snapshotter/v1/uploads/{sent.id}")


async def see_upload(deps: Deps, call: Call, upload_id: str) -> Answer:
    """How far it is, and what was wrong with it. Raises NotFound."""
    async with deps.db.read(call) as tx:
        sent = await store.upload(tx, int(upload_id.removeprefix("UP-")))
        if sent is None or tx.caller is None or not tx.caller.roles(sent.product_id):
            raise NotFound(f"There is no upload {upload_id} here.")
        return Answer(200, dumps(_view(sent)))


async def read_upload(deps: Deps, appointment: Appointment) -> None:
    """Read a file and make a draft of it, or say what is wrong with it; subject: the upload."""
    number = int(appointment.subject.removeprefix("UP-"))
    async with deps.db.house() as tx:
        sent = await store.upload(tx, number)
        raw = await store.uploaded_bytes(tx, number)
        found = await policies.latest(tx, sent.product_id) if sent else None
    if sent is None or raw is None or found is None:
        async with deps.db.tx(appointment):
            return  # it was read already
    version, policy = found
    window = Window(sent.window_end - DAY, sent.window_end, policy.observation.step_s)
    async with deps.reading:
        read = await _read(deps, sent, raw, policy, window)
    if read.problems_total:
        async with deps.db.tx(appointment) as tx:
            await _end(tx, sent, read, version, "refused", None)
        return
    captured = _captured(policy, window, read, sent.format)
    there = [sli for sli in policy.slis if sli.id in read.values]
    earlier = await earlier_days(deps, policy, there, window, _HISTORY_DEADLINE_S)
    kept = await prepared(deps, captured)
    judged = await deps.workers.run(health, policy, captured, earlier)
    async with deps.db.tx(appointment) as tx:
        cr = await store.change_request(tx, sent.cr_id) if sent.cr_id else None
        plan = Plan(sent.product_id, cr, version, policy, window)
        made = Provenance("", "uploaded", health=judged)
        snapshot_id = await store.next_id(tx)
        await kept_as(tx, "draft", plan, captured, kept, made, judged, sent.reason, by=sent.uploaded_by, id=snapshot_id)
        await _end(tx, sent, read, version, "drafted", snapshot_id)


async def _read(deps: Deps, sent: store.Upload, raw: bytes, policy: Policy, window: Window) -> Collected:
    """Everything in the file, in a thread; how far it is is said twice a second."""
    so_far, is_left = [0], [False]

    def told(samples: int) -> None:
        so_far[0] = samples
        if is_left[0]:
            raise _Left

    reading = asyncio.ensure_future(asyncio.to_thread(_collected, sent.format, raw, policy, window, told))
    try:
        while not (await asyncio.wait([reading], timeout=_TELL_EVERY_S))[0]:
            await store.say_progress(deps.db, sent.number, so_far[0])
        return reading.result()
    finally:
        is_left[0] = True  # a thread cannot be stopped, but it asks; the next file waits until it has ended
        await asyncio.wait([reading])


def _collected(format: str, raw: bytes, policy: Policy, window: Window, told: Callable[[int], None]) -> Collected:
    return collect(
        formats()[format].read(raw),
        [sli.id for sli in policy.slis],
        start_s=window.start.timestamp(),
        step_s=window.step_s,
        steps=steps(window.start.timestamp(), window.end.timestamp(), window.step_s),
        told=told,
    )


def _captured(policy: Policy, window: Window, read: Collected, format: str) -> Captured:
    readings: list[Reading] = [
        Series(read.values[sli.id]) if sli.id in read.values else Missing(_NOT_IN_FILE) for sli in policy.slis
    ]
    origin = named_source(format)
    slis = tuple(sli.model_copy(update={"source": origin}) for sli in policy.slis)
    return Captured(window, slis, tuple(readings))


async def _end(
    tx: Tx, sent: store.Upload, read: Collected, policy_version: str, state: str, snapshot_id: str | None
) -> None:
    problems = tuple({"where": each.where, "reason": each.reason} for each in read.problems)
    ended = replace(
        sent,
        state=state,
        samples=read.samples,
        problems=problems,
        problems_total=read.problems_total,
        snapshot_id=snapshot_id,
        read_at=tx.now,
    )
    await store.end_upload(tx, ended)
    tx.audit(
        sent.id,
        action="read_upload",
        revision=2,  # it is read once, and then stays as it is
        product=sent.product_id,
        evidence=[sent.sha256],
        policy_version=policy_version,
        subject=sent.cr_id or sent.product_id,
        state=state,
        samples=read.samples,
        problems=read.problems_total,
    )


def _format_of(media: str) -> str:
    kind = media.partition(";")[0].strip().lower()
    found = [name for name, reader in formats().items() if kind in reader.MEDIA]
    if not found:
        named = ", ".join(media for reader in formats().values() for media in reader.MEDIA)
        raise UnsupportedMedia(f"A file of readings is one of {named}; or say `format`.")
    return found[0]


def _window(end: datetime | None, plan: Plan, now: datetime) -> Window:
    """The 24 hours that a file speaks of. Raises Invalid when they are not over, too old, or off the policy's steps."""
    latest = domain.benchmark_window(now, plan.window.step_s)
    if end is None:
        return latest
    reason = None
    if end > latest.end:
        reason = "the 24 hours must be over"
    elif now - end > DAY * 90:
        reason = "is more than 90 days ago"
    elif end != datetime.fromtimestamp(end.timestamp() // plan.window.step_s * plan.window.step_s, UTC):
        reason = f"does not lie on a step of {plan.window.step_s} s"
    if reason is not None:
        raise Invalid("The window cannot be taken.", fields=[{"path": "query.window_end", "message": reason}])
    return Window(end - DAY, end, plan.window.step_s)


def _view(sent: store.Upload) -> UploadView:
    return UploadView.model_validate(
        {
            "id": sent.id,
            "product": sent.product_id,
            "change_request": sent.cr_id,
            "state": sent.state,
            "format": sent.format,
            "bytes": sent.bytes,
            "sha256": sent.sha256,
            "samples": sent.samples,
            "problems": tuple(ProblemView(**each) for each in sent.problems),
            "problems_total": sent.problems_total,
            "window_end": sent.window_end,
            "reason": sent.reason,
            "uploaded_at": sent.uploaded_at,
            "uploaded_by": sent.uploaded_by,
            "read_at": sent.read_at,
            "draft": sent.snapshot_id,
        }
    )

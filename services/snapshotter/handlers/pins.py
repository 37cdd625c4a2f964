"""Pinning a benchmark, taking the pin off, and the job that says when one has expired."""

from __future__ import annotations

from typing import Any

from services.snapshotter import domain, store
from services.snapshotter.commands import EndPin, PinBenchmark, PinList
from services.snapshotter.domain import Pin
from services.snapshotter.handlers.benchmarks import answered_objections
from services.snapshotter.handlers.deps import Deps
from services.snapshotter.handlers.standings import pin_view
from shared import policies
from shared.access import Call, person
from shared.answers import Answer
from shared.contracts import BenchmarkHealth, Fact
from shared.db import Appointment, Tx
from shared.errors import Conflict, NotFound
from shared.jsons import dumps

_UNJUDGED = BenchmarkHealth(state="unjudged", sentence="Its health was answered for when it was published.")


async def pin_benchmark(deps: Deps, call: Call, command: PinBenchmark) -> Answer:
    """Raises Forbidden, NotFound, Conflict (no benchmark of the product, or a run that deviated), Invalid, Repeated."""
    async with deps.db.tx(call) as tx:
        tx.may("pin_benchmark", command.product, of=command.product)
        found = await policies.latest(tx, command.product)
        if found is None:
            raise NotFound(f"No policy of {command.product} is known here (yet).")
        _, policy = found
        benchmark = await store.snapshot(tx, command.snapshot)
        if benchmark is None or benchmark.product_id != command.product:
            raise NotFound(f"{command.product} has no snapshot {command.snapshot}.")
        subject_version = await store.locked_product(tx, command.product)
        # Its health was answered when it was published; that the run deviated may have come out since.
        despite = await answered_objections(tx, policy, benchmark.window, _UNJUDGED, command.despite)
        provenance = (await store.provenances_of(tx, [benchmark.id])).get(benchmark.id)
        made, fact = domain.pin(
            await store.next_pin(tx),
            benchmark,
            command.product,
            who=person(tx.actor),
            reason=command.reason,
            expires_at=command.expires_at,
            max_days=policy.benchmark.max_pin_days,
            now=tx.now,
            published=provenance,
            despite=despite,
        )
        await store.insert_pin(tx, made)
        tx.schedule(expire_pin, made.id, made.expires_at)
        await _say(tx, made, fact, subject_version, expires_at=made.expires_at, reason=command.reason, despite=despite)
        return tx.answer(201, pin_view(made, tx.now), Location=f"/snapshotter/v1/pins?product={command.product}")


async def end_pin(deps: Deps, call: Call, pin_id: str, command: EndPin) -> Answer:
    """Raises Forbidden, NotFound, Conflict, Repeated."""
    async with deps.db.tx(call) as tx:
        held = await store.pin(tx, int(pin_id.removeprefix("PIN-")))
        tx.may("pin_benchmark", held.product_id if held else None, of=pin_id)
        if held is None:
            raise NotFound(f"There is no pin {pin_id} here.")
        subject_version = await store.locked_product(tx, held.product_id)
        held = await store.pin(tx, held.number) or held  # as it is under the lock
        if (last := (await store.pins_of(tx, held.product_id))[0]).number != held.number:
            raise Conflict(f"{last.id} has taken the place of {held.id}.")
        ended, fact = domain.end(held, who=person(tx.actor), reason=command.reason, now=tx.now)
        await store.end_pin(tx, ended)
        tx.cancel(expire_pin, held.id)
        await _say(tx, ended, fact, subject_version, reason=command.reason)
        return tx.answer(200, pin_view(ended, tx.now))


async def list_pins(deps: Deps, call: Call, product_id: str) -> Answer:
    """The product's pins, newest first. Raises NotFound for a product that the caller may not see."""
    async with deps.db.read(call) as tx:
        if tx.caller is None or not tx.caller.roles(product_id):
            raise NotFound(f"There is no product {product_id} here.")
        found = await store.pins_of(tx, product_id)
        return Answer(200, dumps(PinList(items=tuple(pin_view(each, tx.now) for each in found))))


async def expire_pin(deps: Deps, appointment: Appointment) -> None:
    """Say that a pin has expired; what counts is computed from its date, so this only announces it."""
    async with deps.db.tx(appointment) as tx:
        held = await store.pin(tx, int(appointment.subject.removeprefix("PIN-")))
        if held is None or held.ended_at is not None:
            return
        version = await store.locked_product(tx, held.product_id)
        await _say(tx, held, domain.expire(held, who=tx.actor), version, action="expire_pin")


async def _say(tx: Tx, held: Pin, fact: Fact, was: int, *, action: str | None = None, **detail: Any) -> None:
    """Say what became of a pin, and put it on the record with the benchmark that it is about."""
    policy_version = await policies.in_force(tx, held.product_id)
    benchmark = await store.snapshot(tx, held.snapshot_id)
    await store.save_version(tx, held.product_id, was=was, version=was + 1)
    tx.emit(fact, sequence=was + 1, policy_version=policy_version)
    tx.audit(
        held.product_id,
        action=action,
        revision=was + 1,
        product=held.product_id,
        evidence=[benchmark.content_hash] if benchmark is not None else [],
        policy_version=policy_version,
        pin=held.id,
        snapshot=held.snapshot_id,
        **detail,
    )

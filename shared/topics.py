"""Every topic there is, from the declarations: facts for good, what is not a fact for a while."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from shared.bus import Bus, TopicSpec
from shared.contracts import FACTS
from shared.contracts.heartbeats import TOPIC as HEARTBEATS
from shared.settings import SERVICES

INBOUND = "daymark.inbound"
_DAY_MS = 24 * 3600 * 1000


def specs() -> list[TopicSpec]:
    """All topics, sorted by name."""
    facts = [TopicSpec(name) for name in {fact.topic for fact in FACTS.values()}]
    dead = [TopicSpec(f"daymark.dead.{service}") for service in SERVICES]
    return sorted(
        [*facts, *dead, TopicSpec(INBOUND, retention_ms=7 * _DAY_MS), TopicSpec(HEARTBEATS, retention_ms=_DAY_MS)],
        key=lambda spec: spec.name,
    )


def owners() -> Mapping[str, tuple[str, ...]]:
    """topic -> services that may write to it. Facts have one owner each."""
    found: dict[str, tuple[str, ...]] = {fact.topic: (fact.owner,) for fact in FACTS.values()}
    found |= {f"daymark.dead.{service}": (service,) for service in SERVICES}
    return found | {HEARTBEATS: SERVICES, INBOUND: ("intake",)}


def topics_of(service: str) -> tuple[str, ...]:
    """Topics of facts that this service says."""
    return tuple(sorted({fact.topic for fact in FACTS.values() if fact.owner == service}))


async def apply(bus: Bus) -> Sequence[str]:
    """Create the topics that are missing, and on PostgreSQL say who may write to which; what drifted, as sentences.

    On Kafka, who may write is the broker's to say: see the deployment guide.
    """
    drift = await bus.apply_topics(specs())
    from shared.bus.postgres import PostgresBus

    if isinstance(bus, PostgresBus):
        await bus.grant(owners(), SERVICES)
    return drift

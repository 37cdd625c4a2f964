"""Said by intake: a product's next set of CRs for production. Keyed by product, so that they are in order with its debt."""

from shared.contracts.envelope import Fact, Instant


class _Release(Fact):
    release_id: str
    product_id: str
    name: str
    planned_at: Instant
    at: Instant  #: when this was said


class ReleasePlanned(_Release, type="release.planned.v1", topic="daymark.releases", owner="intake", key="product_id"):
    pass


class ReleaseFrozen(_Release, type="release.frozen.v1", topic="daymark.releases", owner="intake", key="product_id"):
    pass


class ReleaseClosed(_Release, type="release.closed.v1", topic="daymark.releases", owner="intake", key="product_id"):
    pass

"""Said by intake: a product's whole policy, each time it changes."""

from shared.contracts.envelope import Fact, Instant
from shared.contracts.policy import Policy


class ProductChanged(Fact, type="product.changed.v1", topic="daymark.products", owner="intake", key="product_id"):
    product_id: str
    version: str  #: the policy's content hash
    policy: Policy
    changed_at: Instant

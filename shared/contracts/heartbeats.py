"""Said by every service every few seconds, kept a day, not a fact of the process: how far it has spoken."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from shared.contracts.envelope import Instant

Service = Literal["intake", "snapshotter", "incidents", "reviewer"]
TOPIC = "daymark.heartbeats"


class Heartbeat(BaseModel):
    """Everything this service committed before `as_of` lies on the bus below `ends`."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    service: Service
    replica: str
    as_of: Instant
    ends: dict[str, dict[int, int]]  #: topic -> partition -> offset of the next letter

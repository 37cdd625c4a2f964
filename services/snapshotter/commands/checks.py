"""What a dry run of a product's queries says."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from services.snapshotter.commands.snapshots import WindowView


class CheckedSLI(BaseModel):
    """What one query brought."""

    model_config = ConfigDict(frozen=True)

    sli: str
    title: str
    source: str
    query: str
    result: Literal["fine", "gaps", "nothing", "several", "no_numbers", "refused", "failed"] = Field(
        description="`nothing`: no series; `several`: more than one; `no_numbers`: all NaN; `failed`: the source did not answer."
    )
    sentence: str
    steps_without_number: int | None
    last: float | None = Field(description="The last number there is.")


class CheckView(BaseModel):
    """A dry run: nothing of it is kept."""

    model_config = ConfigDict(frozen=True)

    product: str
    policy_version: str
    window: WindowView
    is_fine: bool
    slis: tuple[CheckedSLI, ...]


__all__ = ["CheckView", "CheckedSLI"]

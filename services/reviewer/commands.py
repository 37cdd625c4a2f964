"""What people may ask of the reviewer. Unknown fields are refused; persons are who calls, never who is named."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from shared.contracts.reviews import Verdict

_Id = Annotated[str, StringConstraints(min_length=1, max_length=100, strip_whitespace=True)]
_Text = Annotated[str, StringConstraints(min_length=1, max_length=2000, strip_whitespace=True)]
_Comment = Annotated[str, StringConstraints(max_length=2000, strip_whitespace=True)]
_Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_MANY = 50


class _Command(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RaisedItem(_Command):
    """One thing that operations wants answered."""

    id: _Id | None = Field(default=None, description="a name of your own; numbered when left out")
    text: _Text


class GiveReview(_Command):
    """Operations' input on one CR, bound to the dossier that was seen."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "cr_id": "CR-7",
                    "digest": "9f2c" * 16,
                    "verdict": "not_ready",
                    "comment": "Nearly there.",
                    "items": [{"id": "backout", "text": "How long does the backout take at peak?"}],
                }
            ]
        },
    )
    cr_id: _Id
    digest: _Digest = Field(description="`digest` of the dossier you looked at")
    verdict: Verdict
    comment: _Comment = ""
    items: tuple[RaisedItem, ...] = Field(default=(), max_length=_MANY)


class Answered(_Command):
    """The PTASK engineer's word on one item."""

    review_id: _Id | None = Field(default=None, description="may be left out when only one input has that item")
    item_id: _Id
    answer: _Text


class AcknowledgeReview(_Command):
    """The PTASK engineer has read operations' input, and answers its items."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"review_id": "REV-3", "answers": [{"item_id": "backout", "answer": "Four minutes, rehearsed."}]}
            ]
        },
    )
    review_id: _Id | None = None
    answers: tuple[Answered, ...] = Field(default=(), max_length=_MANY)


class DecideGo(_Command):
    """Go or no-go, by the PTASK engineer that the CR names, bound to the dossier that was seen."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "examples": [{"decision": "go", "reason": "All evidence is green.", "digest": "9f2c" * 16, "answers": []}]
        },
    )
    decision: Literal["go", "no_go"]
    reason: _Comment = ""
    digest: _Digest = Field(description="`digest` of the dossier you looked at")
    answers: tuple[Answered, ...] = Field(
        default=(), max_length=_MANY, description="answers to items, in the same breath"
    )

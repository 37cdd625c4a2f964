"""A product's policy: one file in `products/`, one document over HTTP, one fact on the bus. All three are this shape.

Every field has an effect that a test shows. Durations say their unit in their name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import orjson
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StringConstraints,
    model_validator,
)

#: A short name that is safe in a path, a topic key and a metric label.
Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$")]
Line = Annotated[str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True)]
Text = Annotated[str, StringConstraints(max_length=10_000)]

Enforcement = Literal["observe", "advise", "enforce"]
Severity = Literal["critical", "major", "minor"]


class Later:
    """Marks a field that was added after policies had versions: at its default, a policy keeps the version it had."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    def spoken(self) -> dict[str, Any]:
        """The document that a version is the hash of: everything, but what was added later and says nothing new."""
        found = self.model_dump(mode="json")
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if any(isinstance(mark, Later) or mark is Later for mark in field.metadata) and value == field.default:
                del found[name]
            elif isinstance(value, _Part):
                found[name] = value.spoken()
            elif isinstance(value, tuple) and any(isinstance(each, _Part) for each in value):
                found[name] = [each.spoken() for each in value]
        return found


class SuiteRule(_Part):
    """What is asked of one kind of test suite."""

    required: StrictBool = True
    max_age_h: StrictFloat = Field(default=72, gt=0, le=24 * 365)  #: older than this at the time of asking: missing


class EvidenceRules(_Part):
    regression: SuiteRule = SuiteRule()
    integration: SuiteRule = SuiteRule()
    code_review: StrictBool = True  #: engineering must have recorded its review or walkthrough


class BenchmarkRules(_Part):
    max_age_h: StrictFloat = Field(default=48, gt=0, le=24 * 90)  #: older than this at deploy time: stale
    # Before it is published, a benchmark is held against these; what they find must be answered by whoever publishes it.
    max_gap_share: Annotated[StrictFloat, Later] = Field(default=0.1, ge=0, le=1)  #: steps without a number, of one SLI
    max_flat_h: Annotated[StrictFloat, Later] = Field(
        default=3, gt=0, le=24
    )  #: one value for longer, and longer than usual
    max_pin_days: Annotated[StrictFloat, Later] = Field(default=30, gt=0, le=365)  #: the longest that a pin may hold


class ObservationRules(_Part):
    """The two looks. Both cover 24 hours; that is a contract, not a setting."""

    step_s: StrictInt = Field(default=60, ge=10, le=3600)
    settle_min: StrictFloat = Field(
        default=15, ge=0, le=240
    )  #: left out after the deploy, and at the same clock time before
    patience_min: StrictFloat = Field(
        default=120, ge=0, le=48 * 60
    )  #: how long a source may be down before it is overdue
    recovery_h: StrictFloat = Field(default=4, gt=0, le=24)  #: length of the look after a rollback
    history_days: StrictInt = Field(default=7, ge=0, le=28)  #: earlier days asked of the source
    #: The horizon of the anchor, where operations chose none: how long before a deploy it was deployed itself at most.
    anchor_days: Annotated[StrictFloat, Later] = Field(default=90, gt=1, le=3650)
    calibrate: Annotated[StrictBool, Later] = (
        True  #: read each whole day once, and learn limits of the product's own from quiet ones
    )
    #: Minutes after the deploy at which what has passed so far is looked at: an early look can raise a deviation, never pass.
    early_looks_min: Annotated[tuple[StrictFloat, ...], Later] = Field(default=(), max_length=12)

    @model_validator(mode="after")
    def _in_the_day(self) -> ObservationRules:
        looks = self.early_looks_min
        if any(not 0 < each < 24 * 60 for each in looks):
            raise ValueError("an early look lies between the deploy and the look 24 hours after it")
        if list(looks) != sorted(set(looks)):
            raise ValueError("early looks are named in order, each once")
        return self


class SampleRules(_Part):
    """How long raw samples are kept. After that the roll-ups and every number of a verdict stay."""

    raw_days: StrictFloat = Field(default=400, ge=1, le=3650)


#: What may be matched on, and with what: no sign of these has a meaning in any query language.
Label = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]{0,127}$")]
LabelValue = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:/-]{1,128}$")]


class SLI(_Part):
    """One measured series that says how well the product serves."""

    id: Slug
    title: Line
    source: Slug  #: a name; its address and credentials are deploy-time settings of the snapshotter
    query: Annotated[str, StringConstraints(min_length=1, max_length=5000)]
    #: Labels that every selector of the query is to match on, put there by the source's own parser; `$name` in a policy
    #: stands for one of its variables, or `$product`, and is a plain value from here on.
    match: Annotated[Mapping[Label, LabelValue], Later] = Field(default={}, max_length=10)
    unit: Annotated[str, StringConstraints(max_length=20)] = ""
    direction: Literal["higher_is_worse", "lower_is_worse", "both"] = "both"
    severity: Severity = "critical"  #: of a deviation on it
    shadow: StrictBool = False  #: judged and shown, never decides
    min_relative: StrictFloat = Field(
        default=0.10, ge=0, le=100
    )  #: smallest change that matters, as a share of the benchmark
    min_absolute: StrictFloat = Field(default=0.0, ge=0, allow_inf_nan=False)  #: and in the SLI's own unit

    @property
    def asked(self) -> str:
        """What is asked of the source, as it is shown and hashed: another match is another query."""
        match = ", ".join(f'{label}="{value}"' for label, value in sorted(self.match.items()))
        return f"{self.query} # matching {match}" if match else self.query


class Clock(_Part):
    """Response times for a deviation of one severity, and who hears of a missed step."""

    acknowledge_min: StrictFloat = Field(default=15, gt=0, le=60 * 24 * 30)
    explain_min: StrictFloat = Field(default=120, gt=0, le=60 * 24 * 30)
    decide_min: StrictFloat = Field(default=240, gt=0, le=60 * 24 * 30)
    channels: tuple[Line, ...] = ()
    escalate_to: tuple[Line, ...] = ()

    @model_validator(mode="after")
    def _in_order(self) -> Clock:
        if not self.acknowledge_min <= self.explain_min <= self.decide_min:
            raise ValueError("acknowledge comes before explain, explain before decide")
        return self


class Clocks(_Part):
    critical: Clock = Clock()
    major: Clock = Clock(acknowledge_min=60, explain_min=480, decide_min=1440)
    minor: Clock = Clock(acknowledge_min=480, explain_min=1440, decide_min=2880)


class Policy(_Part):
    """The whole policy of one product. `enforcement` is a ladder: observe -> advise -> enforce."""

    id: Slug
    name: Line
    enforcement: Enforcement
    evidence: EvidenceRules = EvidenceRules()
    benchmark: BenchmarkRules = BenchmarkRules()
    observation: ObservationRules = ObservationRules()
    samples: Annotated[SampleRules, Later] = SampleRules()
    #: For `match` of the SLIs; the same for every look, so that both looks ask the same.
    variables: Annotated[Mapping[Slug, LabelValue], Later] = Field(default={}, max_length=50)
    slis: tuple[SLI, ...] = Field(max_length=500)
    clocks: Clocks = Clocks()
    freshness_s: StrictFloat = Field(default=60, ge=5, le=3600)  #: a gate answer on facts older than this is no
    description: Text = ""

    @model_validator(mode="before")
    @classmethod
    def _filled(cls, document: Any) -> Any:
        """`$name` in a match is the variable's value. Raises ValueError for one that there is not."""
        slis = document.get("slis") if isinstance(document, dict) else None
        variables = document.get("variables") if isinstance(document, dict) else None
        if not isinstance(slis, list) or not isinstance(variables, dict | None):
            return document
        known = {"product": document.get("id"), **(variables or {})}
        return document | {"slis": [_with_values(sli, known) for sli in slis]}

    @model_validator(mode="after")
    def _unique(self) -> Policy:
        ids = [sli.id for sli in self.slis]
        if len(set(ids)) != len(ids):
            raise ValueError("two SLIs have the same id")
        return self

    def version(self) -> str:
        """Content hash: the same words give the same version on any machine."""
        canonical = orjson.dumps(self.spoken(), option=orjson.OPT_SORT_KEYS)
        return hashlib.sha256(canonical).hexdigest()[:16]


def _with_values(sli: Any, known: Mapping[str, Any]) -> Any:
    match = sli.get("match") if isinstance(sli, dict) else None
    if not isinstance(match, dict):
        return sli
    for value in match.values():
        if isinstance(value, str) and value.startswith("$") and value[1:] not in known:
            raise ValueError(
                f"SLI {sli.get('id')}: there is no variable {value[1:]}; there are {', '.join(sorted(known))}"
            )
    said = {k: known[v[1:]] if isinstance(v, str) and v.startswith("$") else v for k, v in match.items()}
    return sli | {"match": said}


def read_policy(document: object) -> Policy:
    """The policy in a parsed document; unknown words are refused. Raises pydantic's ValidationError."""
    return Policy.model_validate(document, extra="forbid")

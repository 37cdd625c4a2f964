"""Said by intake: that a test report was read and recorded. Cases stay in intake; the fact carries digests and counts."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from shared.contracts.envelope import Fact, Instant

SuiteKind = Literal["regression", "integration", "other"]
#: empty: no case ran. inconsistent: the report contradicts itself. Neither is ever a pass.
ReportOutcome = Literal["passed", "failed", "empty", "inconsistent"]


class MarkedCase(BaseModel):
    """A case that says which regression case it proves (JUnit property `daymark.case`)."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    case_id: str
    outcome: Literal["passed", "failed", "skipped"]


class TestsRecorded(Fact, type="tests.recorded.v1", topic="daymark.tests", owner="intake", key="cr_id"):
    __test__ = False

    cr_id: str
    product_id: str
    result_id: str
    suite_kind: SuiteKind
    commit: str | None
    artifact: str | None
    run_at: Instant
    recorded_at: Instant
    digest: str  #: sha256 of the report's bytes
    outcome: ReportOutcome
    total: int
    passed: int
    failed: int  #: failures and errors
    skipped: int
    lost: int  #: cases that the last recorded report of this kind for this product had and this one has not
    problems: tuple[str, ...] = ()
    marked: tuple[MarkedCase, ...] = ()

"""Test reports and their cases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, select

from services.intake.domain import CR, TestResult
from services.intake.store.tables import test_results
from shared.contracts import MarkedCase
from shared.contracts.inbound import Uploaded
from shared.db import Tx
from shared.jsons import dumps

# One statement for a report of any size: the last report with cases of this product and kind, what it had and this one
# has not, the row, the cases.
_SAVE = """
WITH new AS MATERIALIZED (
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::float8[], $6::text[])
    WITH ORDINALITY AS u(suite, classname, name, outcome, duration_s, message, position)
), last AS (
    SELECT n FROM test_results WHERE product_id = $8 AND suite_kind = $9 AND total > 0 ORDER BY n DESC LIMIT 1
), lost AS (
    SELECT count(*) AS cases FROM (
        SELECT suite, classname, name FROM test_cases WHERE result = (SELECT n FROM last)
        EXCEPT SELECT suite, classname, name FROM new
    ) AS gone
), made AS (
    INSERT INTO test_results (cr, product_id, suite_kind, "commit", artifact, run_at, recorded_at, recorded_by, digest,
        outcome, total, passed, failed, skipped, lost, problems, marked)
    SELECT $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, lost.cases, $21::text[], $22::jsonb FROM lost
    RETURNING *
), kept AS (
    INSERT INTO test_cases (result, position, suite, classname, name, outcome, duration_s, message)
    SELECT made.n, new.position, new.suite, new.classname, new.name, new.outcome, new.duration_s, new.message
    FROM made, new
)
SELECT * FROM made
"""


async def save_report(
    tx: Tx, cr: CR, cr_number: int, said: Uploaded, report: Any, digest: str, marked: Sequence[MarkedCase]
) -> TestResult:
    """Keep a report with all its cases; what is kept, with its id and what got lost. The CR's row is held by the caller.

    `report`: a `services.intake.reports.Report`.
    """
    cases = report.cases
    row = await tx.raw.fetchrow(
        _SAVE,
        [case.suite for case in cases],
        [case.classname for case in cases],
        [case.name for case in cases],
        [case.outcome for case in cases],
        [case.duration_s for case in cases],
        [case.message for case in cases],
        cr_number,
        cr.product_id,
        said.suite_kind,
        said.commit,
        said.artifact,
        said.run_at,
        tx.now,
        tx.actor,
        digest,
        report.outcome,
        report.total,
        report.passed,
        report.failed,
        report.skipped,
        list(report.problems),
        dumps(list(marked)).decode(),
    )
    return _result(row)


async def same_report(tx: Tx, cr_number: int, said: Uploaded, digest: str) -> TestResult | None:
    """The row of these bytes about the same run of this CR, when they were sent before."""
    c = test_results.c
    row = await tx.one(
        select(test_results).where(
            c.cr == cr_number,
            c.suite_kind == said.suite_kind,
            c.digest == digest,
            c.run_at == said.run_at,
            c.commit.is_not_distinct_from(said.commit),
            c.artifact.is_not_distinct_from(said.artifact),
        )
    )
    return None if row is None else _result(row._mapping)


async def results_of(tx: Tx, cr_number: int) -> tuple[TestResult, ...]:
    """All reports about a CR, oldest first."""
    rows: Sequence[Row[Any]] = await tx.all(
        select(test_results).where(test_results.c.cr == cr_number).order_by(test_results.c.n)
    )
    return tuple(_result(row._mapping) for row in rows)


def _result(row: Any) -> TestResult:
    own = {name: row[name] for name in TestResult.__dataclass_fields__ if name != "id"}
    own["marked"] = tuple(MarkedCase(**one) for one in row["marked"])
    own["problems"] = tuple(own["problems"])
    return TestResult(id=f"RES-{row['n']}", **own)

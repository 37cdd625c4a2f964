"""Test reports: read before any transaction opens, then kept with all their cases at once."""

from __future__ import annotations

import hashlib

from services.intake import domain, store
from services.intake.handlers import views
from services.intake.handlers.deps import Deps
from services.intake.reports import Report, read_in_worker
from shared.access import Call
from shared.answers import Answer
from shared.contracts.inbound import Uploaded
from shared.errors import Forbidden, Invalid


async def record_tests(deps: Deps, call: Call, cr_id: str, said: Uploaded, raw: bytes, content_type: str) -> Answer:
    """201 with the recorded result; 200 when these bytes about this run were recorded before.

    Raises Invalid for a report that cannot be read: what nobody could read is no evidence, and no row.
    """
    report = await _read(deps, call, cr_id, raw, content_type)
    digest = hashlib.sha256(raw).hexdigest()
    async with deps.db.tx(call) as tx:
        before, policy_version = await store.load(tx, cr_id)
        tx.may("record_tests", before.product_id, of=before.id)
        if report is None:
            raise Invalid("The report was not read.")
        n = store.number_of(before.id)
        known = await store.same_report(tx, n, said, digest)
        if known is not None:
            tx.audit(
                before.id, revision=before.revision, evidence=[digest], policy_version=policy_version,
                is_unchanged=True, result=known.id,
            )  # fmt: skip
            return tx.answer(200, views.of_result(known))
        after = domain.tested(before, said.run_at, tx.now)
        marked = domain.marked(((case.marks, case.outcome) for case in report.cases), is_in_doubt=bool(report.problems))
        result = await store.save_report(tx, before, n, said, report, digest, marked)
        await store.save(tx, before, after)
        for fact in domain.recorded(before.id, before.product_id, result):
            tx.emit(fact, sequence=after.version, policy_version=policy_version)
        tx.audit(
            before.id, revision=before.revision, evidence=[digest], policy_version=policy_version, result=result.id
        )
        return tx.answer(201, views.of_result(result), location=f"/intake/v1/change-requests/{before.id}")


async def _read(deps: Deps, call: Call, cr_id: str, raw: bytes, content_type: str) -> Report | None:
    """The report; None when the caller may not send one, which the transaction then says and records."""
    async with deps.db.read(call) as tx:
        product_id = await store.product_of(tx, cr_id)
        try:
            tx.may("record_tests", product_id, of=cr_id)
        except Forbidden:
            return None
    return await read_in_worker(raw, content_type)

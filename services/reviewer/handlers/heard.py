"""Hearing: every fact is kept once. No query in here: five hundred letters are one statement a table."""

from __future__ import annotations

from typing import Any

from services.reviewer import store
from shared.contracts import (
    FACTS,
    BenchmarkDoubted,
    BenchmarkExpired,
    BenchmarkPinned,
    BenchmarkPublished,
    CodeReviewRecorded,
    CRChanged,
    CRRegistered,
    CRRolledBack,
    Event,
    Fact,
    IncidentClosed,
    ProductChanged,
    RegressionCaseGreen,
    RegressionCaseOwed,
    RegressionCaseRed,
    ReleaseFrozen,
    ReviewGiven,
    TestsRecorded,
)
from shared.db import Tx

#: What may complete a dossier, or make an input void.
_OF_ONE_CR: frozenset[type[Fact]] = frozenset(
    {CRRegistered, CRChanged, CRRolledBack, TestsRecorded, CodeReviewRecorded, BenchmarkPublished, ReviewGiven}
)
_OF_ALL_CRS: frozenset[type[Fact]] = frozenset(
    {
        ProductChanged,
        BenchmarkPublished,
        BenchmarkPinned,
        BenchmarkExpired,
        BenchmarkDoubted,
        RegressionCaseOwed,
        RegressionCaseRed,
        RegressionCaseGreen,
        IncidentClosed,
        ReleaseFrozen,
    }
)


async def on_fact(tx: Tx, event: Event[Any]) -> None:
    """The one step: keep it, and look again at the inputs that it may touch."""
    store.keep(tx, event)
    kind = type(event.data)
    if kind in _OF_ONE_CR and (cr_id := event.data.cr_id) is not None:
        store.touch(tx, cr_id)
        tx.schedule("refresh_touched", "all")
    elif kind in _OF_ALL_CRS:
        tx.schedule("refresh_product", event.data.product_id)


ON = dict.fromkeys(FACTS.values(), on_fact)

"""A dry run of a product's queries: what each would bring, without keeping anything."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np

from services.snapshotter import domain
from services.snapshotter.commands import CheckedSLI, CheckView, WindowView
from services.snapshotter.handlers.capture import capture
from services.snapshotter.handlers.deps import Deps
from services.snapshotter.sources import Missing, Reading
from shared import policies
from shared.access import Call
from shared.answers import Answer
from shared.contracts import SLI
from shared.errors import NotFound
from shared.jsons import dumps

DEADLINE_S = 60.0  #: a person waits for the answer


async def check_slis(deps: Deps, call: Call, product_id: str, hours: float) -> Answer:
    """Ask every SLI's query over the last `hours`, and say what came back. Raises NotFound."""
    async with deps.db.read(call) as tx:
        found = await policies.latest(tx, product_id)
        if found is None or tx.caller is None or not tx.caller.roles(product_id):
            raise NotFound(f"No policy of {product_id} is known here (yet).")
        version, policy = found
        step_s = policy.observation.step_s
        end = datetime.fromtimestamp(tx.now.timestamp() // step_s * step_s, UTC)
    window = domain.Window(end - timedelta(hours=hours), end, step_s)
    captured = await capture(deps.sources, policy.slis, window, deadline_s=DEADLINE_S)
    checked = tuple(_checked(sli, reading) for sli, reading in zip(captured.slis, captured.readings, strict=True))
    view = CheckView(
        product=product_id,
        policy_version=version,
        window=WindowView(start=window.start, end=window.end, step_s=step_s),
        is_fine=all(one.result == "fine" for one in checked),
        slis=checked,
    )
    return Answer(200, dumps(view))


def _checked(sli: SLI, reading: Reading) -> CheckedSLI:
    about = {"sli": sli.id, "title": sli.title, "source": sli.source, "query": sli.asked}
    if isinstance(reading, Missing):
        return CheckedSLI(**about, result=reading.fault, sentence=reading.reason, steps_without_number=None, last=None)
    there = np.isfinite(reading.values)
    gaps = int((~there).sum())
    said = "; ".join(reading.warnings) or "one series with a number for each step"
    return CheckedSLI(
        **about,
        result="gaps" if gaps else "fine",
        sentence=f"{gaps} of {there.size} steps have no number (NaN or absent)" if gaps else said,
        steps_without_number=gaps,
        last=float(reading.values[there][-1]),
    )

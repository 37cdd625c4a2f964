"""What may happen, and what follows from the facts: pure functions, one room for each part of the dossier.

known (the set of facts) -> evidence, review, production -> dossier (with its digest) -> gate, stage.
"""

from services.reviewer.domain.known import Facts, Known, aggregate_of, known
from services.reviewer.domain.stage import MOVES
from shared.access import EVERYBODY, Rights

RIGHTS: Rights = {
    "give_review": frozenset({"operations"}),
    "acknowledge_review": frozenset({"ptask"}),
    "decide_go": frozenset({"ptask"}),
    "ask_gate": EVERYBODY,
}

__all__ = ["MOVES", "RIGHTS", "Facts", "Known", "aggregate_of", "known"]

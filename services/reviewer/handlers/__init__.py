"""What the reviewer does: heard (steps), said (commands and jobs), seen (questions), entrance (sign-in)."""

from services.reviewer.handlers.entrance import sign_in, sign_out
from services.reviewer.handlers.heard import ON
from services.reviewer.handlers.said import JOBS, acknowledge_review, ask_gate, decide_go, give_review
from services.reviewer.handlers.seen import (
    Deps,
    Surroundings,
    dossier_page,
    front_page,
    read_dossier,
    read_release,
    read_releases,
    release_page,
    surroundings,
)

__all__ = [
    "JOBS",
    "ON",
    "Deps",
    "Surroundings",
    "acknowledge_review",
    "ask_gate",
    "decide_go",
    "dossier_page",
    "front_page",
    "give_review",
    "read_dossier",
    "read_release",
    "read_releases",
    "release_page",
    "sign_in",
    "sign_out",
    "surroundings",
]

"""Who may do what at intake. What depends on more than a role (the author, the frozen release) is in the rules beside it."""

from shared.access import Rights

#: Reporting facts: what engineering's own people and its programs (CI, deployers, ticket systems) do.
_REPORTERS = frozenset({"engineer", "integration"})

RIGHTS: Rights = {
    "put_product": frozenset({"release_manager"}),
    "plan_release": frozenset({"release_manager"}),
    "freeze_release": frozenset({"release_manager"}),
    "close_release": frozenset({"release_manager"}),
    "register_cr": frozenset({"engineer", "integration", "release_manager"}),
    # A release manager moves CRs between releases; nobody else may touch what a frozen release holds.
    "change_cr": frozenset({"engineer", "integration", "release_manager"}),
    "report_deployed": _REPORTERS,
    "report_rolled_back": _REPORTERS,
    "withdraw_cr": _REPORTERS,
    "record_tests": _REPORTERS,
    # Engineering's own: never operations, never a program, never the author.
    "record_code_review": frozenset({"engineer"}),
}

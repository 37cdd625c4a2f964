"""The dossier: everything known of one CR in one place, as a pure function of the *set* of facts.

Every permutation and duplication of the same facts gives the same dossier and the same digest. `at` is the database's
time of asking; it tells how old evidence is, and is no part of the digest.
"""

from services.reviewer.domain.dossier.assembling import assemble
from services.reviewer.domain.dossier.releases import ReleaseKnown, releases
from services.reviewer.domain.dossier.values import Asked, Before, Deployment, Dossier, LateWord

__all__ = [
    "Asked",
    "Before",
    "Deployment",
    "Dossier",
    "LateWord",
    "ReleaseKnown",
    "assemble",
    "releases",
]

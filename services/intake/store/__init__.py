"""Where intake keeps things: tables, and rows <-> values. One file for each kind of thing."""

from services.intake.store.change_requests import (
    CRFilter,
    Everything,
    everything,
    find,
    insert,
    insert_code_review,
    listed,
    load,
    number_of,
    product_of,
    save,
)
from services.intake.store.doors import first_answer, first_delivery, namesakes, principal, roles_of, signer
from services.intake.store.evidence import same_report, save_report
from services.intake.store.products import (
    ground,
    insert_product,
    insert_release,
    load_product,
    load_release,
    products_listed,
    releases_listed,
    save_product,
    save_release,
)
from services.intake.store.tables import metadata

__all__ = [
    "CRFilter",
    "Everything",
    "everything",
    "find",
    "first_answer",
    "first_delivery",
    "ground",
    "insert",
    "insert_code_review",
    "insert_product",
    "insert_release",
    "listed",
    "load",
    "load_product",
    "load_release",
    "metadata",
    "namesakes",
    "number_of",
    "principal",
    "product_of",
    "products_listed",
    "releases_listed",
    "roles_of",
    "same_report",
    "save",
    "save_product",
    "save_release",
    "save_report",
    "signer",
]

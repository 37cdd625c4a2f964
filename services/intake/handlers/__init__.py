"""What intake does, one function for each command and question. One file for each kind of thing.

`receive`, `receive_delivery` and `on_inbound` take events; each runs the same inner function as the HTTP door of that command.
"""

from services.intake.handlers.change_requests import (
    change_cr,
    get_cr,
    list_crs,
    record_code_review,
    register_cr,
    report_deployed,
    report_rolled_back,
    withdraw_cr,
)
from services.intake.handlers.deps import Deps
from services.intake.handlers.evidence import record_tests
from services.intake.handlers.inbound import on_inbound, receive, receive_delivery
from services.intake.handlers.products import get_product, list_products, load_products, put_product
from services.intake.handlers.releases import close_release, freeze_release, get_release, list_releases, plan_release
from services.intake.store import CRFilter
from shared.agenda import Job
from shared.consumer import RawStep, Step
from shared.contracts import Fact
from shared.contracts.inbound import TOPIC

#: Intake decides by nothing that the other services say.
ON: dict[type[Fact], Step] = {}
JOBS: dict[str, Job[Deps]] = {}
#: Topics whose records are commands: each alone in its own transaction.
RAW: dict[str, RawStep] = {TOPIC: on_inbound}

__all__ = [
    "JOBS",
    "ON",
    "RAW",
    "CRFilter",
    "Deps",
    "change_cr",
    "close_release",
    "freeze_release",
    "get_cr",
    "get_product",
    "get_release",
    "list_crs",
    "list_products",
    "list_releases",
    "load_products",
    "on_inbound",
    "plan_release",
    "put_product",
    "receive",
    "receive_delivery",
    "record_code_review",
    "record_tests",
    "register_cr",
    "report_deployed",
    "report_rolled_back",
    "withdraw_cr",
]

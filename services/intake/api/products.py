"""Doors of products."""

from __future__ import annotations

from typing import Annotated

from fastapi import Body, Response
from pydantic import ValidatorFunctionWrapHandler, WrapValidator

from services.intake import handlers
from services.intake.api.doors import READ, REFUSALS, Deps, door
from services.intake.commands import Products, ProductView
from shared.contracts import Policy, read_policy
from shared.doors.caller import Caller
from shared.doors.problems import answered

router = door("products")


def _strictly(document: object, _: ValidatorFunctionWrapHandler) -> Policy:
    return read_policy(document)  # the whole tree refuses unknown words, as a file in products/ does


PolicyDocument = Annotated[Policy, WrapValidator(_strictly)]
_POLICY = {
    "id": "scp",
    "name": "SCP",
    "enforcement": "observe",
    "evidence": {"regression": {"required": True, "max_age_h": 72}, "code_review": True},
    "slis": [
        {
            "id": "p99-latency",
            "title": "99th percentile of response time",
            "source": "main",
            "query": "histogram_quantile(0.99, sum by (le) (rate(request_duration_seconds_bucket[5m])))",
            "unit": "s",
            "direction": "higher_is_worse",
            "severity": "critical",
            "min_relative": 0.1,
            "min_absolute": 0.01,
        }
    ],
    "clocks": {"critical": {"channels": ["scp-oncall"], "escalate_to": ["scp-lead"]}},
}


@router.put(
    "/products/{id}",
    response_model=ProductView,
    responses={
        **REFUSALS,
        201: {"model": ProductView, "description": "A new product."},
        202: {"model": ProductView, "description": "Looser than before: it waits for a second release manager."},
    },
    summary="Put a product's policy",
    description="The same document as a file in `products/`. Its version is a hash of its content; the policy in force put"
    " again changes nothing (and takes an open proposal back). A document that loosens enforcement, evidence, clocks or"
    " limits is kept as a proposal (202, `proposal.loosens` says what) until a **second** release manager puts the same"
    " document. Applying any other change ends the proposal.",
)
async def put_product(
    call: Caller, deps: Deps, id: str, policy: Annotated[PolicyDocument, Body(examples=[_POLICY])]
) -> Response:
    return answered(await handlers.put_product(deps, call, id, policy))


@router.get(
    "/products",
    responses=READ,
    summary="All products with their policies",
    description="Those that you may see, each with the policy in force and a looser one that waits for a second person.",
)
async def list_products(call: Caller, deps: Deps) -> Products:
    return await handlers.list_products(deps, call)


@router.get(
    "/products/{id}",
    responses=READ,
    summary="One product with its policy",
    description="The policy in force and its version, which travels with every fact that was decided under it.",
)
async def get_product(call: Caller, deps: Deps, id: str) -> ProductView:
    return await handlers.get_product(deps, call, id)

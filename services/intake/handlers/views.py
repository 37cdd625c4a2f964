"""Values as they are answered. Their parts were checked when they came in, so hot answers are not checked again."""

from __future__ import annotations

from typing import Any

from services.intake import store
from services.intake.commands import (
    CodeReviewView,
    CRDetail,
    CRReported,
    CRView,
    DeploymentView,
    ProductView,
    ProposalView,
    ReleaseView,
    RollbackView,
    TestResultView,
)
from services.intake.domain import CR, Product, Release, TestResult


def of_product(product: Product) -> ProductView:
    waiting = product.proposal
    return ProductView(
        id=product.id,
        version=product.policy_version,
        policy=product.policy,
        changed_at=product.changed_at,
        changed_by=product.changed_by,
        proposal=waiting
        and ProposalView(
            version=waiting.policy.version(),
            loosens=waiting.loosens,
            proposed_by=waiting.by,
            proposed_at=waiting.at,
            policy=waiting.policy,
        ),
    )


def of_release(release: Release) -> ReleaseView:
    values = {name: getattr(release, name) for name in Release.__dataclass_fields__}
    values["product"] = values.pop("product_id")
    return ReleaseView(**values)


def of_cr(cr: CR) -> CRView:
    return CRView.model_construct(**_said(cr))


def of_reported(cr: CR) -> CRReported:
    return CRReported(
        **_said(cr),
        deployments=tuple(DeploymentView(**_fields(one)) for one in cr.deployments),
        rollbacks=tuple(RollbackView(**_fields(one)) for one in cr.rollbacks),
    )


def of_everything(found: store.Everything) -> CRDetail:
    return CRDetail(
        **_said(found.cr),
        deployments=tuple(DeploymentView(**_fields(one)) for one in found.deployments),
        rollbacks=tuple(RollbackView(**_fields(one)) for one in found.rollbacks),
        code_reviews=tuple(CodeReviewView(**_fields(one)) for one in found.code_reviews),
        test_results=tuple(of_result(one) for one in found.test_results),
    )


def of_result(result: TestResult) -> TestResultView:
    return TestResultView(**{name: getattr(result, name) for name in TestResultView.model_fields})


_CR_FIELDS = tuple(name for name in CRView.model_fields if name not in ("product", "release"))


def _said(cr: CR) -> dict[str, Any]:
    return {"product": cr.product_id, "release": cr.release_id} | {name: getattr(cr, name) for name in _CR_FIELDS}


def _fields(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}

"""The policies that come with Daymark."""

from pathlib import Path

import pytest
import yaml

from shared.contracts import Policy, read_policy

PRODUCTS = sorted((Path(__file__).parents[2] / "products").glob("*.yaml"))


def policy(path: Path) -> Policy:
    return read_policy(yaml.safe_load(path.read_text()))


def test_the_three_products_are_there_on_their_rungs() -> None:
    rungs = {policy(path).id: policy(path).enforcement for path in PRODUCTS}
    assert rungs.items() >= {"epl": "enforce", "epl-x": "enforce", "scp": "observe"}.items()


@pytest.mark.parametrize("path", PRODUCTS, ids=lambda path: path.stem)
def test_a_product_file_is_a_policy_named_after_itself(path: Path) -> None:
    product = policy(path)
    assert product.id == path.stem
    deciding = [sli for sli in product.slis if not sli.shadow]
    assert len(deciding) >= 3 and len(product.slis) > len(deciding)
    assert any(sli.severity == "critical" for sli in deciding)
    assert any(sli.direction == "both" for sli in deciding)
    for clock in (product.clocks.critical, product.clocks.major, product.clocks.minor):
        assert clock.channels and clock.escalate_to


def test_no_two_slis_ask_the_same() -> None:
    queries = [sli.query for path in PRODUCTS for sli in policy(path).slis]
    assert len(set(queries)) == len(queries)
    assert not any("\n" in query for query in queries)

"""Matchers in queries: put in by a parser, into every selector, and nothing else changes; whatever else is refused."""

import random
from pathlib import Path

import promql_parser as promql
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from services.snapshotter.sources import Missing, Series
from services.snapshotter.sources._promql import injected
from shared.contracts import Policy, read_policy
from tests.unit.test_prometheus_source import form, noting, read_matching

PRODUCTS = sorted((Path(__file__).parents[2] / "products").glob("*.yaml"))
MATCH = {"env": "prod", "release": "2026.47"}

EXACTLY = {
    "up": 'up{env="prod",release="2026.47"}',
    'rate(a{b="c"}[5m])': 'rate(a{b="c",env="prod",release="2026.47"}[5m])',
    'up{path="a\\"b\\\\c\\n"}': 'up{path="a\\"b\\\\c\\n",env="prod",release="2026.47"}',
    "up{q='it\\'s \"x\"'}": 'up{q="it\'s \\"x\\"",env="prod",release="2026.47"}',
    '{"a.b.c"}': '{__name__="a.b.c",env="prod",release="2026.47"}',
    "sum(a) or vector(0) # } or b": 'sum(a{env="prod",release="2026.47"}) or  vector(0)',
    'label_replace(a, "x", "$1\\\\d", "y", "(.*)")': (
        'label_replace(a{env="prod",release="2026.47"}, "x", "$1\\\\d", "y", "(.*)")'
    ),
}


@pytest.mark.parametrize("query", EXACTLY)
def test_matchers_are_put_into_the_query(query: str) -> None:
    assert injected(query, MATCH) == EXACTLY[query]
    assert injected(query, {}) == query  # to the byte


@pytest.mark.parametrize(
    "query",
    [
        "sum by (le) (rate(a_bucket[5m])) / ignoring (x) group_left (y) b{job!=''}",
        "rate(a[5m:1m] @ end() offset -5m)",
        "avg_over_time((a - b)[1h:5m]) > bool 0.5",
        "a and on () b unless c or d",
        "topk(3, a) + quantile(0.9, b) + count_values('v', c)",
        "histogram_quantile(0.99, sum by (le) (rate(a[5m])))",
        '{__name__=~"a.*", x!~"y|z"}',
        "-a ^ 2 % 3",
        "a @ 1609746000.123",
        "absent_over_time(a[10m])",
    ],
)
def test_every_selector_gets_them_and_a_second_time_is_refused(query: str) -> None:
    found = injected(query, MATCH)
    selectors: list[promql.VectorSelector] = []

    def note(node: promql.Expr) -> None:
        if isinstance(node, promql.VectorSelector):
            selectors.append(node)

    promql.walk(promql.parse(found), note)
    assert selectors
    for each in selectors:
        assert MATCH.items() <= {m.name: m.value for m in each.matchers.matchers}.items()
    with pytest.raises(ValueError, match="itself matches on"):
        injected(found, MATCH)


@pytest.mark.parametrize("path", PRODUCTS, ids=lambda path: path.stem)
def test_the_queries_of_our_own_policies_can_be_matched_on(path: Path) -> None:
    for sli in read_policy(yaml.safe_load(path.read_text())).slis:
        assert 'env="prod"' in injected(sli.query, MATCH)


#: What an attacker, or an accident, would write as a value.
HOSTILE = [
    '"', '"} or vector(1) #', "a\nb", "a\\", "{", "}", "a,b", "a=b", "a b", " a", "", "a" * 129, ".*|x\x00", "é", "ａ", "\u2028",
    "\ud800", "${x}", "%s", "{{x}}", "'", "`", "#", "[5m]", "offset 1d", "1)", "(", "*", "+", "?", "|", "^", "\t",
    "\r", "\x7f", "\u202e", "a;b", "a&b=c", "<x>", "@end", "~", "!",
]  # fmt: skip


@pytest.mark.parametrize("value", HOSTILE)
def test_a_value_with_a_sign_of_the_language_is_refused_by_the_policy_and_by_the_parser(value: str) -> None:
    with pytest.raises(ValueError, match=r"the value for env has signs other than letters, digits"):
        injected("up", {"env": value})
    for document in ({"variables": {"env": value}}, {"slis": [SLI | {"match": {"env": value}}]}):
        with pytest.raises(ValidationError):
            read_policy(POLICY | document)


@pytest.mark.parametrize("label", ["__name__", "", "a-b", "a.b", "1a", 'a"', "a}", "é", "a" * 129, "a b", "a=b", "a\n"])
def test_a_label_that_is_none_is_refused(label: str) -> None:
    with pytest.raises(ValueError, match="no label that can be matched on"):
        injected("up", {label: "x"})


@pytest.mark.parametrize(
    "query",
    [
        "", " ", "{", "up{", 'up"', "vector(1)", "1 + 1", '"text"', "up{env='dev'}", "rate(up)", "sum(", "up[5m", "$__range", "a b",
        "up{a='b' or c='d'}", '{"a", "b.c"="d"}', "up[5m] offset", "up{a=b}", "foo(up)", "up # \n )", "\x00",
        "up\ud800",
    ],
)  # fmt: skip
def test_a_query_that_cannot_be_matched_on_exactly_is_refused_in_words(query: str) -> None:
    with pytest.raises(ValueError, match=r"not PromQL|selects no series|itself matches on|by hand"):
        injected(query, MATCH)


def tried(query: str, match: dict[str, str]) -> str | None:
    """What comes of it; None when it is refused in words."""
    words = None
    try:
        return injected(query, match)
    except ValueError as error:
        words = str(error)
    assert 10 < len(words) < 500
    return None


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def _quoted(text: str) -> str:
    """As a string of PromQL."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r") + '"'


@given(texts, texts)
@settings(max_examples=300)
def test_whatever_a_query_says_in_quotes_it_says_afterwards_or_it_is_refused(one: str, two: str) -> None:
    quoted = [_quoted(each) for each in (one, two)]
    query = f"label_replace(a{{x={quoted[0]}}}, 'd', {quoted[1]}, 's', '(.*)')"
    found = tried(query, MATCH)
    if found is None:
        return
    said: list[str] = []

    def note(node: promql.Expr) -> None:
        if isinstance(node, promql.StringLiteral):
            said.append(node.val)
        elif isinstance(node, promql.VectorSelector):
            said.extend(m.value for m in node.matchers.matchers)

    promql.walk(promql.parse(found), note)
    assert {one, two, *MATCH.values()} <= set(said)


#: What quoting, escaping and reading get wrong if anything does; beside them the whole of Unicode.
_SIGNS = [
    *"\"'`\\\n\r\t\0{}()#,=~$%abz 09_.:/-*+?[]|^",
    "\\n",
    '\\"',
    "$1",
    "\u2028",
    "\u202e",
    "\ufeff",
    "é",
    "語",
    "🜂",
]


def test_twenty_thousand_texts_in_quotes_are_read_back_as_they_were_said() -> None:
    """A hundred to a query, so that it takes a second."""
    rng = random.Random(20_000)

    def text() -> str:
        signs = rng.choices(_SIGNS, k=rng.randint(0, 12))
        return "".join(chr(rng.randrange(1, 0xD800)) if rng.random() < 0.1 else sign for sign in signs)

    for _ in range(200):
        texts = {f"x{n}": text() for n in range(100)}
        found = injected("a{" + ",".join(f"{name}={_quoted(each)}" for name, each in texts.items()) + "}", MATCH)
        read = promql.parse(found)
        assert isinstance(read, promql.VectorSelector)
        assert {each.name: each.value for each in read.matchers.matchers} == {**texts, **MATCH}


@given(st.text(max_size=60), st.dictionaries(st.text(max_size=10), st.text(max_size=10), min_size=1, max_size=2))
@settings(max_examples=300)
def test_nothing_at_all_breaks_it(query: str, match: dict[str, str]) -> None:
    tried(query, match)


SLI = {"id": "a", "title": "A", "source": "main", "query": "up"}
POLICY = {"id": "epl", "name": "EPL", "enforcement": "observe", "slis": [SLI]}


def test_variables_of_a_policy_become_values_once_and_for_all() -> None:
    matched = [SLI | {"match": {"product": "$product", "env": "$environment", "zone": "eu"}}]
    policy = read_policy(POLICY | {"variables": {"environment": "production"}, "slis": matched})
    assert policy.slis[0].match == {"product": "epl", "env": "production", "zone": "eu"}
    assert policy.slis[0].asked == 'up # matching env="production", product="epl", zone="eu"'
    assert Policy.model_validate(policy.model_dump(mode="json")) == policy
    plain = read_policy(POLICY)
    assert plain.slis[0].asked == "up" and plain.version() != policy.version()
    with pytest.raises(ValidationError, match="there is no variable stage; there are product"):
        read_policy(POLICY | {"slis": [SLI | {"match": {"env": "$stage"}}]})


async def test_a_source_asks_with_the_matchers_or_not_at_all() -> None:
    seen: list[str] = []
    asked = noting(seen, lambda request: form(request)["query"])
    assert isinstance(await read_matching(asked, "rate(up[5m])", {"env": "prod"}), Series)
    assert seen == ['rate(up{env="prod"}[5m])']
    refused = await read_matching(asked, "vector(1)", {"env": "prod"})
    assert refused == Missing("the query selects no series, so nothing can be matched on") and len(seen) == 1

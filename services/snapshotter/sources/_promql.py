"""Label matchers put into a query by a real PromQL parser: into every selector, never by formatting text.

The library reads PromQL exactly but prints strings without their escapes, so these are put back first; and what is printed is
believed only when it reads as the same query, with the matchers in each of its selectors and no other difference.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import promql_parser as promql

_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,127}")
_VALUE = re.compile(r"[A-Za-z0-9_.:/-]{1,128}")
_SELECTOR = "VectorSelector"
_NOT_EXACTLY = "the matchers cannot be put into this query exactly: write them into it by hand"


def injected(query: str, match: Mapping[str, str]) -> str:
    """The query with `label="value"` in each of its selectors, for each of `match`; as it was when there are none.

    Raises ValueError, in words that can be shown, when it is not PromQL, has no selector, names one of the labels itself,
    uses what the printer cannot print, or when a label or value has signs that no label of ours needs.
    """
    if not match:
        return query
    for label, value in match.items():
        if not _NAME.fullmatch(label) or label == "__name__":
            raise ValueError(f"{label[:80]!r} is no label that can be matched on")
        if not _VALUE.fullmatch(value):
            raise ValueError(f"the value for {label} has signs other than letters, digits and _ . : / -")
    wanted = _described(_parsed(query), match)
    if not any(part[0] == _SELECTOR for part in wanted):
        raise ValueError("the query selects no series, so nothing can be matched on")
    printed = str(promql.transform(_parsed(query), lambda node: _with(node, match)))
    if _described(_parsed(printed, _NOT_EXACTLY), {}) != wanted:
        raise ValueError(_NOT_EXACTLY)
    return printed


def _parsed(query: str, what: str = "the query is not PromQL") -> promql.Expr:
    try:
        return promql.parse(query)
    except Exception as error:  # the library raises ValueError, and a panic of its own for what it never expected
        raise ValueError(f"{what}: {str(error)[:200]}") from None


def _with(node: promql.Expr, match: Mapping[str, str]) -> promql.Expr | None:
    """The same node with the matchers, and with escapes where it is to be printed; None for one that stays."""
    if isinstance(node, promql.VectorSelector):
        node.matchers = _matchers(node, match)
    elif isinstance(node, promql.StringLiteral):
        node.val = _escaped(_escaped(node.val))
    else:
        return None
    # Parents take a node that was parsed, not one that was changed. Parsing takes the outer escapes off again.
    return _parsed(str(node), _NOT_EXACTLY)


def _matchers(selector: promql.VectorSelector, match: Mapping[str, str]) -> promql.Matchers:
    if selector.matchers.or_matchers:
        raise ValueError("a query with `or` between matchers is not Prometheus': write the matchers into it by hand")
    own = [promql.Matcher(each.op, each.name, _escaped(_escaped(each.value))) for each in selector.matchers.matchers]
    if both := {each.name for each in own} & match.keys():
        raise ValueError(f"the query itself matches on {sorted(both)[0]}")
    return promql.Matchers([*own, *(promql.Matcher(promql.MatchOp.Equal, *each) for each in sorted(match.items()))])


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")


#: What is said of a node beside its kind; its children are visited by themselves.
_TELLING = {
    promql.MatrixSelector: ("range",),
    promql.NumberLiteral: ("val",),
    promql.StringLiteral: ("val",),
    promql.BinaryExpr: ("op", "modifier"),
    promql.AggregateExpr: ("op", "modifier"),
    promql.SubqueryExpr: ("offset", "at", "range", "step"),
}


def _described(expression: promql.Expr, match: Mapping[str, str]) -> list[tuple[Any, ...]]:
    """The whole tree in order, each selector with the matchers that are to be added."""
    parts: list[tuple[Any, ...]] = []

    def visit(node: promql.Expr) -> None:
        kind = type(node).__name__
        if isinstance(node, promql.VectorSelector):
            own = [(str(each.op), each.name, each.value) for each in node.matchers.matchers]
            more = [(str(promql.MatchOp.Equal), *each) for each in match.items()]
            parts.append((_SELECTOR, node.name, sorted(own + more), node.offset, _plain(node.at)))
        elif isinstance(node, promql.Call):
            parts.append((kind, node.func.name))
        else:
            parts.append((kind, *(_plain(getattr(node, name)) for name in _TELLING.get(type(node), ()))))

    promql.walk(expression, visit)
    return parts


def _plain(value: object) -> object:
    """Something of the library's that can be compared."""
    fields = (
        [name for name in dir(value) if not name.startswith("_")] if type(value).__module__ == "promql_parser" else []
    )
    readable = [(name, getattr(value, name)) for name in fields]
    kept = [(name, _plain(each)) for name, each in readable if not callable(each) and type(each) is not type(value)]
    return tuple(kept) if kept else str(value)

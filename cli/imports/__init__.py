"""SLIs from the files of other tools, in the form of a policy. One file per format, found by lying here.

To add a format: a file with `NAME`, `knows(document) -> bool`, `slis(document, others) -> list[dict]`, and its test. What is
read becomes a *shadow* SLI: judged and shown, deciding nothing until somebody who knows it takes the word away.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from typing import Any

import promql_parser as promql
import yaml

#: Over how long a rate is taken where the file's tool would choose for itself.
RATE = "5m"
#: Where Sloth writes its own windows into a query; a look needs one.
_WINDOWS = ("{{.window}}", "{{ .window }}")


class ImportProblem(Exception):
    """What is wrong, and where: `line 12, spec.indicator: ...`."""


class Part:
    """A mapping, list or value of a file that knows its place in it."""

    def __init__(self, node: yaml.Node, path: str = "", key: yaml.Node | None = None) -> None:
        self.node, self.path, self.line = node, path, (key or node).start_mark.line + 1

    def problem(self, words: str) -> ImportProblem:
        return ImportProblem(f"line {self.line}, {self.path or 'the document'}: {words}")

    def find(self, path: str) -> Part | None:
        """The part at `a.b.c`; None where there is none. Raises ImportProblem for a path through something else."""
        found: Part = self
        for name in path.split("."):
            if not isinstance(found.node, yaml.MappingNode):
                raise found.problem("a mapping is needed here")
            key, inner = next((pair for pair in found.node.value if pair[0].value == name), (None, None))
            if inner is None or inner.tag.endswith(":null"):
                return None
            found = Part(inner, f"{found.path}.{name}".lstrip("."), key)
        return found

    def need(self, path: str) -> Part:
        found = self.find(path)
        if found is None:
            raise self.problem(f"{path} is missing")
        return found

    def items(self) -> list[Part]:
        if not isinstance(self.node, yaml.SequenceNode):
            raise self.problem("a list is needed here")
        return [Part(each, f"{self.path}[{place}]") for place, each in enumerate(self.node.value)]

    def text(self) -> str:
        if not isinstance(self.node, yaml.ScalarNode):
            raise self.problem("one value is needed here")
        return str(self.node.value).strip()

    def word(self, path: str) -> str:
        """The text there, or nothing."""
        found = self.find(path)
        return found.text() if found else ""

    def query(self, text: str | None = None) -> str:
        """PromQL in one line, checked by a parser; this part's text, or what was made of it."""
        text = " ".join((text if text is not None else self.text()).split())
        try:
            promql.parse(text)
        except Exception as error:
            raise self.problem(f"this is not PromQL: {str(error)[:200]}") from None
        return text

    def windowed(self) -> str:
        """PromQL with one window where Sloth would put in its own."""
        text = self.text()
        for window in _WINDOWS:
            text = text.replace(window, RATE)
        return self.query(text)

    def rate(self) -> str:
        """The summed rate of the counter that is named here."""
        selector = self.query()
        if not isinstance(promql.parse(selector), promql.VectorSelector):
            raise self.problem("a metric with its labels is needed here, not an expression")
        return self.query(f"sum(rate({selector}[{RATE}]))")


def kinds() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def read(text: str, source: str) -> list[dict[str, Any]]:
    """The SLIs of a file, as a policy would have them. Raises ImportProblem."""
    try:
        documents = [Part(node) for node in yaml.compose_all(text, Loader=yaml.SafeLoader) if node is not None]
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ImportProblem(f"line {line}: this is not YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise ImportProblem(f"this is not YAML: {str(error)[:200]}") from None
    formats = [importlib.import_module(f"{__name__}.{name}") for name in kinds()]
    found: list[dict[str, Any]] = []
    for document in documents:
        if not isinstance(document.node, yaml.MappingNode):
            raise document.problem("a mapping is needed here")
        known = next((each for each in formats if each.knows(document)), None)
        if known is None:
            names = ", ".join(each.NAME for each in formats)
            raise document.problem(f"this is none of {names} (its apiVersion, kind or version says so)")
        found += known.slis(document, documents)
    taken: set[str] = set()
    for sli in found:
        if sli["id"] in taken:
            raise ImportProblem(f"two SLIs would be called {sli['id']}: import them one by one")
        taken.add(sli["id"])
        sli["source"] = source
    return found


def sli(
    at: Part, name: str, title: str, query: str, *, unit: str = "ratio", higher_is_worse: bool = True
) -> dict[str, Any]:
    """One SLI in the form of a policy."""
    slug = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-._")[:64].strip("-._")
    if not slug:
        raise at.problem("its name has no letter or digit to be called by")
    return {
        "id": slug,
        "title": (title or name)[:200],
        "source": "",
        "query": query,
        "unit": unit,
        "direction": "higher_is_worse" if higher_is_worse else "lower_is_worse",
        "severity": "major",
        "shadow": True,
    }


def share(bad: str, total: str) -> str:
    """What fails, of all. Nothing failed is 0 and not "no data"; no traffic stays "no data"."""
    return f"(({bad}) or vector(0)) / ({total})"

"""The API's documentation as one plain page, made from `app.openapi()`: no script, no font, nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import Any

from fastapi import FastAPI

_STYLE = """
:root{color-scheme:light dark;--line:#8885;--soft:#8881;--get:#1b7f4b;--post:#1f5fbf;--put:#9a6200;--delete:#b3261e}
body{font:16px/1.5 system-ui,sans-serif;margin:0 auto;max-width:62rem;padding:1.5rem}
h1{margin:.2em 0}h2{margin:2.2em 0 .4em;border-bottom:1px solid var(--line)}
code,pre{font:13px/1.45 ui-monospace,monospace}pre{background:var(--soft);padding:.7em 1em;overflow:auto;border-radius:6px}
details{border:1px solid var(--line);border-radius:6px;margin:.5em 0;padding:.45em .8em}
details details{border:0;padding:0 0 0 .5em}summary{cursor:pointer}
table{border-collapse:collapse;width:100%;font-size:14px}
th,td{text-align:left;vertical-align:top;padding:.3em .6em .3em 0;border-bottom:1px solid var(--line)}
b.m{display:inline-block;min-width:4.2em}
.get{color:var(--get)}.post{color:var(--post)}.put,.patch{color:var(--put)}.delete{color:var(--delete)}
.said{white-space:pre-line}.quiet{opacity:.7}nav a{display:block}
"""

#: For the docs page alone: its one style sheet lies in the page and is named by its hash.
DOCS_POLICY = (
    f"default-src 'none'; style-src 'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'; "
    "form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)

_METHODS = ("get", "post", "put", "patch", "delete")
_CONSTRAINTS = (
    "format",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "minItems",
    "maxItems",
    "default",
)


def docs_page(app: FastAPI) -> str:
    """HTML of all paths of `app`: what they do, take and answer, with schemas and examples. Send with DOCS_POLICY."""
    document = app.openapi()
    known = getattr(app.state, "docs_page", None)
    if known is not None and known[0] is document:
        page: str = known[1]
        return page
    page = "".join(_Page(document).parts())
    app.state.docs_page = (document, page)
    return page


class _Page:
    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document
        self.schemas: Mapping[str, Any] = document.get("components", {}).get("schemas", {})

    def parts(self) -> Iterator[str]:
        info = self.document["info"]
        title = escape(f"{info['title']} {info['version']}")
        yield (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width,initial-scale=1">'
            f"<title>{title}</title><style>{_STYLE}</style></head><body><h1>{title}</h1>"
        )
        yield _said(info.get("description", ""))
        yield '<p class="quiet">The same for programs: <a href="openapi.json">openapi.json</a></p>'
        groups = self._groups()
        yield "<nav>"
        for group in groups:
            yield f'<a href="#{_anchor(group)}">{escape(group)}</a>'
        yield '<a href="#schemas">Schemas</a></nav>'
        for group, operations in groups.items():
            yield f'<h2 id="{_anchor(group)}">{escape(group)}</h2>'
            for method, path, operation in operations:
                yield from self._operation(method, path, operation)
        yield '<h2 id="schemas">Schemas</h2>'
        for name, schema in sorted(self.schemas.items()):
            yield f'<details id="{_anchor("schema", name)}"><summary><code>{escape(name)}</code></summary>'
            yield from self._schema(schema)
            yield "</details>"
        yield "</body></html>"

    def _groups(self) -> dict[str, list[tuple[str, str, Mapping[str, Any]]]]:
        groups: dict[str, list[tuple[str, str, Mapping[str, Any]]]] = {}
        for path, methods in self.document.get("paths", {}).items():
            for method in _METHODS:
                if method in methods:
                    tag = (methods[method].get("tags") or ["paths"])[0]
                    groups.setdefault(str(tag), []).append((method, path, methods[method]))
        return groups

    def _operation(self, method: str, path: str, operation: Mapping[str, Any]) -> Iterator[str]:
        yield f'<details id="{_anchor(method, path)}"><summary><b class="m {method}">{method.upper()}</b> '
        yield f"<code>{escape(path)}</code> {escape(operation.get('summary', ''))}</summary>"
        yield _said(operation.get("description", ""))
        if operation.get("parameters"):
            yield "<h4>Parameters</h4>"
            yield from _table(
                (
                    f"<code>{escape(each['name'])}</code>{_needed(each.get('required', False))}",
                    escape(each["in"]),
                    self._type(each.get("schema", {})) + _constraints(each.get("schema", {})),
                    _said(each.get("description", "")) + _examples(each),
                )
                for each in operation["parameters"]
            )
        body = operation.get("requestBody")
        if body:
            yield f"<h4>Body{_needed(body.get('required', False))}</h4>" + _said(body.get("description", ""))
            yield from self._content(body.get("content", {}))
        yield "<h4>Answers</h4>"
        for status, answer in operation.get("responses", {}).items():
            yield f"<p><b>{escape(str(status))}</b> {escape(answer.get('description', ''))}</p>"
            yield from self._content(answer.get("content", {}))
        yield "</details>"

    def _content(self, content: Mapping[str, Any]) -> Iterator[str]:
        for media, what in content.items():
            yield f'<p class="quiet"><code>{escape(media)}</code> {self._type(what.get("schema", {}))}</p>'
            yield _examples(what) or _examples(self._resolved(what.get("schema", {})))

    def _schema(self, schema: Mapping[str, Any]) -> Iterator[str]:
        yield _said(schema.get("description", ""))
        fields = schema.get("properties")
        if not fields:
            yield f"<p>{self._type(schema)}{_constraints(schema)}</p>"
        else:
            needed = set(schema.get("required", ()))
            yield from _table(
                (
                    f"<code>{escape(name)}</code>{_needed(name in needed)}",
                    self._type(field) + _constraints(field),
                    _said(field.get("description", "")) + _examples(field),
                )
                for name, field in fields.items()
            )
        yield _examples(schema)

    def _resolved(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.schemas.get(_name_of(schema), schema)
        return found

    def _type(self, schema: Mapping[str, Any]) -> str:
        """One line for a schema; named ones are links, so that no cycle can hold us."""
        if "$ref" in schema:
            name = _name_of(schema)
            return f'<a href="#{_anchor("schema", name)}">{escape(name)}</a>'
        for several in ("anyOf", "oneOf", "allOf"):
            if several in schema:
                return " | ".join(self._type(each) for each in schema[several])
        if "enum" in schema or "const" in schema:
            return " | ".join(
                f"<code>{escape(json.dumps(v))}</code>" for v in schema.get("enum", [schema.get("const")])
            )
        kind = schema.get("type", "anything")
        if kind == "array":
            return f"list of {self._type(schema.get('items', {}))}"
        if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
            return f"map of {self._type(schema['additionalProperties'])}"
        return escape(str(kind))


def _name_of(schema: Mapping[str, Any]) -> str:
    return str(schema.get("$ref", "")).rpartition("/")[2]


def _anchor(*parts: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", "-".join(parts)).strip("-").lower() or "top"


def _needed(is_needed: bool) -> str:
    return " <b>needed</b>" if is_needed else ""


def _said(text: str) -> str:
    """Words of a docstring: paragraphs as they are, `code` as code."""
    if not text:
        return ""
    said = re.sub(r"`+([^`]+)`+", r"<code>\1</code>", escape(text.strip()))
    return f'<div class="said">{said}</div>'


def _constraints(schema: Mapping[str, Any]) -> str:
    found = [f"{name} {json.dumps(schema[name])}" for name in _CONSTRAINTS if schema.get(name) is not None]
    return f'<br><span class="quiet">{escape(", ".join(found))}</span>' if found else ""


def _examples(what: Mapping[str, Any]) -> str:
    """All examples of a parameter, a body or a schema, however OpenAPI spells them."""
    found: list[tuple[str, Any]] = [("", what["example"])] if "example" in what else []
    several = what.get("examples") or []
    if isinstance(several, Mapping):
        found += [(str(e.get("summary", name)), e["value"]) for name, e in several.items() if "value" in e]
    else:
        found += [("", each) for each in several]
    return "".join(
        f'<p class="quiet">Example{": " + escape(name) if name else ""}</p>'
        f"<pre>{escape(value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False))}</pre>"
        for name, value in found
    )


def _table(rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield "<table>"
    for row in rows:
        yield "<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>"
    yield "</table>"

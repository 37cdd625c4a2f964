"""Writes `docs/events/` and `docs/states.md` from code, and refuses a change that would break a reader of an event.

    python -m cli.docs            write
    python -m cli.docs --check    say what is stale or breaking, write nothing

A fact is kept for good, so a schema may only grow: a field that is dropped, retyped or newly required needs a new version
of the name. The guard is this writer, which knows the last schema; a test alone that compares files would be no guard.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import services
from shared.contracts import FACTS
from shared.contracts.heartbeats import TOPIC as HEARTBEATS
from shared.contracts.heartbeats import Heartbeat
from shared.contracts.inbound import INBOUND
from shared.settings import SERVICES
from shared.topics import INBOUND as INBOUND_TOPIC

ROOT = Path(__file__).resolve().parents[1]
_URL = "urn:daymark:schema:"


def schemas() -> dict[str, dict[str, Any]]:
    """type name -> JSON Schema 2020-12 of its data, of every fact, heartbeat and inbound event."""
    models: dict[str, Any] = {**FACTS, **INBOUND, "heartbeat.v1": Heartbeat}
    return {
        name: {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$id": f"{_URL}{name}",
            **model.model_json_schema(mode="validation"),
        }
        for name, model in sorted(models.items())
    }


def breaks(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What of `new` would break a reader of `old`, or the reading of what was written under it, as sentences."""
    return list(_breaks(old, new, old, new, ""))


def _breaks(old: Any, new: Any, old_root: Any, new_root: Any, at: str) -> Iterator[str]:
    old, new = _resolved(old, old_root), _resolved(new, new_root)
    for keyword in ("type", "const", "format", "pattern"):
        if old.get(keyword) != new.get(keyword):
            yield f"{at or 'data'}: {keyword} was {old.get(keyword)!r}, is {new.get(keyword)!r}"
    if "enum" in old and (gone := [value for value in old["enum"] if value not in new.get("enum", [])]):
        yield f"{at}: no longer one of {gone}"
    was, now = old.get("properties", {}), new.get("properties", {})
    for name, schema in was.items():
        here = f"{at}.{name}".lstrip(".")
        if name not in now:
            yield f"{here} was dropped"
        else:
            yield from _breaks(schema, now[name], old_root, new_root, here)
    for name in new.get("required", []):
        if name not in old.get("required", []):
            yield f"{at}.{name}".lstrip(".") + " is newly required"
    for keyword in ("items", "additionalProperties"):
        if isinstance(old.get(keyword), dict) and isinstance(new.get(keyword), dict):
            yield from _breaks(old[keyword], new[keyword], old_root, new_root, f"{at}[]")
    for keyword in ("anyOf", "prefixItems"):
        if len(old.get(keyword, [])) > len(new.get(keyword, [])):
            yield f"{at}: a shape that was allowed is gone"
        for one, other in zip(old.get(keyword, []), new.get(keyword, []), strict=False):
            yield from _breaks(one, other, old_root, new_root, at)


def _resolved(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#/$defs/"):
        found: dict[str, Any] = root["$defs"][reference.removeprefix("#/$defs/")]
        return found
    return schema


def who() -> str:
    """The table who says and who hears, per topic."""
    hears: dict[str, list[str]] = {}
    for service in SERVICES:
        for fact in importlib.import_module(f"services.{service}.handlers").ON:
            hears.setdefault(fact.type, []).append(service)
    lines = [
        "# Events",
        "",
        "Written by `make docs` from `shared/contracts/`; do not edit. CloudEvents 1.0, binary mode on Kafka:",
        "the attributes are `ce_...` headers, the record's key is `ce_partitionkey`, the value is the JSON data below.",
        "`ce_sequence` is the version of the thing spoken of: drop what is older than what you have.",
        "`ce_actor` is who caused it (`issuer|subject`, or `daymark|<service>` where a clock did), `ce_policyversion` the",
        "policy in force, `ce_causationid` what led to it: the id of the fact that was heard, the request's Idempotency-Key or",
        "else its `X-Request-Id`, the id of the event or delivery that came in, the appointment that fell due, or `start`.",
        "",
        "| topic | event | key | said by | heard by |",
        "|---|---|---|---|---|",
    ]
    for name, fact in sorted(FACTS.items(), key=lambda one: (one[1].topic, one[0])):
        heard = ", ".join(hears.get(name, [])) or "(dashboards)"
        lines.append(f"| `{fact.topic}` | [`{name}`]({name}.json) | `{fact.key_field}` | {fact.owner} | {heard} |")
    for name in sorted(INBOUND):
        lines.append(f"| `{INBOUND_TOPIC}` | [`{name}`]({name}.json) | the CR | other systems, signed | intake |")
    lines.append(f"| `{HEARTBEATS}` | [`heartbeat.v1`](heartbeat.v1.json) | the service | every service | reviewer |")
    return "\n".join(lines) + "\n"


def states() -> str:
    """A picture of every `MOVES` table."""
    lines = ["# States", "", "Written by `make docs` from the `MOVES` tables of the four domains; do not edit.", ""]
    for service in SERVICES:
        for title, moves in _moves(f"services.{service}.domain"):
            lines += [f"## {service}: {title}", "", "```mermaid", "stateDiagram-v2"]
            pairs: dict[tuple[str, str], list[str]] = {}
            for (state, what), then in moves.items():
                pairs.setdefault((_word(state), _word(then)), []).append(_word(what))
            lines += [f"    {state} --> {then}: {', '.join(what)}" for (state, then), what in pairs.items()]
            lines += ["```", ""]
    return "\n".join(lines)


def _moves(module_name: str) -> Iterator[tuple[str, dict[tuple[Any, Any], Any]]]:
    module = importlib.import_module(module_name)
    rooms = [module]
    for found in pkgutil.iter_modules(getattr(module, "__path__", [])):
        rooms.append(importlib.import_module(f"{module_name}.{found.name}"))
    seen: set[int] = set()
    for room in rooms:
        for name, value in vars(room).items():
            if name.endswith("MOVES") and isinstance(value, dict) and id(value) not in seen:
                seen.add(id(value))
                place = room.__name__.removeprefix(module_name).strip(".")
                title = name.removesuffix("MOVES").strip("_").lower().replace("_", " ") or place or "moves"
                yield title, value


def _word(state: object) -> str:
    text = "none" if state is None else str(getattr(state, "value", state))
    return re.sub(r"\W+", "_", text)


def wanted() -> dict[Path, str]:
    """Every generated file and what must stand in it."""
    files = {ROOT / "docs/events/README.md": who(), ROOT / "docs/states.md": states()}
    for name, schema in schemas().items():
        files[ROOT / f"docs/events/{name}.json"] = json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
    return files


def problems() -> list[str]:
    """Breaking changes against the schemas that stand in `docs/events/`."""
    found = []
    new = schemas()
    for file in sorted((ROOT / "docs/events").glob("*.json")):
        name = file.stem
        if name not in new:
            found.append(f"{name} is gone: facts of it are kept for good and must stay readable")
            continue
        for sentence in breaks(json.loads(file.read_text()), new[name]):
            found.append(f"{name}: {sentence}: declare a new version instead")
    return found


def stale() -> list[str]:
    """Files that do not stand as they would be written."""
    return [
        str(file.relative_to(ROOT)) for file, text in wanted().items() if not file.exists() or file.read_text() != text
    ]


def main() -> int:
    """Exit code 1 when something breaks, or with --check is stale."""
    assert services.__path__
    broken = problems()
    for sentence in broken:
        print(sentence, file=sys.stderr)
    if broken:
        return 1
    if "--check" in sys.argv:
        old = stale()
        for name in old:
            print(f"{name} is stale: run make docs", file=sys.stderr)
        return 1 if old else 0
    for file, text in wanted().items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    print(f"{len(wanted())} files written")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The event docs are what the code says, and no event breaks its readers."""

from typing import Any

import pytest

from cli import docs


def test_the_written_docs_are_those_of_the_code() -> None:
    assert docs.stale() == [], "run make docs"


def test_no_event_breaks_its_readers() -> None:
    assert docs.problems() == []


BASE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "a": {"type": "string"},
        "b": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "c": {"$ref": "#/$defs/C"},
    },
    "required": ["a"],
    "$defs": {"C": {"type": "object", "properties": {"x": {"enum": ["one", "two"], "type": "string"}}}},
}


def changed(**properties: Any) -> dict[str, Any]:
    return {**BASE, "properties": {**BASE["properties"], **properties}}


@pytest.mark.parametrize(
    ("new", "says"),
    [
        ({**BASE, "properties": {key: value for key, value in BASE["properties"].items() if key != "b"}}, "dropped"),
        (changed(a={"type": "integer"}), "type was 'string'"),
        (changed(a={"type": "string", "pattern": "^x$"}), "pattern"),
        ({**BASE, "required": ["a", "b"]}, "newly required"),
        (
            {**BASE, "$defs": {"C": {"type": "object", "properties": {"x": {"enum": ["one"], "type": "string"}}}}},
            "no longer",
        ),
        ({**BASE, "$defs": {"C": {"type": "object", "properties": {}}}}, "c.x was dropped"),
        (changed(b={"anyOf": [{"type": "integer"}]}), "is gone"),
    ],
)
def test_a_change_that_drops_retypes_or_newly_requires_is_refused(new: dict[str, Any], says: str) -> None:
    assert any(says in sentence for sentence in docs.breaks(BASE, new)), docs.breaks(BASE, new)


def test_a_new_optional_field_and_a_new_word_are_allowed() -> None:
    grown = changed(d={"type": "string"})
    grown["$defs"] = {"C": {"type": "object", "properties": {"x": {"enum": ["one", "two", "three"], "type": "string"}}}}
    assert docs.breaks(BASE, grown) == []

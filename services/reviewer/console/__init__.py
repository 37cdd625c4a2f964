"""How the console looks: jinja templates that always escape, words, one static style sheet. No script, no inline style.

`page(name, **values)` gives the HTML of a template; `STATIC` the files that anybody may have.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup

from services.reviewer.console import words
from services.reviewer.console.glossary import GLOSSARY

_HERE = Path(__file__).parent
_jinja = Environment(
    loader=FileSystemLoader(_HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,  # a template that names what is not there is our bug, not an empty cell
    trim_blocks=True,
    lstrip_blocks=True,
)

# Lengths of bars in percent: inline styles are forbidden, so each length has its class.
_LENGTHS = "".join(f".w-{n}{{width:{n}%}}" for n in range(101))

#: name -> (media type, bytes)
STATIC = {
    "daymark.css": ("text/css; charset=utf-8", (_HERE / "static" / "daymark.css").read_bytes() + _LENGTHS.encode()),
    "daymark.svg": ("image/svg+xml", (_HERE / "static" / "daymark.svg").read_bytes()),
}


def page(name: str, **values: Any) -> str:
    """The HTML of `templates/<name>.html`. Pages that show times need `now`."""
    return _jinja.get_template(f"{name}.html").render(**values)


@pass_context
def _when(context: Context, at: datetime | None) -> Markup:
    """A time as the page shows it: how long ago, and exactly."""
    if at is None:
        return Markup("–")
    return Markup('<time datetime="{}">{} <span class="exact">{}</span></time>').format(
        at.isoformat(), words.relative(at, context["now"]), words.clock(at)
    )


@pass_context
def _ago(context: Context, at: datetime | None) -> Markup:
    """A time as a few words; the exact one in its title."""
    if at is None:
        return Markup("–")
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        at.isoformat(), words.clock(at), words.relative(at, context["now"])
    )


@pass_context
def _person(context: Context, who: str | None) -> Markup:
    """A person by the name they go by; one whom nobody knows is a claim, and shown as such."""
    if who is not None and who in context.get("strangers", ()):
        why = f"{who}: nobody of that name is known here"
        claimed = Markup('<span class="person" title="{}">{} <span class="quiet">(claimed)</span></span>')
        return claimed.format(why, words.person(who))
    return Markup('<span class="person" title="{}">{}</span>').format(who or "", words.person(who))


def _term(word: str, shown: str | None = None) -> Markup:
    """A word of the process, linked to what it means."""
    entry = next(each for each in GLOSSARY if word in (each.word, each.anchor))
    return Markup('<a class="term" href="/glossary#{}" title="{}">{}</a>').format(
        entry.anchor, entry.means, shown or word
    )


_jinja.filters.update(
    when=_when,
    ago=_ago,
    person=_person,
    number=words.number,
    sentence=words.sentence,
    percent=words.percent,
    short=words.short,
    http_url=words.http_url,
    clock=words.clock,
)
_jinja.globals.update(words=words, term=_term, glossary=GLOSSARY)

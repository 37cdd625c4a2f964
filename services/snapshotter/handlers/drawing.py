"""The picture behind an answer, as SVG: before, after and earlier days laid over each other by the clock, and what fired.

Written by hand: a plot of lines needs no library in production. It holds no script, no link and no font, its lines differ by
more than colour, and who cannot see it is read the sentence.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal
from xml.sax.saxutils import escape

import numpy as np

from services.snapshotter.judge import read_as
from services.snapshotter.sources import Floats

_WIDTH, _HEIGHT = 960, 460
_LEFT, _RIGHT, _TOP, _BOTTOM = 72, 16, 96, 74
_PLOT_W, _PLOT_H = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
_DAY_S = 86400.0
_WIDEST = float(np.finfo(np.float64).max)

Role = Literal["earlier", "anchor", "before", "after"]
#: stroke, width, dashes. Drawn in this order, so that what matters lies on top.
_STYLE: dict[Role, tuple[str, str, str]] = {
    "earlier": ("#b8b8b8", "1", ""),
    "anchor": ("#7a5195", "1.5", "2 4"),
    "before": ("#4d4d4d", "1.5", "6 3"),
    "after": ("#0b5cad", "2", ""),
}


@dataclass(frozen=True, eq=False)
class Line:
    """One window's samples, NaN where nothing was read."""

    role: Role
    name: str
    start_s: float
    step_s: float
    values: Floats


@dataclass(frozen=True, eq=False)
class Picture:
    """All that is drawn. `facts`: short words on what was compared, for the line under the plot."""

    title: str
    sentence: str
    unit: str
    began_at: datetime
    settle_s: float
    since_at: datetime | None
    lines: Sequence[Line]
    facts: Sequence[str]


def svg(picture: Picture, *, is_small: bool = False) -> str:
    """A whole SVG document; `is_small`: lines and axes without words, and without earlier days, for a page."""
    if is_small:
        return _small(picture)
    low, high = _range(picture.lines)
    drawn = sorted(picture.lines, key=lambda line: list(_STYLE).index(line.role))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}"'
        ' role="img" aria-labelledby="title desc" font-family="system-ui, sans-serif" font-size="12">',
        f'<title id="title">{_text(picture.title)}</title>',
        f'<desc id="desc">{_text(picture.sentence)}</desc>',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        f'<text x="{_LEFT}" y="22" font-size="15" font-weight="600">{_text(_cut(picture.title, 110))}</text>',
        *_words(picture.sentence),
        *_axes(picture, low, high),
        *_settled(picture),
        *(_line(line, picture.began_at.timestamp(), low, high) for line in drawn),
        *_since(picture),
        *_legend(drawn),
        f'<text x="{_LEFT}" y="{_HEIGHT - 10}" fill="#4d4d4d">{_text(_cut(" · ".join(picture.facts), 150))}</text>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


#: Which colours a page in the dark asks for; there is no paper in a small picture.
SMALL_STYLE = (
    "text{fill:#56626e}@media(prefers-color-scheme:dark){text{fill:#a3afba}.before{stroke:#c2cbd3}"
    ".after{stroke:#6cb2ee}.anchor{stroke:#c9a0e0}.settle{fill:#4a3f22}.grid *{stroke:#55606b}}"
)


def _small(picture: Picture) -> str:
    low, high = _range([line for line in picture.lines if line.role != "earlier"])
    top, tall = _TOP - 12, _PLOT_H + 12 + 28
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 {top} {_WIDTH} {tall}" role="img"'
        ' aria-labelledby="title desc" font-family="system-ui, sans-serif" font-size="17">',
        f'<title id="title">{_text(picture.title)}</title>',
        f'<desc id="desc">{_text(picture.sentence)}</desc><style>{SMALL_STYLE}</style>',
        *_settled(picture),
        '<g class="grid" stroke-opacity=".5">',
        *_axes(picture, low, high, is_small=True),
        "</g>",
        *(
            _line(line, picture.began_at.timestamp(), low, high)
            for line in sorted(picture.lines, key=lambda line: list(_STYLE).index(line.role))
            if line.role != "earlier"
        ),
        *_since(picture, is_small=True),
        "</svg>",
    ]
    return "".join(parts)


def _range(lines: Sequence[Line]) -> tuple[float, float]:
    there = [line.values[np.isfinite(line.values)] for line in lines]
    values = np.concatenate([each for each in there if each.size] or [np.zeros(1)])
    low, high = float(values.min()), float(values.max())
    pad = (high / 20 - low / 20) or abs(high) / 20 or 1.0
    return max(low - pad, -_WIDEST), min(high + pad, _WIDEST)


def _y(value: float, low: float, high: float) -> float:
    # Halved first, so that not even the widest range of floats overflows.
    return _TOP + _PLOT_H * (1 - (value / 2 - low / 2) / (high / 2 - low / 2))


def _line(line: Line, began_s: float, low: float, high: float) -> str:
    """One path: the lowest and highest of every pixel column, so that no spike is lost; a gap is a gap."""
    stroke, width, dashes = _STYLE[line.role]
    dash = f' stroke-dasharray="{dashes}"' if dashes else ""
    path = " ".join(_path(line, began_s, low, high))
    style = f'fill="none" stroke="{stroke}" stroke-width="{width}"{dash} stroke-linejoin="round" stroke-linecap="round"'
    return f'<path class="{line.role}" d="{path}" {style}><title>{_text(line.name)}</title></path>'


def _path(line: Line, began_s: float, low: float, high: float) -> Iterator[str]:
    at = (line.start_s - began_s + line.step_s * np.arange(len(line.values))) % _DAY_S / _DAY_S
    there = np.isfinite(line.values)
    column = (at * _PLOT_W).astype(int)
    widest = max(1.0, 1.5 * line.step_s / _DAY_S * _PLOT_W) + 1  # further apart: something was not read between
    last: int | None = None
    for x in np.unique(column[there]).tolist():
        inside = line.values[there & (column == x)]
        pen = "M" if last is None or x - last > widest else "L"
        first, second = (inside.min(), inside.max()) if inside[0] <= inside[-1] else (inside.max(), inside.min())
        yield f"{pen}{_LEFT + x} {_y(float(first), low, high):.1f}"
        if first != second or pen == "M":  # a lone point is a dot, by its round ends
            yield f"L{_LEFT + x} {_y(float(second), low, high):.1f}"
        last = x


def _axes(picture: Picture, low: float, high: float, *, is_small: bool = False) -> Iterator[str]:
    right, bottom = _LEFT + _PLOT_W, _TOP + _PLOT_H
    factor, unit = read_as(picture.unit)
    for value in _ticks(low, high):
        y = _y(value, low, high)
        yield f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" stroke="#e6e6e6"/>'
        yield f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_text(f"{factor * value:.6g}")}</text>'
    if not is_small:
        yield f'<text x="{_LEFT - 6}" y="{_TOP - 8}" text-anchor="end" fill="#4d4d4d">{_text(unit)}</text>'
    for hour in range(0, 25, 6 if is_small else 3):
        x = _LEFT + _PLOT_W * hour / 24
        clock = (picture.began_at.astimezone(UTC) + timedelta(hours=hour)).strftime("%H:%M")
        yield f'<line x1="{x:.1f}" y1="{bottom}" x2="{x:.1f}" y2="{bottom + 4}" stroke="#4d4d4d"/>'
        anchor = "start" if hour == 0 else "end" if hour == 24 else "middle"
        yield f'<text x="{x:.1f}" y="{bottom + 17}" text-anchor="{anchor}">{clock}</text>'
    yield f'<path d="M{_LEFT} {_TOP}V{bottom}H{right}" fill="none" stroke="#4d4d4d"/>'
    if is_small:
        return
    label = f"clock (UTC); {picture.began_at.astimezone(UTC):%Y-%m-%d %H:%M} is where the after window begins"
    yield f'<text x="{right}" y="{bottom + 33}" text-anchor="end" fill="#4d4d4d">{label}</text>'


def _ticks(low: float, high: float) -> list[float]:
    """Some four round numbers between `low` and `high`."""
    rough = (high / 4 - low / 4) or 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * n for n in (1, 2, 5, 10) if power * n >= rough * 0.999)
    first = math.ceil(low / step)
    return [n * step for n in range(first, first + 7) if n * step <= high]


def _settled(picture: Picture) -> Iterator[str]:
    width = _PLOT_W * min(picture.settle_s, _DAY_S) / _DAY_S
    if width >= 1:
        shape = f'x="{_LEFT}" y="{_TOP}" width="{width:.1f}" height="{_PLOT_H}"'
        yield f'<rect class="settle" {shape} fill="#f2e6c9"><title>left out: the minutes after the deploy</title></rect>'


def _since(picture: Picture, *, is_small: bool = False) -> Iterator[str]:
    if picture.since_at is None:
        return
    at = (picture.since_at - picture.began_at).total_seconds() / _DAY_S
    if not 0 <= at <= 1:
        return
    x = _LEFT + _PLOT_W * at
    words = f"seen from {picture.since_at.astimezone(UTC):%H:%M}"
    anchor, gap = ("end", -5) if at > 0.8 else ("start", 5)
    yield f'<line class="since" x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{_TOP + _PLOT_H}" stroke="#b3261e" stroke-width="1.5"/>'
    if not is_small:
        yield f'<text x="{x + gap:.1f}" y="{_TOP + 12}" text-anchor="{anchor}" fill="#b3261e">{words}</text>'


def _legend(lines: Sequence[Line]) -> Iterator[str]:
    named: dict[Role, str] = {}
    for line in lines:
        named.setdefault(line.role, line.name if line.role != "earlier" else "earlier days")
    y, x = _HEIGHT - 29, _LEFT
    for role, name in named.items():
        stroke, width, dashes = _STYLE[role]
        dash = f' stroke-dasharray="{dashes}"' if dashes else ""
        yield f'<line x1="{x}" y1="{y - 4}" x2="{x + 26}" y2="{y - 4}" stroke="{stroke}" stroke-width="{width}"{dash}/>'
        yield f'<text x="{x + 32}" y="{y}">{_text(name)}</text>'
        x += 52 + 7 * len(name)


def _words(sentence: str) -> Iterator[str]:
    lines = textwrap.wrap(_printable(sentence), 140)
    for n, line in enumerate(lines[:3]):
        more = "…" if n == 2 and len(lines) > 3 else ""
        yield f'<text x="{_LEFT}" y="{42 + 16 * n}" fill="#333333">{escape(line)}{more}</text>'


def _text(words: str) -> str:
    return escape(_printable(words))


def _printable(words: str) -> str:
    """Without what XML forbids: a policy's words are a stranger's."""
    return "".join(c if c.isprintable() else " " for c in words)


def _cut(words: str, most: int) -> str:
    return words if len(words) <= most else words[: most - 1] + "…"

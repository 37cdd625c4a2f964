"""The picture behind an answer: well-formed whatever is in it, readable without seeing it, and no spike is lost."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

import numpy as np
import pytest

from services.snapshotter.handlers.drawing import Line, Picture, svg

SVG = "{http://www.w3.org/2000/svg}"
BEGAN = datetime(2026, 9, 7, 15, 30, tzinfo=UTC)
HOSTILE = "p99 <script>alert('x')</script> & \"more\" ]]> \x00\x1b[31m\u202e"


def picture(after: np.ndarray, *, step_s: float = 60.0, words: str = "it rose", since_h: float | None = 3) -> Picture:
    start = BEGAN.timestamp()
    wrapped = np.roll(np.arange(1440.0), 100) if len(after) == 1440 else after
    return Picture(
        title=f"CR-1: {words}",
        sentence=words,
        unit=words[:5],
        began_at=BEGAN,
        settle_s=900,
        since_at=BEGAN + timedelta(hours=since_h) if since_h is not None else None,
        lines=[
            Line("after", "after SNAP-2", start, step_s, after),
            Line("before", "benchmark SNAP-1", start - 6 * 3600 - 86400, step_s, wrapped),
        ],
        facts=[words],
    )


def path_of(document: str, role: str) -> str:
    (found,) = [each for each in ElementTree.fromstring(document).iter(f"{SVG}path") if each.get("class") == role]
    return found.get("d") or ""


def test_it_is_read_to_who_cannot_see_it_and_lines_differ_by_more_than_colour() -> None:
    root = ElementTree.fromstring(svg(picture(np.arange(1440.0))))
    assert root.get("role") == "img" and root.get("aria-labelledby") == "title desc"
    assert root.findtext(f"{SVG}title") == "CR-1: it rose" and root.findtext(f"{SVG}desc") == "it rose"
    dashes = {each.get("class"): each.get("stroke-dasharray") for each in root.iter(f"{SVG}path") if each.get("class")}
    assert dashes == {"before": "6 3", "after": None}
    texts = [each.text for each in root.iter(f"{SVG}text")]
    assert "seen from 18:30" in texts and "15:30" in texts


def test_the_axis_of_shares_is_in_percent() -> None:
    line = Line("after", "after SNAP-2", BEGAN.timestamp(), 60.0, np.linspace(0, 0.02, 1440))
    shares = replace(picture(line.values), unit="ratio", lines=[line])
    texts = [each.text for each in ElementTree.fromstring(svg(shares)).iter(f"{SVG}text")]
    assert "%" in texts and "ratio" not in texts and {"0", "1", "2"} <= set(texts)


def test_no_spike_of_one_step_is_lost_in_a_pixel() -> None:
    after = np.zeros(86400 // 10)
    after[4321] = 100.0
    heights = [float(point.split()[1]) for point in path_of(svg(picture(after, step_s=10)), "after")[1:].split("L")[1:]]
    assert min(heights) < 115  # the top of the plot


def test_what_was_not_read_is_a_gap_and_the_benchmark_is_laid_over_the_same_hours() -> None:
    after = np.ones(1440)
    after[300:600] = np.nan
    assert path_of(svg(picture(after)), "after").count("M") == 2
    assert path_of(svg(picture(np.ones(1440))), "after").count("M") == 1
    assert path_of(svg(picture(np.ones(1440))), "before").count("M") == 1  # wrapped at midnight of its own, and whole


@pytest.mark.parametrize(
    "values",
    [
        np.full(1440, np.nan),
        np.array([]),
        np.array([5.0]),
        np.full(24, -3.0),
        np.linspace(-1e300, 1e300, 24),
        np.full(24, 1e-300),
        np.array([1.7e308, -1.7e308]),
    ],
)
@pytest.mark.filterwarnings("error")
def test_any_numbers_and_any_words_make_a_well_formed_picture(values: np.ndarray) -> None:
    drawn = svg(picture(values, step_s=3600, words=HOSTILE, since_h=23.9))
    root = ElementTree.fromstring(drawn)
    assert {each.tag.removeprefix(SVG) for each in root.iter()} <= {
        "svg",
        "title",
        "desc",
        "rect",
        "text",
        "line",
        "path",
    }
    assert "nan" not in drawn and "inf" not in drawn


def test_a_small_picture_has_the_same_lines_and_no_paper_and_leaves_the_words_to_its_page() -> None:
    values = np.full(1440, 100.0)
    values[700] = 900.0
    small = ElementTree.fromstring(svg(picture(values, words=HOSTILE), is_small=True))
    whole = ElementTree.fromstring(svg(picture(values, words=HOSTILE)))

    def lines(of: ElementTree.Element) -> dict[str, str]:
        return {one.get("class", ""): one.get("d", "") for one in of.iter(f"{SVG}path") if one.get("class")}

    assert "earlier" not in lines(small) and {"before", "after"} <= lines(small).keys()
    assert {role: shape.count("L") for role, shape in lines(small).items()} == {
        role: shape.count("L") for role, shape in lines(whole).items() if role != "earlier"
    }
    assert small.findtext(f"{SVG}desc") == whole.findtext(f"{SVG}desc")
    assert [one for one in small.iter(f"{SVG}rect") if one.get("class") != "settle"] == []
    assert not any("script" in one.tag for one in small.iter())

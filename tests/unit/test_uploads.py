"""Files of readings: each format reads the same, and whatever is wrong is named where it stands."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.snapshotter.uploads import MOST_PROBLEMS, MOST_UNREADABLE, Collected, collect, formats

T0 = 1_763_888_400  # 2025-11-23T09:00:00Z
STEP, STEPS = 60, 1440


def read(format: str, raw: str | bytes, slis: tuple[str, ...] = ("p99-latency", "errors")) -> Collected:
    data = raw.encode() if isinstance(raw, str) else raw
    return collect(formats()[format].read(data), slis, start_s=T0, step_s=STEP, steps=STEPS)


def told(found: Collected) -> list[tuple[str, str]]:
    return [(each.where, each.reason) for each in found.problems]


def test_the_formats_are_the_files_that_lie_here() -> None:
    assert set(formats()) == {"csv", "json", "openmetrics"}
    assert len({media for reader in formats().values() for media in reader.MEDIA}) == 3


_VALUES = st.one_of(st.just(math.nan), st.floats(allow_nan=False, allow_infinity=False))


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.integers(0, STEPS - 1), _VALUES, min_size=1, max_size=20))
def test_every_format_gives_the_same_numbers_to_the_bit(sent: dict[int, float]) -> None:
    rows = [(T0 + STEP * step, value) for step, value in sorted(sent.items())]
    values: list[float | None] = [None] * STEPS
    for step, value in sent.items():
        values[step] = None if math.isnan(value) else value
    files = {
        "csv": "sli,time,value\n" + "".join(f"p99-latency,{at},{value!r}\n" for at, value in rows),
        "openmetrics": "# TYPE r gauge\n"
        + "".join(f'r{{sli="p99-latency"}} {value!r} {at}\n' for at, value in rows)
        + "# EOF\n",
        "json": json.dumps({"step_s": STEP, "series": [{"sli": "p99-latency", "start_s": T0, "values": values}]}),
    }
    wanted = np.full(STEPS, np.nan)
    for step, value in sent.items():
        wanted[step] = value
    for format, raw in files.items():
        found = read(format, raw)
        assert told(found) == [] and set(found.values) == {"p99-latency"}, format
        np.testing.assert_array_equal(found.values["p99-latency"], wanted)


CSV: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "nothing": ("", [("the file", "holds no sample")]),
    "a head alone": ("sli,time,value\n", [("the file", "holds no sample")]),
    "another head": ("sli,at,value\n", [("row 1", "must name the columns")]),
    "a column twice": ("sli,time,time\n", [("row 1", "must name the columns")]),
    "no such SLI": (f"sli,time,value\nheap,{T0},1\n", [("row 2", "no SLI 'heap'")]),
    "a cell too many": (f"sli,time,value\nerrors,{T0},1,2\n", [("row 2", "4 cells")]),
    "an open quote": (f'sli,time,value\n"errors,{T0},1\nerrors,{T0},1\n', [("row 2", "a quote")]),
    "words": (f"sli,time,value\nerrors,{T0},one\n", [("row 2", "'one' is no number")]),
    "hexadecimal": (f"sli,time,value\nerrors,{T0},0x10\n", [("row 2", "is no number")]),
    "an underscore": (f"sli,time,value\nerrors,{T0},1_000\n", [("row 2", "is no number")]),
    "infinity": (f"sli,time,value\nerrors,{T0},inf\n", [("row 2", "is no number")]),
    "beyond a float": (f"sli,time,value\nerrors,{T0},1e400\nerrors,{T0 + 60},1\n", [("row 2", "not finite")]),
    "no zone": ("sli,time,value\nerrors,2025-11-23T09:00:00,1\n", [("row 2", "needs its zone")]),
    "milliseconds": (f"sli,time,value\nerrors,{T0}000,1\n", [("row 2", "not in unix seconds")]),
    "no time": ("sli,time,value\nerrors,yesterday,1\n", [("row 2", "is no time")]),
    "before the window": (f"sli,time,value\nerrors,{T0 - 1},1\n", [("row 2", "outside the window")]),
    "after the window": (f"sli,time,value\nerrors,{T0 + 86400},1\n", [("row 2", "outside the window")]),
    "the same time twice": (f"sli,time,value\nerrors,{T0},1\nerrors,{T0},1\n", [("row 3", "two values for one step")]),
    "twice in a step": (f"sli,time,value\nerrors,{T0},1\nerrors,{T0 + 30},1\n", [("row 3", "two values for one step")]),
    "several": (
        f"sli,time,value\nheap,{T0},1\nerrors,{T0},2\nerrors,{T0 - 60},3\n",
        [("row 2", "no SLI"), ("row 4", "outside the window")],
    ),
}


@pytest.mark.parametrize("what", CSV)
def test_a_wrong_row_is_named_with_its_number_and_reason(what: str) -> None:
    raw, wanted = CSV[what]
    found = told(read("csv", raw))
    assert [where for where, _ in found] == [where for where, _ in wanted], found
    assert all(part in reason for (_, reason), (_, part) in zip(found, wanted, strict=True)), found


@pytest.mark.parametrize(
    ("raw", "where", "part"),
    [
        (b"\xff\xfe", "row 1", "not UTF-8"),
        (b"sli,time,value\nerrors,\x00,1\n", "row 2", "NUL"),
        (b"sli,time,value\n" + b"e" * 5000 + b"\n", "row 2", "longer than"),
    ],
)
def test_bytes_that_are_no_text_are_refused_by_the_row(raw: bytes, where: str, part: str) -> None:
    for format in ("csv", "openmetrics"):
        ((found, reason),) = told(
            read(format, raw if format == "csv" else raw.replace(b"sli,time,value", b"# TYPE a gauge"))
        )
        assert found == where and part in reason


def test_times_may_be_written_with_their_zone_and_lines_may_end_as_they_like() -> None:
    found = read(
        "csv", "value,time,sli\r\n1.5,2025-11-23T10:01:00+01:00,errors\r\n\r\n,2025-11-23T09:02:00Z,errors\r\n"
    )
    assert told(found) == [] and found.values["errors"][1] == 1.5 and np.isnan(found.values["errors"][2])


OPENMETRICS: dict[str, tuple[str, str, str]] = {
    "cut off": ("# TYPE r gauge\nerrors 1 1763888400\n", "the file", "does not end with # EOF"),
    "more after the end": ("# EOF\nerrors 1 1763888400\n", "row 2", "follows # EOF"),
    "a counter": ("# TYPE c counter\nc_total 1 1763888400\n# EOF\n", "row 2", "c_total is a counter"),
    "a histogram": (
        '# TYPE h histogram\nh_bucket{le="+Inf"} 1 1763888400\n# EOF\n',
        "row 2",
        "h_bucket is a histogram",
    ),
    "no timestamp": ("errors 1\n# EOF\n", "row 1", "has no timestamp"),
    "no such SLI": ("heap 1 1763888400\n# EOF\n", "row 1", "no SLI 'heap'"),
    "infinity": ("errors +Inf 1763888400\n# EOF\n", "row 1", "not finite"),
    "an open label": ('errors 1 1763888400\nr{sli="errors} 1 1763888460\n# EOF\n', "row 2", "not OpenMetrics"),
    "an empty line": ("errors 1 1763888400\n\n# EOF\n", "row 2", "empty line"),
    "a remark": ("# nothing\n# EOF\n", "row 1", "a comment must be"),
    "NaN as a time": ("errors 1 NaN\n# EOF\n", "row 1", ""),
}


@pytest.mark.parametrize("what", OPENMETRICS)
def test_openmetrics_that_is_wrong_is_refused_by_its_row(what: str) -> None:
    raw, where, part = OPENMETRICS[what]
    found = told(read("openmetrics", raw))
    assert found[0][0] == where and part in found[0][1], found


def test_openmetrics_in_many_families_and_pieces_is_one_file() -> None:
    lines = []
    for sli in ("errors", "p99-latency"):
        lines += [f"# HELP r_{sli[:3]} Readings.", f"# TYPE r_{sli[:3]} gauge"]
        lines += [f'r_{sli[:3]}{{sli="{sli}",host="a"}} {n} {T0 + STEP * n}' for n in range(STEPS)]
    found = read("openmetrics", "\n".join([*lines, "# EOF"]))
    assert told(found) == [] and found.samples == 2 * STEPS
    assert found.values["errors"][-1] == found.values["p99-latency"][-1] == STEPS - 1


JSON: dict[str, tuple[Any, str, str]] = {
    "a list": ([], "the file", "is wanted"),
    "no values": ({"series": [{"sli": "errors"}]}, "series[0]", "is wanted"),
    "no start": ({"series": [{"sli": "errors", "step_s": 60, "values": [1]}]}, "series[0]", "start_s must be a number"),
    "no step": ({"start_s": T0, "series": [{"sli": "errors", "values": [1]}]}, "series[0]", "step_s must be a number"),
    "step 0": (
        {"start_s": T0, "step_s": 0, "series": [{"sli": "errors", "values": [1]}]},
        "series[0]",
        "greater than 0",
    ),
    "a word": (
        {"start_s": T0, "step_s": 60, "series": [{"sli": "errors", "values": [1, "2"]}]},
        "series[0].values[1]",
        "must be a number",
    ),
    "true": (
        {"start_s": T0, "step_s": 60, "series": [{"sli": "errors", "values": [True]}]},
        "series[0].values[0]",
        "must be a number",
    ),
    "finer than a step": (
        {"start_s": T0, "step_s": 30, "series": [{"sli": "errors", "values": [1, 2]}]},
        "series[0].values[1]",
        "two values for one step",
    ),
}


@pytest.mark.parametrize("what", JSON)
def test_json_that_is_wrong_is_refused_by_its_place(what: str) -> None:
    document, where, part = JSON[what]
    found = told(read("json", json.dumps(document)))
    assert found[0][0] == where and part in found[0][1], found


@pytest.mark.parametrize("raw", [b"{", b"", b'{"series": [NaN]}', b'{"start_s": 1e400}', b"\xff", b"[" * 100_000])
def test_json_that_cannot_be_read_is_refused_once(raw: bytes) -> None:
    assert len(told(read("json", raw))) == 1


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["csv", "json", "openmetrics"]), st.one_of(st.binary(max_size=300), st.text(max_size=300)))
def test_no_bytes_whatever_break_a_reader(format: str, raw: str | bytes) -> None:
    data = raw if isinstance(raw, bytes) else raw.encode("utf-8", "surrogatepass")
    for given_ in (data, b"sli,time,value\n" + data, b"# TYPE errors gauge\nerrors " + data + b"\n# EOF"):
        found = read(format, given_)
        assert found.problems or found.samples


def test_every_wrong_row_is_named_in_one_go_and_those_around_it_are_read() -> None:
    rows = [f"errors,{T0 + STEP * n},{n}" for n in range(8)]
    for n, wrong in ((1, "errors,yesterday,1"), (3, f"errors,{T0},one"), (4, f'"errors,{T0}'), (6, "errors")):
        rows[n] = wrong
    found = read("csv", "\n".join(["sli,time,value", *rows]))
    assert [where for where, _ in told(found)] == ["row 3", "row 5", "row 6", "row 8"] and found.samples == 4

    lines = [f"errors {n} {T0 + STEP * n}" for n in range(STEPS)]
    for n, bad in ((2, "errors 1"), (999, "errors {"), (1000, "errors one 2"), (1300, ""), (1301, "# a remark")):
        lines[n] = bad
    found = read("openmetrics", "\n".join(lines))  # and it was cut off
    wanted = ["row 3", "row 1000", "row 1001", "row 1301", "row 1302", "the file"]
    assert [where for where, _ in told(found)] == wanted and found.samples == STEPS - 5

    series = [{"sli": "errors", "values": [1, "2", None, True, 5]}, 3, {"sli": "p99-latency", "values": [{}]}]
    found = read("json", json.dumps({"start_s": T0, "step_s": STEP, "series": series}))
    places = ["series[0].values[1]", "series[0].values[3]", "series[1]", "series[2].values[0]"]
    assert [where for where, _ in told(found)] == places and found.samples == 3


@pytest.mark.parametrize(
    ("format", "head", "row"), [("csv", "sli,time,value", "a,b,c"), ("openmetrics", "# TYPE r gauge", "r {")]
)
def test_a_file_of_nothing_but_wrong_rows_is_soon_put_down(format: str, head: str, row: str) -> None:
    found = read(format, "\n".join([head, *[row] * 200_000]))
    assert found.problems_total == MOST_UNREADABLE + 1 and len(found.problems) == MOST_PROBLEMS


def test_problems_are_counted_beyond_those_that_are_listed() -> None:
    found = read("csv", "sli,time,value\n" + f"heap,{T0},1\n" * 500)
    assert len(found.problems) == MOST_PROBLEMS and found.problems_total == 500

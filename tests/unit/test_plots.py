"""Lines for the eye: no spike is lost, the clock decides what lies beside what, and each form says the same."""

import csv
import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.snapshotter.samples.plots import DAY_S, Grid, at_the_same_time_of_day, hourly_line, raw_line, thinned
from services.snapshotter.samples.writers import ArrowWriter, CsvWriter, JsonWriter, Shown, Writer

NAN = float("nan")
DAY = Grid(1_700_000_000.0, 60, 1440)


@given(st.lists(st.floats(allow_infinity=False), min_size=1, max_size=300), st.integers(2, 400))
def test_however_few_points_the_least_and_the_largest_stay(numbers: list[float], points: int) -> None:
    values = np.array(numbers)
    line = thinned(raw_line(values, Grid(0.0, 60, values.size)), points)
    low, high = line.columns["min"], line.columns["max"]
    assert low.size == high.size == line.grid.count <= points
    if np.isfinite(values).any():
        assert np.nanmin(low) == np.nanmin(values) and np.nanmax(high) == np.nanmax(values)
    block = line.grid.step_s // 60
    for i in range(line.grid.count):
        here = values[i * block : (i + 1) * block]
        assert np.isnan(low[i]) == np.isnan(here).all()


def test_a_line_of_a_few_points_is_as_it_was_in_two_columns() -> None:
    line = thinned(raw_line(np.array([1.0, NAN, 3.0]), Grid(0.0, 60, 3)), 800)
    np.testing.assert_array_equal(line.columns["min"], [1, NAN, 3])
    np.testing.assert_array_equal(line.columns["max"], [1, NAN, 3])


@pytest.mark.parametrize("later_s", [0, 60, 3600, DAY_S, 3 * DAY_S + 7200, -5 * DAY_S - 60, 20, -20])
def test_a_day_lies_beside_another_where_the_clock_shows_the_same(later_s: float) -> None:
    clock = np.arange(1440.0)  # each value is its own time of day, in minutes from this day's start
    other = Grid(DAY.start_s + later_s, 60, 1440)
    values = (clock + np.rint(later_s / 60)) % 1440
    seen = at_the_same_time_of_day(raw_line(values, other), DAY)
    assert seen.grid == DAY and seen.columns["value"].tolist() == clock.tolist()


def test_a_short_line_beside_a_day_is_nothing_where_it_has_no_such_time() -> None:
    short = raw_line(np.arange(240.0), Grid(DAY.start_s + 5 * 3600 + DAY_S, 60, 240))
    seen = at_the_same_time_of_day(short, DAY).columns["value"]
    assert seen[300:540].tolist() == list(range(240))
    assert np.isnan(np.delete(seen, np.s_[300:540])).all()
    with pytest.raises(ValueError, match="same step"):
        at_the_same_time_of_day(short, Grid(0.0, 30, 2))


def test_hours_are_rolled_up_and_can_be_thinned_further() -> None:
    hours = hourly_line(np.arange(1440.0), DAY)
    assert hours.grid == Grid(DAY.start_s, 3600, 24) and hours.columns["max"][0] == 59
    assert thinned(hours, 6).columns["max"].tolist() == [239, 479, 719, 959, 1199, 1439]


def whole(writer: Writer, *shown: Shown) -> bytes:
    return writer.begin() + b"".join(map(writer.piece, shown)) + writer.end()


def test_the_three_forms_say_the_same() -> None:
    grid = Grid(1_700_000_000.25, 60, 3)
    line = raw_line(np.array([0.1 + 0.2, NAN, -1e300]), grid)
    other = raw_line(np.array([NAN, 2.0, 3.0]), grid)
    shown = [
        Shown("p99", {"sli": "p99", "with": {"missing": None}}, line, other),
        Shown("gone", {"sli": "gone", "missing": "down"}, None),
        Shown("é", {"sli": "é"}, None, other),
    ]
    document = json.loads(whole(JsonWriter({"snapshot": "SNAP-1"}), *shown))
    assert document["snapshot"] == "SNAP-1"
    assert document["series"][0]["values"] == [0.1 + 0.2, None, -1e300]
    assert document["series"][0]["with"] == {"missing": None, "values": [None, 2, 3]}
    assert document["series"][1] == {"sli": "gone", "missing": "down", "values": []}

    rows = list(csv.reader(whole(CsvWriter(("value",), is_paired=True), *shown).decode().splitlines()))
    assert rows[0] == ["sli", "at", "value", "with_value"]
    assert rows[1] == ["p99", "2023-11-14T22:13:20.250Z", "0.30000000000000004", ""]
    assert [row[0] for row in rows[1:]] == ["p99"] * 3 + ["é"] * 3

    table = pa.ipc.open_stream(whole(ArrowWriter(("value",), is_paired=True), *shown)).read_all()
    assert table["sli"].to_pylist() == ["p99"] * 3 + ["é"] * 3
    np.testing.assert_array_equal(table["value"].to_numpy(), [0.1 + 0.2, NAN, -1e300, NAN, NAN, NAN])
    np.testing.assert_array_equal(table["with_value"].to_numpy(), [NAN, 2, 3] * 2)
    assert table.schema.field("at").type == pa.timestamp("us", "UTC")


def test_an_answer_without_series_is_whole_all_the_same() -> None:
    assert json.loads(whole(JsonWriter({"steps": 0}))) == {"steps": 0, "series": []}
    assert whole(CsvWriter(("min", "max"), is_paired=False)) == b"sli,at,min,max\r\n"
    assert pa.ipc.open_stream(whole(ArrowWriter(("value",), is_paired=False))).read_all().num_rows == 0

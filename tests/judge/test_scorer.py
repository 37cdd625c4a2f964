"""The real data, when it is here: a small part through the scorer's own code, so that the adapter stays honest."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.judge.rows import data_folder, library

DATA = data_folder()
# the benchmark's own loader leaves its files to the garbage collector
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.mark.skipif(DATA is None, reason="the judge's data is not here (../shared/judge or DAYMARK_JUDGE_DATA)")
def test_a_sample_of_real_cases_goes_through_the_scorer():
    """Not the figures (`python -m tests.judge.crossval` measures those), only that they could not be far off."""
    assert DATA is not None
    score = library(DATA, "score")
    found = score.run(SimpleNamespace(
        part=str(DATA / "dev"), judge=f"{Path(__file__).with_name('candidate.py')}:judge", only=None, history=0,
        detached=False, limit=60))  # fmt: skip
    quiet = [c["overall"] for c in found if c["sub"] in ("natural_lab", "exch")]
    moved = [c["overall"] for c in found if c["kind"] == "inj"]
    assert np.mean(quiet) <= 0.2
    assert np.mean(moved) >= 0.3


@pytest.mark.skipif(DATA is None, reason="the judge's data is not here (../shared/judge or DAYMARK_JUDGE_DATA)")
def test_the_class_of_an_entity_and_the_date_are_never_read():
    from tests.judge.candidate import judge

    assert DATA is not None
    benchlib = library(DATA, "benchlib")
    series, cases = benchlib.load(str(DATA / "dev"))
    c = benchlib.materialise(cases[0], series, 0)
    one = judge(c.pre, c.post, c.step_s, dict(c.meta, history=None))
    other = dict(c.meta, history=None, entity_class="scrambled", pre_start_s=c.meta["pre_start_s"] + 11 * 86400)
    two = judge(c.pre, c.post, c.step_s, other)
    assert (one["flag"] == two["flag"]).all() and (one["score"] == two["score"]).all()

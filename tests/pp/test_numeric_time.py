"""Times that are written as text, bins and time differences: what they become, and what is refused."""

import logging
import re

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import heldout as ho


def course(values):
    obs = pd.DataFrame({"time": values})
    obs.index = [f"cell{i}" for i in range(len(obs))]
    return ad.AnnData(np.ones((len(obs), 2), dtype=np.float32), obs=obs)


READ = {
    "numbers": ([0, 12, 36], [0, 12, 36]),
    "numbers as text": (["0", "12.5", "-3", "1e3"], [0, 12.5, -3, 1000]),
    "unit after": (["0 h", "12h", "36_hours"], [0, 12, 36]),
    "unit before": (["day 0", "Day3", "day_7", "D 10"], [0, 3, 7, 10]),
    "embryonic": (["E8.5", "E10", "e9.25"], [8.5, 10, 9.25]),
    "minus": (["day-3", "day0", "day3"], [-3, 0, 3]),
    "hyphen": (["day-0", "day-3", "day-7"], [0, 3, 7]),
    "minus after a space": (["day -3", "day -1"], [-3, -1]),
    "zero without unit": (["0", "12h", "24h"], [0, 12, 24]),
    "bins": (["270-330", "330–390", "> 650", "< 100"], [300, 360, 650, 100]),
    "bins with words": (["E8.0-E8.5", "E9.0-9.5"], [8.25, 9.25]),
    "at least": (["60-70", "70+", "≤ 60"], [65, 70, 60]),
    "cut": (pd.cut([1, 5, 9], [0, 4, 8, 12]), [2, 6, 10]),
    "cut as text": (["[0, 4)", "[4, 8)"], [2, 6]),
    "differences": (pd.to_timedelta([0, 12, 36], unit="h"), [0, 12, 36]),
    "differences in days": (pd.to_timedelta([0, 3, 7], unit="D"), [0, 3, 7]),
    "differences as text": (["0 days 00:00:00", "1 days 12:00:00"], [0, 36]),
    "categories": (pd.Categorical(["day 10", "day 9"]), [10, 9]),
    "missing": (["day 1", None, "day 2"], [1, np.nan, 2]),
}


@pytest.mark.parametrize("case", READ)
def test_reads(case):
    values, expected = READ[case]
    adata = course(values)
    before = adata.obs["time"].copy()
    ho.pp.numeric_time(adata, "time")
    np.testing.assert_allclose(adata.obs["numeric_time"], expected)
    assert adata.obs["numeric_time"].dtype == np.float64
    pd.testing.assert_series_equal(adata.obs["time"], before)


def test_different_units_are_converted_on_request():
    adata = course(["90 min", "2 h", "1 d"])
    with pytest.raises(ValueError, match="do not agree.*unit='h'"):
        ho.pp.numeric_time(adata, "time")
    assert list(adata.obs) == ["time"]
    ho.pp.numeric_time(adata, "time", unit="h", key_added="hours")
    np.testing.assert_allclose(adata.obs["hours"], [1.5, 2, 24])


def test_values_that_are_not_times_are_given():
    adata = course(["iPSC", "day 3", "day 7", "mixed"])
    with pytest.raises(ValueError, match="'iPSC', 'mixed'.*values="):
        ho.pp.numeric_time(adata, "time")
    ho.pp.numeric_time(adata, "time", values={"iPSC": 0, "mixed": None})
    np.testing.assert_allclose(adata.obs["numeric_time"], [0, 3, 7, np.nan])


@pytest.mark.parametrize(
    ("values", "options", "words"),
    [
        (["E18.5", "P0", "P2"], {}, ["'E18.5' has the prefix 'e'", "'P0' has the prefix 'p'", "values="]),
        (["0", "day 3", "12h"], {}, ["do not agree"]),
        (["3", "day 4"], {}, ["no unit", "'d'"]),
        (["1,500", "2,000"], {}, ["'1,500'", "cannot be read"]),
        (["330-270", "270-330"], {}, ["'330-270'"]),
        (["day 3 rep 1"], {}, ["cannot be read"]),
        (["650", "> 650"], {}, ["'650'", "'> 650'", "values="]),
        (["> 650", "700-800"], {}, ["open bin", "'700-800'"]),
        (["3 h", "4 h"], {"unit": "hour"}, ["unit='hour'", "'h'"]),
        (["3", "4"], {"unit": "h"}, ["unit='h'", "no unit"]),
        ([3, 4], {"unit": "h"}, ["unit='h'", "Leave unit out"]),
        (["E8", "E9"], {"unit": "d"}, ["unit='d'", "prefix 'e'"]),
        (["day 1"], {"values": {"dya 1": 1}}, ["'dya 1'", "Did you mean 'day 1'"]),
        (["day 1"], {"values": {"day 1": "one"}}, ["'one'", "finite number"]),
        (["day 1"], {"key_added": "time"}, ["key_added", "lost"]),
        ([None, None], {}, ["no values"]),
        ([True, False], {}, ["truth values"]),
        (pd.to_datetime(["2024-01-01", "2024-01-05"]), {}, ["dates", ".min()"]),
        (pd.Categorical(["day 1", "day 2"], ["day 2", "day 1"], ordered=True), {}, ["ordered", "'day 2'"]),
    ],
)
def test_refuses(values, options, words):
    adata = course(values)
    with pytest.raises(ValueError, match=re.escape(words[0])) as caught:
        ho.pp.numeric_time(adata, "time", **options)
    assert all(word in str(caught.value) for word in words), caught.value
    assert list(adata.obs) == ["time"]


def test_says_what_it_made_of_the_times(caplog):
    with caplog.at_level(logging.WARNING, logger="heldout"):
        ho.pp.numeric_time(course(["270-330", "> 650", None]), "time")
    said = caplog.text
    assert "'270-330' = 300" in said
    assert "'> 650' is 650, the limit of the open bin" in said
    assert "no time in 1 cell." in said


def test_the_advice_of_split_time_runs():
    adata = course(["100-130", "130-170", "170-210", "> 210"])
    with pytest.raises(ValueError, match="numeric_time") as caught:
        ho.pp.split_time(adata, "time", test=210)
    call = str(caught.value).split("Run heldout.")[1].split(" and pass")[0]
    eval(f"ho.{call}", {"ho": ho, "adata": adata})
    ho.pp.split_time(adata, "numeric_time", test=210)
    assert adata.obs["split"].tolist() == ["train", "train", "train", "test"]

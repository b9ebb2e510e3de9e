"""Splits of a time course: no time crosses, train before val before test, and what is refused with which words."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import heldout as ho
from heldout._core.partition import PARTITIONS, read_partition
from heldout.pp import split_time
from heldout.splitting import leave_one_time_out, rolling_origins
from tests.helpers.properties import properties

HYPOTHESIS = properties(80)
CHU = (0, 12, 24, 36, 72, 96)


def course(times=CHU, repeats=3, dtype=None):
    """AnnData with ``repeats`` cells a time, in no order."""
    obs = pd.DataFrame({"time": pd.Series(np.repeat(np.asarray(times), repeats), dtype=dtype)})
    obs.index = [f"cell{i}" for i in range(len(obs))]
    adata = ad.AnnData(np.ones((len(obs), 2), dtype=np.float32), obs=obs)
    return adata[np.random.default_rng(0).permutation(adata.n_obs)].copy()


def times_in(adata, key="split"):
    """Sorted times of each partition that has cells."""
    found = {p: sorted(set(adata.obs.loc[adata.obs[key] == p, "time"].astype(float))) for p in PARTITIONS}
    return {partition: times for partition, times in found.items() if times}


# --- what holds for every split -------------------------------------------------------------------------------------


@HYPOTHESIS
@given(data=st.data())
def test_a_forecast_never_looks_ahead_and_no_time_crosses(data):
    times = sorted(data.draw(st.sets(st.integers(-50, 50), min_size=4, max_size=9)))
    first_test = data.draw(st.integers(3, len(times) - 1))
    test = [times[first_test], *data.draw(st.sets(st.sampled_from(times[first_test:])).map(list))]
    val = data.draw(st.sets(st.sampled_from(times[2:first_test])))
    between = data.draw(st.sampled_from(["unused", "val"])) if val else "unused"
    last = times.index(min(val)) if val else first_test
    train = data.draw(st.one_of(st.none(), st.sampled_from(times[1:last])))
    call = {"test": sorted(set(test)), "val": val, "train": train, "between": between}
    adata = course(times)
    split_time(adata, "time", **call)
    found = times_in(adata)
    assert (adata.obs.groupby("time")["split"].nunique() == 1).all()
    assert found["test"] == sorted(set(test))
    assert len(found["train"]) >= 2
    assert max(found["train"]) < min(found["test"])
    assert set(val) <= set(found.get("val", []))
    if val:
        assert max(found["train"]) < min(found["val"]) <= max(found["val"]) < min(found["test"])
    assert found["train"] == [t for t in times if (t < min([*val, *test]) if train is None else t <= train)]
    if between == "val":
        assert all(t > min(test) for t in found.get("unused", []))

    other = adata[data.draw(st.permutations(range(adata.n_obs)))].copy()
    del other.uns["heldout"], other.obs["split"]
    split_time(other, "time", **{**call, "test": call["test"][::-1]})
    assert read_partition(other).hash == read_partition(adata).hash
    assert other.obs["split"].reindex(adata.obs_names).tolist() == adata.obs["split"].tolist()


@HYPOTHESIS
@given(data=st.data())
def test_an_interpolation_has_train_on_both_sides(data):
    times = sorted(data.draw(st.sets(st.integers(-50, 50), min_size=3, max_size=9)))
    test = data.draw(st.sets(st.sampled_from(times[1:-1]), min_size=1))
    adata = course(times)
    split_time(adata, "time", test=test, direction="interpolate")
    found = times_in(adata)
    assert set(found) == {"train", "test"}
    assert found["test"] == sorted(test)
    assert found["train"] == sorted(set(times) - test)
    assert min(found["train"]) < min(found["test"]) <= max(found["test"]) < max(found["train"])


# --- what the arguments mean ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"test": 96}, {"train": [0, 12, 24, 36, 72], "test": [96]}),
        ({"test": 96, "train": 36}, {"train": [0, 12, 24, 36], "unused": [72], "test": [96]}),
        ({"test": 96, "train": 40}, {"train": [0, 12, 24, 36], "unused": [72], "test": [96]}),
        ({"test": 96, "train": 24, "between": "val"}, {"train": [0, 12, 24], "val": [36, 72], "test": [96]}),
        ({"test": 96, "train": 24, "val": 36}, {"train": [0, 12, 24], "val": [36], "unused": [72], "test": [96]}),
        ({"test": 96, "val": 36}, {"train": [0, 12, 24], "val": [36], "unused": [72], "test": [96]}),
        ({"test": 96, "val": 36, "between": "val"}, {"train": [0, 12, 24], "val": [36, 72], "test": [96]}),
        ({"test": (72, 96), "val": [36]}, {"train": [0, 12, 24], "val": [36], "test": [72, 96]}),
        ({"test": 36}, {"train": [0, 12, 24], "unused": [72, 96], "test": [36]}),
        ({"test": 36, "direction": "interpolate"}, {"train": [0, 12, 24, 72, 96], "test": [36]}),
        (
            {"test": 36, "val": 96, "direction": "interpolate"},
            {"train": [0, 12, 24, 72], "val": [96], "test": [36]},
        ),
    ],
)
def test_which_time_goes_where(arguments, expected):
    adata = course()
    assert split_time(adata, "time", **arguments) is None
    assert times_in(adata) == {name: expected[name] for name in PARTITIONS if name in expected}


@pytest.mark.parametrize("dtype", ["int8", "uint16", "int64", "float32", "float64", "Int64", "Float32", "category"])
@pytest.mark.parametrize("asked", [96, 96.0, np.float32(96), np.int8(96), [96], np.array([96.0])], ids=repr)
def test_numbers_of_every_kind(dtype, asked):
    adata = course(dtype=dtype)
    split_time(adata, "time", test=asked, train=36)
    assert times_in(adata) == {"train": [0, 12, 24, 36], "test": [96], "unused": [72]}


@pytest.mark.parametrize("dtype", ["float32", "float64", "Float32"])
def test_a_time_that_is_no_binary_number_is_found(dtype):
    adata = course((0.1, 0.2, 0.3, 0.7), dtype=dtype)
    split_time(adata, "time", test=0.7, train=0.2)
    assert read_partition(adata).counts() == {"train": 6, "val": 0, "test": 3, "unused": 3}


def test_the_record():
    adata = course()
    split_time(adata, "time", test=96, train=24, val=[36.0], key_added="forecast")
    partition = read_partition(adata, "forecast")
    assert partition.scheme == "time"
    assert partition.group_key is None
    assert partition.params == {
        "group_key": None,
        "time_key": "time",
        "train": 24,
        "val": [36],
        "test": [96],
        "between": "unused",
        "direction": "forecast",
        "times": {"train": [0, 12, 24], "val": [36], "test": [96], "unused": [72]},
    }
    assert ho.get.split(adata, "forecast")["n_cells"].tolist() == [3] * 6


def test_the_hash_is_that_of_the_assignment():
    adata = course()
    split_time(adata, "time", test=96, train=36)
    ho.pp.split_assigned(adata, "time", train=[0, 12, 24, 36], test=[96], key_added="again")
    assert read_partition(adata, "again").hash == read_partition(adata).hash


def test_copies_and_views(lmna, unchanged):
    with unchanged(lmna):
        copied = split_time(lmna, "day", test=30, copy=True)
        view = lmna[lmna.obs["day"] > 0]
        split_time(view, "day", test=30)
    assert read_partition(copied).counts()["test"] == read_partition(view).counts()["test"] == 30
    assert not view.is_view


def test_a_split_survives_the_file(tmp_path):
    adata = course(dtype="category")
    split_time(adata, "time", test=96, val=72)
    adata.write_h5ad(tmp_path / "a.h5ad")
    again = ad.read_h5ad(tmp_path / "a.h5ad")
    before = read_partition(adata)
    assert read_partition(again).hash == before.hash
    split_time(again, "time", test=96, val=72)
    assert read_partition(again).hash == before.hash


# --- refused --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"test": 90}, ["test=90 is not a time of time_key='time'", "[36, 72, 96]", "[0, 12, 24, 36, 72, 96]"]),
        ({"test": 96, "val": 13}, ["val=13 is not a time", "[0, 12, 24]"]),
        ({"test": []}, ["test is empty", "[0, 12, 24, 36, 72, 96]"]),
        ({"test": 96, "val": [96]}, ["The time 96 is named more than once", "Remove it"]),
        ({"test": [96, 96.0]}, ["The time 96 is named more than once"]),
        ({"test": 36, "train": 36}, ["test=[36] must be after", "train=36", "interpolate"]),
        ({"test": [24, 96], "train": 36}, ["test=[24, 96] must be after"]),
        ({"test": 36, "val": 72}, ["val=[72] must be after", "first test time 36"]),
        ({"test": 96, "val": 24, "train": 36}, ["val=[24] must be after train=36", "val=()"]),
        ({"test": 12}, ["at least 2 train times", "[0] of [0, 12, 24, 36, 72, 96]"]),
        ({"test": 96, "train": -1}, ["at least 2 train times", "[] of"]),
        ({"test": 96, "between": "val"}, ["between='val'", "last train time 72", "test time 96", "Lower train"]),
        ({"test": 96, "between": "test"}, ["between='test'", "'unused', 'val'"]),
        ({"test": 96, "direction": "back"}, ["direction='back'", "'forecast', 'interpolate'"]),
        ({"test": 96, "direction": "interpolate"}, ["test=[96] is not between", "[0, 12, 24, 36, 72]"]),
        ({"test": [0, 36], "direction": "interpolate"}, ["test=[0] is not between"]),
        ({"test": 12, "val": 0, "direction": "interpolate"}, ["test=[12] is not between", "[24, 36, 72, 96]"]),
        ({"test": 36, "train": 24, "direction": "interpolate"}, ["train=24 works only with direction='forecast'"]),
        (
            {"test": 36, "between": "val", "direction": "interpolate"},
            ["between='val' works only with direction='forecast'"],
        ),
        ({"test": "96"}, ["test='96' must be a finite number"]),
        ({"test": np.nan}, ["test=nan must be a finite number"]),
        ({"test": True}, ["test=True must be a finite number"]),
        ({"test": 96, "train": np.inf}, ["train=inf must be a finite number"]),
        ({"test": 96, "train": "36"}, ["train='36' must be a finite number"]),
        ({"test": 96, "key_added": "a/b"}, ["key_added='a/b'"]),
        ({"test": 96, "key_added": "time"}, ["key_added='time'", "not a split"]),
    ],
    ids=str,
)
def test_times_that_make_no_split(arguments, words, refuses):
    refuses(lambda a: split_time(a, "time", **arguments), course(), *words)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([f"{t}h" for t in CHU], ["not numeric", "'0h'", "pp.numeric_time"]),
        (pd.Categorical([str(t) for t in CHU]), ["category", "not numeric"]),
        (pd.to_datetime([f"2024-01-0{i}" for i in range(1, 7)]), ["datetime64", "not numeric"]),
        ([True, False] * 3, ["bool", "not numeric"]),
        ([0, 12, 24, 36, np.nan, 96], ["'time'] (time_key) has 3 missing values", ".notna()"]),
        (pd.Categorical([0, 12, 24, 36, np.nan, 96]), ["has 3 missing values"]),
        ([0, 12, 24, 36, np.inf, 96], ["has 3 infinite values in 18 cells", "np.isfinite"]),
    ],
    ids=["text", "text categories", "dates", "bool", "nan", "nan category", "inf"],
)
def test_columns_that_are_no_times(values, words, refuses):
    adata = course()
    adata.obs["time"] = pd.Series(values).repeat(3).set_axis(adata.obs_names)
    refuses(lambda a: split_time(a, "time", test=96), adata, *words)


def test_the_advice_for_text_works():
    adata = course()
    adata.obs["time"] = adata.obs["time"].astype(str) + "h"
    with pytest.raises(ValueError, match="not numeric") as caught:
        split_time(adata, "time", test=96)
    assert "heldout.pp.numeric_time(adata, 'time')" in str(caught.value)
    ho.pp.numeric_time(adata, "time")
    split_time(adata, "numeric_time", test=96)


def test_no_such_column_no_cells_no_anndata(refuses):
    refuses(lambda a: split_time(a, "tim", test=96), course(), "time_key='tim' is not a column", "Did you mean 'time'?")
    refuses(lambda a: split_time(a, "time", test=96), course()[:0].copy(), "adata has no cells")
    with pytest.raises(TypeError, match="adata must be an AnnData"):
        split_time(pd.DataFrame(), "time", test=96)


# --- series of splits -----------------------------------------------------------------------------------------------


@HYPOTHESIS
@given(times=st.lists(st.integers(-20, 20), min_size=1, max_size=30), min_train=st.integers(1, 5))
def test_rolling_origins_and_leave_one_out_cover_the_times(times, min_train):
    points = sorted(set(times))
    if len(points) > min_train:
        pairs = list(rolling_origins(times, min_train))
        assert [test for _, test in pairs] == points[min_train:]
        assert all(train.tolist() == [t for t in points if t < test] for train, test in pairs)
    else:
        with pytest.raises(ValueError, match=f"min_train={min_train} leaves no time"):
            rolling_origins(times, min_train)
    if len(points) > 1:
        pairs = list(leave_one_time_out(times))
        assert [test for _, test in pairs] == points
        assert all(sorted([*train, test]) == points for train, test in pairs)
    else:
        with pytest.raises(ValueError, match="at least 2 time points"):
            leave_one_time_out(times)


def test_a_rolling_origin_is_a_forecast():
    for train, test in rolling_origins(course().obs["time"]):
        adata = course()
        split_time(adata, "time", train=train.max(), test=test)
        assert times_in(adata)["train"] == train.tolist()
        assert times_in(adata)["test"] == [test]


def test_series_of_impossible_times():
    with pytest.raises(ValueError, match="NaN or infinite"):
        leave_one_time_out([0, np.nan])
    with pytest.raises(ValueError, match="min_train=0 must be an integer >= 1"):
        rolling_origins(CHU, 0)

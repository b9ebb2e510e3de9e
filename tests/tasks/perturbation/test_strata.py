"""Results by how far baselines already solve a perturbation, against plain loops."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import heldout as ho
from heldout.tasks.perturbation.judging.strata import GROUPS, saturation, stratified
from tests.helpers.perturbations import combinations

NOTHING = np.full(9, 10.0)
BASELINE = np.array([2.0, 2.5, 3.0, 5.0, 5.5, 6.0, 9.0, 9.5, 12.0])
MODEL = BASELINE - np.array([0.0, 0.1, -0.1, 1.0, 1.2, 0.8, 3.0, 3.2, 3.4])


def scores(**methods: np.ndarray) -> pd.DataFrame:
    roles = {"model": "model"}
    return pd.concat(
        [
            pd.DataFrame(
                {"method": name, "role": roles.get(name, "baseline"), "perturbation": list("abcdefghi"), "l2": values}
            )
            for name, values in methods.items()
        ],
        ignore_index=True,
    )


def test_saturation_is_the_share_of_what_is_possible():
    assert saturation(np.array([1.0, 5.5, 10.0, 19.0]), np.full(4, 10.0), 1.0).tolist() == [1, 0.5, 0, -1]
    assert saturation(np.array([0.9, 0.5]), np.array([0.1, 0.1]), 0.9, sign=1).tolist() == pytest.approx([1, 0.5])
    assert saturation(np.array([0.5]), np.array([0.8]), 1.0).tolist() == [1]  # nothing to gain


def test_each_stratum_has_its_units_and_differences():
    table = stratified(scores(model=MODEL, no_change=NOTHING, additive=BASELINE, mean=NOTHING - 0.5), 1.0)
    assert table["stratum"].tolist() == list(GROUPS)
    assert table["n"].tolist() == [3, 3, 3]
    assert set(table["baseline"]) == {"additive"}
    for row, units in zip(table.itertuples(), (slice(0, 3), slice(3, 6), slice(6, 9)), strict=True):
        assert row.difference == pytest.approx((MODEL - BASELINE)[units].mean())
        assert row.estimate == pytest.approx(MODEL[units].mean())
        assert row.of_baseline == pytest.approx(BASELINE[units].mean())
        assert row.saturation == pytest.approx(((10 - BASELINE[units]) / 9).mean())
        assert row.difference_low < row.difference < row.difference_high
    assert table["verdict"].tolist() == ["undecided", "better", "better"]


def test_units_of_several_splits_are_averaged_and_missing_scores_left_out():
    once = scores(model=MODEL, no_change=NOTHING, additive=BASELINE)
    again = pd.concat([once.assign(l2=once["l2"] - 0.5), once.assign(l2=once["l2"] + 0.5)])
    pd.testing.assert_frame_equal(stratified(again, 1.0), stratified(once, 1.0))
    few = MODEL.copy()
    few[:4] = np.nan
    assert stratified(scores(model=few, no_change=NOTHING, additive=BASELINE), 1.0)["n"].tolist() == [2, 3]


def test_without_a_ceiling_nothing_is_called_solved():
    adata = combinations(n_singles=20, n_doubles=10, n_cells=1)
    ho.tl.perturbation(adata, method="linear")
    ho.tl.evaluate(adata, baselines=["no_change", "additive"], n_bootstrap=10)
    with pytest.raises(ValueError, match="The ceiling of metric='l2' is not known"):
        ho.get.strata(adata)


@pytest.mark.parametrize("left_out", ["no_change", "additive"])
def test_strata_need_no_change_and_a_baseline(left_out):
    methods = {"model": MODEL, "no_change": NOTHING, "additive": BASELINE}
    methods.pop(left_out)
    with pytest.raises(
        ValueError, match="metric='l2' must be a judged metric by which 'no_change' and another baseline"
    ):
        stratified(scores(**methods), 1.0)


def test_strata_of_a_stored_evaluation():
    adata = combinations(n_doubles=16)
    ho.tl.perturbation(adata, method="latent_additive")
    ho.tl.evaluate(adata, "perturbation", baselines=["no_change", "additive"], n_bootstrap=20)
    for metric in ("l2", "energy_distance"):
        table = ho.get.strata(adata, metric=metric)
        assert table["n"].sum() == 8
        evaluated = ho.get.evaluation(adata).set_index(["method", "metric"])["estimate"]
        mean = np.average(table["estimate"], weights=table["n"])
        assert mean == pytest.approx(evaluated["latent_additive", metric])
    with pytest.raises(ValueError, match="metric='l3' must be a metric of an evaluation of perturbations"):
        ho.get.strata(adata, metric="l3")
    with pytest.raises(ValueError, match="metric='pearson_delta' must be a judged metric"):  # no change has none
        ho.get.strata(adata, metric="pearson_delta")

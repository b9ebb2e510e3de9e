"""Splits of screens with doses: which doses may be held out, and what is refused."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import heldout as ho
from heldout._core.partition import read_partition
from tests.helpers.screens import HYPOTHESIS, screen
from tests.helpers.splits import assigned

SEEDS = st.integers(0, 2**16)


def dosed(rows, n_controls=9):
    """AnnData of one cell for each (perturbation, context, dose), and controls in each context."""
    contexts = sorted({context for _, context, _ in rows})
    rows = [*rows, *(("control", context, 0.0) for context in contexts for _ in range(n_controls))]
    obs = pd.DataFrame(rows, columns=["guide", "line", "dose"], index=[f"cell{i}" for i in range(len(rows))])
    return ad.AnnData(np.ones((len(obs), 2), dtype=np.float32), obs=obs)


@st.composite
def series(draw):
    """A screen in which each perturbation has some of five doses in some of the contexts."""
    rows = []
    for name in ("A", "B", "C", "D", "A+B"):
        for context in draw(st.sets(st.sampled_from(["k562", "rpe1"]), min_size=1)):
            doses = draw(st.sets(st.sampled_from([0.1, 0.5, 1.0, 10.0, 50.0]), min_size=1))
            rows += [(name, context, dose) for dose in sorted(doses)]
    return dosed(sorted(rows))


@HYPOTHESIS
@given(
    adata=series(),
    which=st.sampled_from(["inner", "highest", "lowest"]),
    contexts=st.sampled_from([None, ["k562"]]),
    shares=st.sampled_from([(0.2, 0.3), (0, 0.5), (0.4, 0)]),
    seed=SEEDS,
)
def test_train_has_the_doses_around_or_on_one_side_of_each_held_out_dose(adata, which, contexts, shares, seed):
    val, test = shares
    options = {"covariate_keys": "line", "dose_key": "dose", "hold_out": "dose", "held_out_doses": which}
    try:
        ho.pp.split_perturbations(adata, "guide", **options, contexts=contexts, val=val, test=test, rng=seed)
    except ValueError:
        assume(False)
    perturbed = adata.obs[adata.obs["guide"] != "control"]
    held = perturbed[perturbed["split"] != "train"]
    assert set(held["split"]) == {name for name in ("val", "test") if {"val": val, "test": test}[name]}
    if contexts is not None:
        assert set(held["line"]) <= set(contexts)
    for (guide, dose), cells in held.groupby(["guide", "dose"]):
        assert cells["split"].nunique() == 1
        same = perturbed[(perturbed["guide"] == guide) & (perturbed["dose"] == dose)]
        inside = same if contexts is None else same[same["line"].isin(contexts)]
        assert (inside["split"] == cells["split"].iloc[0]).all()  # in no context is the dose in train
        for line in cells["line"]:
            train = perturbed[(perturbed["guide"] == guide) & (perturbed["line"] == line)]
            train = train.loc[train["split"] == "train", "dose"]
            assert (train < dose).any() == (which != "lowest")
            assert (train > dose).any() == (which != "highest")
    audit = ho.tl.audit(adata, items=["perturbations"])
    assert set(audit.loc[audit["item"] == "perturbations", "status"]) <= {"pass", "not run", "skipped"}


@pytest.mark.parametrize("hold_out", ["single", "combination", "context"])
def test_all_doses_of_a_perturbation_stay_together_and_the_draw_is_the_one_without_doses(hold_out):
    adata = screen(contexts=("k562", "rpe1"), repeats=6)
    adata.obs["dose"] = np.where(adata.obs["guide"] == "control", 0.0, 10.0 ** (np.arange(adata.n_obs) % 3))
    plain = adata.copy()
    options = {"hold_out": hold_out, "covariate_keys": "line", "val": 0.2, "test": 0.3}
    ho.pp.split_perturbations(plain, "guide", **options)
    ho.pp.split_perturbations(adata, "guide", dose_key="dose", **options)
    assert assigned(adata) == assigned(plain)
    assert "dose_key" not in read_partition(plain, "split").params
    table, without = ho.get.perturbations(adata), ho.get.perturbations(plain)
    unit = ["perturbation", "line", "partition", "control"]
    merged = table.groupby(unit, observed=True)["n_cells"].sum()
    pd.testing.assert_series_equal(merged, without.groupby(unit, observed=True)["n_cells"].sum())
    assert (table.groupby(["perturbation", "line", "dose"])["n_cells"].sum() > 0).all()
    assert (table.loc[table["control"], "dose"] == 0).all()


def test_the_audit_fails_if_a_dose_series_is_on_both_sides_unless_doses_are_held_out():
    adata = dosed([(name, "k562", dose) for name in "ABCD" for dose in (1.0, 10.0, 100.0)])
    ho.pp.split_perturbations(adata, "guide", dose_key="dose", hold_out="dose", val=0, test=0.5)
    found = ho.tl.audit(adata, items=["perturbations"]).query("item == 'perturbations' and subject == 'guide'").iloc[0]
    assert found["status"] == "pass"
    assert "at the same dose" in found["finding"]
    assert "Train or val has 2 of 2 in other doses" in found["finding"]
    by_hand = adata.copy()
    del by_hand.uns["heldout"]
    found = ho.tl.audit(by_hand, perturbation_key="guide", items=["perturbations"])
    assert found.query("item == 'perturbations' and subject == 'guide'").iloc[0]["status"] == "fail"


def test_a_changed_dose_is_noticed():
    adata = dosed([(name, "k562", dose) for name in "ABCD" for dose in (1.0, 10.0, 100.0)])
    ho.pp.split_perturbations(adata, "guide", dose_key="dose", hold_out="dose", val=0, test=0.5)
    changed = adata.copy()
    changed.obs["dose"] = np.where(changed.obs["dose"] == 10, 100.0, changed.obs["dose"])
    with pytest.raises(ValueError, match="or dose_key='dose' was changed"):
        ho.get.perturbations(changed)
    changed.obs["dose"] *= 3
    with pytest.raises(ValueError, match="or dose_key='dose' that the split did not have"):
        ho.get.perturbations(changed)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (lambda obs: obs["dose"].astype(str) + " uM", ["'1.0 uM'", "must be numbers in one unit", ".astype(float)"]),
        (lambda obs: obs["dose"].astype(str), ["must be numbers in one unit"]),
        (lambda obs: obs["dose"] > 1, ["must be numbers in one unit"]),
        (lambda obs: obs["dose"] + 1, ["not 0 for 9 control cells (e.g. 1)", "Set their dose to 0"]),
        (lambda obs: obs["dose"].replace(10.0, 0.0), ["must be a finite number > 0", "4 perturbed cells", "(e.g. 0)"]),
        (lambda obs: obs["dose"].replace(10.0, np.nan), ["4 perturbed cells have another dose (e.g. nan)"]),
        (lambda obs: obs["dose"].replace(10.0, np.inf), ["4 perturbed cells"]),
        (lambda obs: np.log10(obs["dose"].where(obs["dose"] > 0)), ["(e.g. 0)", "undo a logarithm"]),
    ],
)
def test_doses_that_are_refused(values, words):
    adata = dosed([(name, "k562", dose) for name in "ABCD" for dose in (1.0, 10.0, 100.0)])
    adata.obs["dose"] = values(adata.obs)
    before = adata.obs.copy()
    with pytest.raises(ValueError, match="dose_key='dose'") as refusal:
        ho.pp.split_perturbations(adata, "guide", dose_key="dose", hold_out="dose")
    assert all(word in str(refusal.value) for word in words), str(refusal.value)
    pd.testing.assert_frame_equal(adata.obs, before)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"hold_out": "dose"}, "hold_out='dose' needs dose_key"),
        ({"dose_key": "dose", "held_out_doses": "highest"}, "works only with hold_out='dose', not 'single'"),
        ({"dose_key": "dose", "held_out_doses": "middle"}, "must be one of 'inner', 'highest', 'lowest'"),
        ({"dose_key": "line", "covariate_keys": "line"}, "dose_key='line' is also"),
        ({"dose_key": "dos"}, "dose_key='dos' is not a column"),
        ({"dose_key": "dose", "hold_out": "dose", "max_contexts": 1}, "works only with hold_out='context'"),
        ({"dose_key": "dose", "hold_out": "dose", "targets": "whole"}, "at least 3 doses"),
    ],
)
def test_options_that_are_refused(options, words):
    adata = dosed([(name, "k562", dose) for name in "ABCD" for dose in (1.0, 10.0, 100.0)])
    adata.obs["whole"] = adata.obs["guide"].where(adata.obs["guide"] == "control", adata.obs_names)
    if "targets" in options:  # each name has one dose, as names that have the dose in them
        adata.obs["guide"] = adata.obs["whole"]
    with pytest.raises(ValueError, match=words):
        ho.pp.split_perturbations(adata, "guide", **options)


def test_controls_may_lack_a_dose_and_the_column_may_be_categorical():
    adata = dosed([(name, "k562", dose) for name in "ABCD" for dose in (1.0, 10.0, 100.0)])
    lacking, categorical = adata.copy(), adata.copy()
    lacking.obs["dose"] = lacking.obs["dose"].replace(0.0, np.nan)
    categorical.obs["dose"] = categorical.obs["dose"].astype("category")
    for data in (adata, lacking, categorical):
        ho.pp.split_perturbations(data, "guide", dose_key="dose", hold_out="dose", val=0, test=0.5)
    assert assigned(lacking) == assigned(categorical) == assigned(adata)
    pd.testing.assert_frame_equal(ho.get.perturbations(lacking), ho.get.perturbations(categorical))

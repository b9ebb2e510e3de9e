"""What every method of whole groups must do: kinds of matrix, files, other cells, seeds, and too few groups."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import heldout as ho
from heldout._core.fits import read_fit
from heldout.model import AutoGroupsConfig, CellTypeConfig, EmbeddingConfig, PathwayConfig, StackedGroupsConfig
from heldout.tasks.genotype import METHODS
from heldout.tasks.genotype.rows import predict_groups
from heldout.tasks.genotype.tuning.refit import refit_test
from tests.conftest import ANY_ARRAY_TYPES
from tests.tasks.genotype.donors import data_of, donors

NAMES = ["celltype_pseudobulk", "mean_embedding", "pathway_logistic", "stacked", "auto"]
OPTIONS = {
    "auto": AutoGroupsConfig(candidates=("pseudobulk_shrunken", "celltype_pseudobulk")),
    "celltype_pseudobulk": CellTypeConfig(Cs=(0.1, 1.0), n_clusters=3, n_comps=5),
    "mean_embedding": EmbeddingConfig(Cs=(0.1, 1.0), n_features=50, n_comps=5),
    "stacked": StackedGroupsConfig(members=("nearest_centroid", "pseudobulk_shrunken", "celltype_pseudobulk")),
    "pathway_logistic": PathwayConfig(
        Cs=(0.1, 1.0), min_genes=2, gene_sets={f"set {i}": [str(g) for g in range(i, 20, 5)] for i in range(5)}
    ),
}
"""Small options, so that tests are fast."""


@pytest.fixture(scope="module")
def _adata():
    adata = donors("mean", 0, n_donors=12, n_cells=15, n_genes=20, size=4.0)
    ho.pp.split_groups(adata, "donor", "label", val=0, test=0.25)
    return adata


@pytest.fixture
def adata(_adata):
    return _adata.copy()


@pytest.mark.parametrize(("name", "types"), [*((name, False) for name in NAMES), ("celltype_pseudobulk", True)])
def test_kinds_of_matrix_agree(adata, name, types):
    key = "cell_type" if types else None
    how = {"method": name, "mask_var": None, "cell_type_key": key, "config": OPTIONS.get(name)}
    expected = adata.copy()
    ho.tl.genotype(expected, "label", **how)
    for kind in ("csr_matrix", "csc_array", "dask_dense", "dask_csr_matrix"):
        found = adata.copy()
        found.X = ANY_ARRAY_TYPES[kind](adata.X)
        ho.tl.genotype(found, "label", **how)
        of_kind, wanted = (a.obsm["genotype_log_probability"] for a in (found, expected))
        np.testing.assert_allclose(of_kind, wanted, atol=1e-4, err_msg=kind)


@pytest.mark.parametrize("through_file", ["h5ad"], indirect=True)
@pytest.mark.parametrize(("name", "types"), [*((name, False) for name in NAMES), ("celltype_pseudobulk", True)])
def test_it_predicts_again_from_a_file_and_on_other_cells(adata, through_file, name, types):
    key = "cell_type" if types else None
    ho.tl.genotype(adata, "label", method=name, mask_var=None, cell_type_key=key, config=OPTIONS.get(name))
    before = adata.obsm["genotype_log_probability"].copy()
    if METHODS[name].load().by_group:
        assert len(np.unique(before[:, 0])) == adata.obs["donor"].nunique()
    again = through_file(adata)
    ho.tl.predict(again)
    np.testing.assert_array_equal(again.obsm["genotype_log_probability"], before)
    other = again[again.obs["split"] == "test", ::-1].copy()
    del other.obsm["genotype_log_probability"]
    ho.tl.predict(other)
    of_test = before[(adata.obs["split"] == "test").to_numpy()]
    np.testing.assert_allclose(other.obsm["genotype_log_probability"], of_test, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_gives_the_same_fit_and_test_cells_do_not_change_it(name):
    data = data_of(donors("mean", 1, n_donors=20, n_cells=15, n_genes=20), types=False)
    method, config = METHODS.implementation(name), METHODS[name].check_config(OPTIONS.get(name))
    X = data.X.copy()
    X[np.setdiff1d(np.arange(len(X)), data.train)] = 7.0
    first, again, other = (method.fit(d, config, seed=3) for d in (data, data, replace(data, X=X)))
    for label, array in first.arrays.items():
        np.testing.assert_array_equal(again.arrays[label], array)
        np.testing.assert_array_equal(other.arrays[label], array)
    changed = method.fit(data, config, seed=4)
    same = all(np.array_equal(changed.arrays[label], array) for label, array in first.arrays.items())
    assert same != method.stochastic


@pytest.mark.parametrize("name", NAMES)
def test_one_group_of_a_class_has_a_fixed_penalty_and_no_groups_are_refused(adata, unchanged, name):
    ids = sorted(adata.obs["donor"].unique(), key=lambda d: adata.obs.loc[adata.obs["donor"] == d, "label"].iloc[0])
    few = adata[adata.obs["donor"].isin([*ids[:5], *ids[-1:]])].copy()
    few.obs["set"] = "train"
    ho.pp.split_assigned(few, "set", train=["train"], test=[], key_added="few")
    ho.tl.genotype(
        few, "label", method=name, mask_var=None, split_key="few", group_key="donor", config=OPTIONS.get(name)
    )
    info = read_fit(few, "genotype").info["fitted"]
    if name in ("stacked", "auto"):
        assert info["n_left_out"] == 0
        assert len(set(info["weights"])) == 1
    else:
        assert info["penalty"] == "fixed, because a class has fewer than two groups to leave out"
    ho.pp.split_cells(adata, key_added="cells")
    with pytest.raises(ValueError, match=f"{name} needs groups. Pass group_key"), unchanged(adata):
        ho.tl.genotype(adata, "label", method=name, mask_var=None, split_key="cells", config=OPTIONS.get(name))


@pytest.mark.parametrize("name", NAMES)
def test_a_comparison_scores_it_by_group(adata, name):
    ho.pp.folds(adata, "donor", "label", n_folds=3)
    how = {"method": name, "config": OPTIONS.get(name)}
    table = ho.tl.compare(adata, "label", methods={"x": how}, seeds=[0], cell_type_key="cell_type")
    found = table.query("metric == 'auc'").iloc[0]
    assert found["level"] == "donor"
    assert found["estimate"] > 0.6


def test_groups_are_predicted_alone_and_a_test_with_refits_ranks_them(monkeypatch):
    data = data_of(donors("one type", 2, n_donors=30, n_cells=30, n_genes=20))
    ranked = []
    monkeypatch.setattr("heldout.tasks.genotype.tuning.refit.roc_auc", lambda *seen: ranked.append(seen) or 0.5)
    method = METHODS.implementation("celltype_pseudobulk")
    config = method.default_config
    rows = np.setdiff1d(np.arange(len(data.labels)), data.train)
    refit_test(method, config, data, rows, data.groups, None, within=False, n_labellings=2, seed=0)
    fitted = method.fit(data, config, seed=0)
    names, groups = np.unique(data.groups[rows], return_inverse=True)
    log_p = predict_groups(method, fitted, data.X[rows], groups, data.cell_types[rows])
    for number in range(len(names)):
        alone = rows[groups == number]
        np.testing.assert_array_equal(log_p[number], method.predict(fitted, data.X[alone], data.cell_types[alone])[0])
    assert len(np.unique(log_p[:, 1])) == len(names)
    np.testing.assert_array_equal(ranked[0][1], log_p)

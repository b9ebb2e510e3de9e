"""Units that are in train under another name."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import heldout as ho
from tests.helpers.audits import row


def donors(seed=0, *, n=16, n_cells=80, genes=200, effect=0.3):
    """Donors with three cell states in shares of their own; six of them are test."""
    rng = np.random.default_rng(seed)
    base, states = rng.normal(0, 1, genes), rng.normal(0, 0.5, (3, genes))
    blocks = []
    for _ in range(n):
        state = rng.choice(3, size=n_cells, p=rng.dirichlet([5, 5, 5]))
        log = base + rng.normal(0, effect, genes) + states[state]
        blocks.append(rng.poisson(1000 * np.exp(log) / np.exp(log).sum(axis=1, keepdims=True)))
    number = np.repeat(np.arange(n), n_cells)
    obs = pd.DataFrame({"donor": [f"D{i}" for i in number], "split": np.where(number < 6, "test", "train")})
    obs.index = [f"cell{i}" for i in range(len(obs))]
    return ad.AnnData(sparse.csr_matrix(np.concatenate(blocks).astype(np.float32)), obs=obs)


def halved(adata, names):
    """Half of the cells of these donors are in train under another name."""
    moved = adata.obs["donor"].isin(names).to_numpy() & (np.arange(adata.n_obs) % 2 == 0)
    adata.obs["donor"] = np.where(moved, "x" + adata.obs["donor"].astype(str), adata.obs["donor"])
    adata.obs["split"] = np.where(moved, "train", adata.obs["split"])
    return adata


def audited(adata, **options):
    return row(ho.tl.audit(adata, **{"group_key": "donor", **options, "items": ["same_unit"]}), "same_unit")


def test_half_a_donor_under_another_name_is_found():
    found = audited(halved(donors(), ["D1", "D4"]))
    assert found["status"] == "fail"
    assert found["finding"].startswith("2 of 6 donors of test have a partner in train or val")
    assert "D1 in test and xD1 in train or val" in found["finding"]
    assert "Two halves of a donor would be found for 100% of 18 donors." in found["finding"]


def test_replicates_of_a_pooled_donor_are_found():
    adata, rng = donors(), np.random.default_rng(0)
    sums, names = [], []
    for donor in adata.obs["donor"].unique():
        cells = np.flatnonzero(adata.obs["donor"] == donor)
        for replicate in range(4):
            sums.append(np.asarray(adata.X[rng.choice(cells, len(cells))].sum(axis=0)).ravel())
            names.append(f"{donor} {replicate}")
    side = np.where(rng.random(len(names)) < 0.3, "test", "train")
    pooled = ad.AnnData(np.array(sums), obs=pd.DataFrame({"donor": names, "split": side}, index=names))
    found = audited(pooled)
    assert found["status"] == "fail"
    assert "the power cannot be measured" in found["finding"]


def test_few_alarms_on_clean_donors():
    """The level is 5 %. More than three alarms in 20 clean data sets have a probability of 0.02 at this level."""
    statuses = [audited(donors(seed, genes=120, n_cells=50))["status"] for seed in range(20)]
    assert statuses.count("pass") >= 17


def test_donors_that_do_not_differ_cannot_be_judged():
    found = [audited(donors(seed, effect=0, genes=120)) for seed in range(5)]
    assert {row["status"] for row in found} <= {"not run", "pass"}
    assert any("are not clearly more similar" in row["finding"] or "hardly" in row["finding"] for row in found)


def test_donors_of_two_sexes_are_not_one_donor():
    adata = halved(donors(), ["D1"])
    adata.var_names = ["RPS4Y1", *adata.var_names[1:]]
    dense = adata.X.toarray()
    dense[:, 0] = np.where(adata.obs["donor"] == "D1", 3, 0)
    adata.X = sparse.csr_matrix(dense)
    assert audited(adata)["status"] == "pass"


def test_neither_order_nor_kind_of_matrix_matters(any_array_type):
    adata = halved(donors(genes=100, n_cells=40), ["D1"])
    expected = audited(adata)
    other = adata[np.random.default_rng(0).permutation(adata.n_obs)].copy()
    other.X = any_array_type(other.X.toarray())
    found = audited(other)
    assert found["finding"] == expected["finding"]
    assert found["value"] == pytest.approx(expected["value"], rel=1e-3)


def test_a_label_that_changes_the_expression_is_no_alarm():
    adata = donors()
    number = adata.obs["donor"].str[1:].astype(int).to_numpy()
    adata.obs["label"] = np.where(number % 2, "a", "b")
    dense = adata.X.toarray()
    dense[:, :60] += 2 * (number % 2)[:, None]
    adata.X = sparse.csr_matrix(dense)
    assert audited(adata, label_key="label")["status"] == "pass"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda a: a[a.obs["donor"].isin(["D0", "D8", "D9"])].copy(), "needs 6 to 3,000 donors"),
        (lambda a: a[:, :1].copy(), "Fewer than two genes"),
        (lambda a: a[a.obs["split"] == "train"].copy(), "Test or train has no donor"),
    ],
)
def test_says_why_it_does_not_run(change, reason):
    found = audited(change(donors()))
    assert found["status"] == "not run"
    assert reason in found["finding"]

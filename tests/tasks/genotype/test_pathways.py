"""Scores of gene sets: where the sets come from, the scores against scikit-learn, and a weak signal of many genes."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

import heldout as ho
from heldout.model import PathwayConfig
from heldout.tasks.genotype.group_rows import group_means
from heldout.tasks.genotype.interface import Data
from heldout.tasks.genotype.pathways import PathwayLogistic
from heldout.tasks.genotype.penalty import balanced_weights
from tests.tasks.genotype.donors import auc, held_out

METHOD = PathwayLogistic()
SETS = {f"set {i}": tuple(f"g{j}" for j in range(20 * i, 20 * i + 20)) for i in range(10)}


def donors_with_a_pathway(seed: int, *, n_donors: int = 60, shift: float = 0.15) -> Data:
    """Donors of 20 cells. All genes of the fourth set are a little higher in patients."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n_donors), 20)
    labels = groups % 2
    X = rng.normal(scale=0.3, size=(n_donors, 200))[groups] + rng.normal(size=(len(groups), 200))
    X[:, 60:80] += shift * labels[:, None]
    genes = np.array([f"g{i}" for i in range(200)], dtype=object)
    return Data(X, labels, 2, np.flatnonzero(groups < n_donors // 2), np.arange(0), groups=groups, genes=genes)


@pytest.mark.parametrize("score", ["mean", "component"])
def test_it_equals_scikit_learn_on_the_scores(score):
    data = donors_with_a_pathway(0)
    fitted = METHOD.fit(data, PathwayConfig(gene_sets=SETS, score=score, Cs=(3.0,), calibrated=False), seed=0)
    means, labels = group_means(data, "x")
    z = (means - means.mean(axis=0)) / means.std(axis=0, ddof=1)
    every = (data.X - means.mean(axis=0)) / means.std(axis=0, ddof=1)
    blocks = [slice(20 * i, 20 * i + 20) for i in range(10)]
    if score == "mean":
        scores, wanted = (np.stack([part[:, b].mean(axis=1) for b in blocks], axis=1) for part in (z, every))
    else:
        axes = [PCA(1).fit(z[:, b]).components_[0] for b in blocks]
        axes = [axis * (1 if axis.sum() > 0 else -1) / np.sqrt(20) for axis in axes]
        scores, wanted = (
            np.stack([part[:, b] @ axis for b, axis in zip(blocks, axes, strict=True)], axis=1) for part in (z, every)
        )
    C = 3.0 / ((scores**2).sum() / len(scores))
    model = LogisticRegression(C=C, tol=1e-10, max_iter=10000)
    model.fit(scores, labels, sample_weight=balanced_weights(labels, np.arange(len(labels))))
    np.testing.assert_allclose(np.exp(METHOD.predict(fitted, data.X)), model.predict_proba(wanted), atol=1e-5)
    np.testing.assert_allclose(fitted.arrays["set_coef"], model.coef_, atol=1e-4)
    assert fitted.info["sets"] == list(SETS)


def test_a_weak_signal_of_a_whole_set_is_found_better_than_by_single_genes():
    config = PathwayConfig(gene_sets=SETS)
    data = [donors_with_a_pathway(seed) for seed in range(4)]
    found = np.mean([auc("pathway_logistic", d, config) for d in data])
    plain = np.mean([auc("pseudobulk_logistic", d) for d in data])
    assert found > plain + 0.05
    assert found > 0.8
    assert np.abs(METHOD.fit(data[0], config, seed=0).arrays["set_coef"]).argmax() == 3


def test_the_mean_logit_of_cells_is_the_logit_of_the_group():
    data = donors_with_a_pathway(1)
    labels, log_p = held_out("pathway_logistic", data, PathwayConfig(gene_sets=SETS))
    fitted = METHOD.fit(data, PathwayConfig(gene_sets=SETS), seed=0)
    names = np.setdiff1d(data.groups, data.groups[data.train])
    means = np.stack([data.X[data.groups == name].mean(axis=0) for name in names])
    np.testing.assert_allclose(log_p, METHOD.predict(fitted, means), atol=1e-5)
    assert roc_auc_score(labels, log_p[:, 1]) > 0.5


def test_sets_come_from_a_mapping_a_table_or_a_gmt_file(tmp_path):
    wanted = {"interferon": ("ISG15", "IFI6"), "cycle": ("MKI67",)}
    rows = [(name, gene) for name, genes in wanted.items() for gene in genes]
    (tmp_path / "sets.gmt").write_text("interferon\thttp://x\tISG15\tIFI6\tISG15\n\ncycle\t\tMKI67\t\n")
    sources = [
        {"interferon": ["ISG15", "IFI6", "IFI6"], "cycle": "MKI67"},
        pd.DataFrame(rows, columns=["source", "target"]).assign(weight=1.0),
        pd.DataFrame(rows, columns=["set", "gene"]).astype("category"),
        tmp_path / "sets.gmt",
        str(tmp_path / "sets.gmt"),
    ]
    for source in sources:
        assert PathwayConfig(gene_sets=source).gene_sets == wanted


def test_sources_of_another_form_are_refused(tmp_path):
    gmt = tmp_path / "sets.gmt"
    gmt.write_text("a\t\tG1\nb\t\n")
    with pytest.raises(ValueError, match=r"Line 2 of gene_sets=.* has no genes"):
        PathwayConfig(gene_sets=gmt)
    gmt.write_text("a\t\tG1\na\t\tG2\n")
    with pytest.raises(ValueError, match="Line 2 .* repeats the set 'a'"):
        PathwayConfig(gene_sets=gmt)
    with pytest.raises(ValueError, match="is not a file"):
        PathwayConfig(gene_sets=tmp_path / "absent.gmt")
    with pytest.raises(ValueError, match="has the columns 'x', 'y'. It must have 'source' and 'target'"):
        PathwayConfig(gene_sets=pd.DataFrame({"x": ["a"], "y": ["b"]}))
    with pytest.raises(ValueError, match="missing values in 'source' or 'target'"):
        PathwayConfig(gene_sets=pd.DataFrame({"source": ["a"], "target": [None]}))
    with pytest.raises(ValueError, match="gene_sets is a list"):
        PathwayConfig(gene_sets=["a"])
    with pytest.raises(ValueError, match=r"1 sets without genes \('b'\)"):
        PathwayConfig(gene_sets={"a": ["G1"], "b": []})
    with pytest.raises(ValueError, match="gene_sets has no sets"):
        PathwayConfig(gene_sets={})


def test_sets_without_genes_are_named(caplog):
    data = donors_with_a_pathway(0)
    sets = {**SETS, "elsewhere": ("X1", "X2"), "small": ("g0", "X1")}
    with caplog.at_level(logging.WARNING, logger="heldout"):
        fitted = METHOD.fit(data, PathwayConfig(gene_sets=sets), seed=0)
    assert "1 of 12 gene sets have no gene in adata: 'elsewhere'" in caplog.text
    assert "1 of 12 gene sets have fewer than min_genes=5 genes in adata and are left out: 'small'" in caplog.text
    assert fitted.info["sets_left_out"] == ["elsewhere", "small"]
    with pytest.raises(ValueError, match="None of 1 gene sets has 5 or more of the 200 genes .*elsewhere"):
        METHOD.fit(data, PathwayConfig(gene_sets={"elsewhere": ("X1", "X2")}), seed=0)


def test_without_gene_sets_it_says_what_to_pass(split, unchanged):
    with pytest.raises(ValueError, match=r"PathwayConfig\(gene_sets=...\)"), unchanged(split):
        ho.tl.genotype(split, method="pathway_logistic", mask_var=None)

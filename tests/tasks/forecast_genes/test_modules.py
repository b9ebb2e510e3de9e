"""Scores by module of genes, on a simulation in which one module can be predicted and another cannot."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score

import heldout as ho
from heldout.tasks.forecast_genes.modules import by_module, past_modules, sentence
from tests.helpers.courses import course


def two_modules(rng: int = 0, n_genes: int = 120, n_cells: int = 60) -> ad.AnnData:
    """Two programmes with a factor in cells each. Genes of the first go on, those of the second change at random.

    The last two genes do not vary before the target.
    """
    draw = np.random.default_rng(rng)
    first = np.arange(n_genes) < 72
    size = draw.uniform(0.5, 2.0, n_genes)
    shape = np.where(first[:, None], [0.0, 1.0, 1.5, 3.0], [2.0, 1.0, 1.5, 0.5])
    past = 3 + size[:, None] * shape
    change = np.where(first, 0.7 * size * 1.5, draw.normal(0, 1.0, n_genes))
    levels = np.column_stack([past, past[:, 3] + change])
    factor = draw.normal(size=(5, n_cells, 2))
    cells = [
        level + size * np.where(first, z[:, :1], z[:, 1:]) + draw.normal(0, 0.2, size=(n_cells, n_genes))
        for level, z in zip(levels.T, factor, strict=True)
    ]
    X = np.concatenate(cells)
    X[: 4 * n_cells, -2:] = 0
    obs = pd.DataFrame({"hour": np.repeat([0.0, 1.0, 2.0, 4.0, 8.0], n_cells)})
    obs.index = [f"cell{i}" for i in range(len(obs))]
    adata = ad.AnnData(X, obs=obs, var=pd.DataFrame(index=[f"gene{i}" for i in range(n_genes)]))
    adata.var["programme"] = np.where(first, "goes on", "random")
    ho.pp.split_genes(adata, test=0.4, val=0)
    return adata


@pytest.fixture(scope="module")
def evaluated():
    adata = two_modules()
    ho.tl.forecast_genes(adata, "hour", method="multi_kernel", n_replicates=4)
    ho.tl.evaluate(adata, n_bootstrap=50)
    return adata


def test_programmes_are_found_in_the_past_and_scored_apart(evaluated):
    truth = evaluated.var["programme"]
    scores = ho.get.scores(evaluated).query("role == 'model'").set_index("gene")
    found = scores["module"].dropna()
    assert adjusted_rand_score(truth[found.index], found) > 0.5, "branches of the tree do not mix programmes"
    pure = pd.crosstab(truth[found.index], found)
    assert ((pure > 0).sum() == 1).all()
    silent = set(scores.index[scores["module"].isna()])
    assert silent == set(evaluated.var_names[-2:]) & set(scores.index)
    table = ho.get.modules(evaluated, module_key="programme").set_index("module")
    assert table.loc["goes on", "verdict"] == "better"
    assert table.loc["goes on", "skill_corrected"] > 0.8
    assert table.loc["random", "skill_corrected"] < 0.3
    assert table["n"].sum() == len(scores)
    by_number = ho.get.modules(evaluated)
    assert by_number["n"].tolist() == sorted(by_number["n"], reverse=True)
    of = {f"{number:g}": truth[genes.index[0]] for number, genes in found.groupby(found)}
    for row in by_number.itertuples():
        assert (row.skill_corrected > 0.7) == (of[row.module] == "goes on"), row.module
        assert np.isfinite(row.ci_low) == (row.n >= 10)
    words = by_number.attrs["summary"]
    assert words in " ".join(str(ho.get.evaluation(evaluated)).split())
    assert "multi_kernel is better than persistence in module 0 (" in words
    assert "it is no better than persistence in module 1 (" in words


def test_scores_of_a_module_are_those_of_its_genes(evaluated, tmp_path):
    scores = ho.get.scores(evaluated)
    for row in ho.get.modules(evaluated, module_key="programme").itertuples():
        genes = evaluated.var_names[evaluated.var["programme"] == row.module]
        here = scores[scores["gene"].isin(genes)]
        judged, best = (here[here["method"] == name] for name in (row.method, row.baseline))
        squares, nothing = (judged["change"] - judged["predicted"]).pow(2).sum(), judged["change"].pow(2).sum()
        assert row.rmse == pytest.approx(np.sqrt(squares / row.n))
        assert row.skill == pytest.approx(1 - squares / nothing)
        assert row.skill_corrected == pytest.approx((nothing - squares) / (nothing - judged["floor"].sum()))
        other = (best["change"] - best["predicted"]).pow(2).sum()
        assert row.of_baseline == pytest.approx((nothing - other) / (nothing - judged["floor"].sum()))
        assert set(row.genes.split(", ")) == set(judged.set_index("gene")["change"].abs().nlargest(3).index)
    evaluated.write_h5ad(tmp_path / "a.h5ad")
    again = ho.get.modules(ad.read_h5ad(tmp_path / "a.h5ad"))
    pd.testing.assert_frame_equal(again, ho.get.modules(evaluated))
    assert again.attrs["summary"] == ho.get.modules(evaluated).attrs["summary"]
    whole = by_module(scores, ["all"] * len(scores)).iloc[0]
    table = ho.get.evaluation(evaluated).table.query("role == 'model'").set_index("metric")["estimate"]
    for name in ("skill", "skill_corrected", "rmse"):
        assert whole[name] == pytest.approx(table[name])


def test_modules_do_not_see_the_target_nor_depend_on_the_order_of_genes(evaluated):
    before = ho.get.scores(evaluated).query("role == 'model'").set_index("gene")["module"]
    other = two_modules()
    other.X[other.obs["hour"] == 8] += np.random.default_rng(1).normal(size=other.n_vars)
    other = other[:, np.random.default_rng(2).permutation(other.n_vars)].copy()
    ho.tl.forecast_genes(other, "hour", method="multi_kernel", n_replicates=4)
    ho.tl.evaluate(other, n_bootstrap=20)
    after = ho.get.scores(other).query("role == 'model'").set_index("gene")["module"]
    pd.testing.assert_series_equal(after.loc[before.index], before)


def test_a_split_by_module_keeps_its_modules():
    adata = course()
    adata.obs["part"] = "train"
    ho.pp.split_assigned(adata, "part", train=["train"], test=[])
    ho.pp.split_genes(adata, by="module", test=0.3, n_modules=8)
    ho.tl.forecast_genes(adata, "hour", method="ridge", n_replicates=4)
    ho.tl.evaluate(adata, n_bootstrap=20)
    table = ho.get.modules(adata)
    tested = adata.var.loc[adata.var["gene_split"] == "test", "gene_split_module"].value_counts()
    assert dict(zip(table["module"], table["n"], strict=True)) == {str(name): n for name, n in tested.items()}


def test_sentence_and_refusals(evaluated):
    rows = pd.DataFrame(
        {
            "module": list("abcd"),
            "method": "m",
            "n": [12, 3, 11, 2],
            "genes": ["x, y", "z", "u", "v"],
            "skill_corrected": [0.8, -0.2, 0.3, 0.9],
            "verdict": ["better", "unidentifiable", "undecided", "unidentifiable"],
        }
    )
    assert sentence(rows) == (
        "By modules of genes that vary together in the past, m is better than persistence in module a (12 genes such "
        "as x: 0.80); it is no better than persistence in module b (3 genes such as z: -0.20); it is not shown to be "
        "better in module c (11 genes such as u: 0.30)."
    )
    assert sentence(rows.iloc[:1]) == ""
    assert sentence(rows, "pathway").startswith("By 'pathway' of the genes, m is better"), "no words about the past"
    with pytest.raises(ValueError, match="module_key='programe' must be a column of adata.var.*programme"):
        ho.get.modules(evaluated, module_key="programe")


def test_genes_without_a_value_are_left_out_but_lost_genes_are_said(evaluated):
    adata = evaluated.copy()
    adata.var["pathway"] = [1.0, 2.0, np.nan] * (adata.n_vars // 3)
    adata.var["text"] = pd.Categorical(["one", "two", ""] * (adata.n_vars // 3))
    by_number, by_text = (ho.get.modules(adata, module_key=key) for key in ("pathway", "text"))
    assert by_number["module"].tolist() == [{"one": "1", "two": "2"}[name] for name in by_text["module"]]
    assert by_number["skill"].tolist() == by_text["skill"].tolist()
    adata.var["nothing"] = np.nan
    with pytest.raises(ValueError, match="module_key='nothing' has no value for any of the evaluated genes"):
        ho.get.modules(adata, module_key="nothing")
    with pytest.raises(ValueError, match=r"evaluated genes? \(e.g. .*cannot be found in adata.var_names"):
        ho.get.modules(adata[:, :6], module_key="text")


def test_genes_that_do_not_vary_have_no_module(evaluated):
    from heldout.tasks.forecast_genes.features import History

    cells = np.zeros((12, 3))
    history = History(cells, np.repeat([0, 1, 2], 4), np.arange(3.0), np.full(12, 0.25))
    assert np.isnan(past_modules(history, np.arange(3))).all()

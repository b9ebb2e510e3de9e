"""Predictions made elsewhere: names, genes and scales of other people, scored as our own."""

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import heldout as ho
from tests.helpers.perturbations import brute_means, combinations, contexts, exact

FEW = {"baselines": ["no_change", "mean"], "n_bootstrap": 50}


@pytest.fixture(scope="module")
def _screen():
    adata = combinations(n_doubles=30, n_cells=20)
    ho.tl.perturbation(adata, method="additive")
    return adata


@pytest.fixture
def screen(_screen):
    return _screen.copy()


@pytest.fixture
def elsewhere(screen):
    """What another tool might give: a mean profile for each test perturbation."""
    return ho.tl.predict_profiles(screen, "perturbation")


def judged(table):
    return table[table["role"] == "model"].set_index("metric")["estimate"]


def test_the_same_predictions_have_the_same_scores(screen, elsewhere):
    ours = judged(ho.tl.evaluate(screen, "perturbation", **FEW))
    theirs = judged(ho.tl.score_predictions(screen, elsewhere, **FEW))
    for metric in ours.index:
        tolerance = 1e-4 if metric != "energy_distance" else 1e-3  # float32 on the way
        assert theirs[metric] == pytest.approx(ours[metric], abs=tolerance), metric
    assert ho.get.leaderboard(screen, "predictions", sort_by="pearson_delta").index[0] == "predicted"
    assert len(ho.get.ledger(screen)) == 2


def test_names_turned_round_genes_in_another_case_and_order(screen, elsewhere):
    expected = judged(ho.tl.score_predictions(screen, elsewhere, **FEW))
    other = elsewhere[::-1, ::-1].copy()
    other.obs["perturbation"] = ["+".join(reversed(name.split("+"))) for name in other.obs["perturbation"].astype(str)]
    other.var_names = [name.lower() for name in other.var_names]
    other.X = sparse.csr_matrix(other.X)
    found = judged(ho.tl.score_predictions(screen, other, **FEW))
    pd.testing.assert_series_equal(found, expected, rtol=1e-5, atol=1e-6)


def test_ensembl_versions_are_found():
    adata = combinations()
    names = [f"ENSG{i:011d}" for i in range(adata.n_vars)]
    adata.var_names = [f"{name}.3" for name in names]
    ho.tl.perturbation(adata, method="additive")
    predicted = ho.tl.predict_profiles(adata, "perturbation")
    predicted.var_names = names
    table = ho.tl.score_predictions(adata, predicted, **FEW)
    assert np.isfinite(judged(table)["l2"])


def test_predicted_controls_move_nothing(screen, elsewhere):
    expected = judged(ho.tl.score_predictions(screen, elsewhere, **FEW))
    controls = ad.AnnData(np.full((3, screen.n_vars), 5.0, dtype=np.float32), var=elsewhere.var)
    controls.obs["perturbation"] = "control"
    controls.obs_names = ["c0", "c1", "c2"]
    both = ad.concat([elsewhere, controls])
    pd.testing.assert_series_equal(judged(ho.tl.score_predictions(screen, both, **FEW)), expected)


def test_cells_are_scored_as_cells(screen, elsewhere):
    """Real test cells are the best prediction. As many copies of the mean have a worse energy distance."""
    test = ((screen.obs["split"] == "test") & (screen.obs["perturbation"] != "control")).to_numpy()
    cells = screen[test].copy()
    table = ho.tl.score_predictions(screen, {"cells": cells, "profiles": elsewhere}, **FEW)
    rows = table.set_index(["method", "metric"])["estimate"]
    assert rows["cells", "l2"] == pytest.approx(0, abs=1e-5)
    assert rows["cells", "energy_distance"] < 0
    means = brute_means(screen, test)
    copies = cells.copy()
    copies.X = np.stack([means[name] for name in cells.obs["perturbation"].astype(str)]).astype(np.float32)
    table = ho.tl.score_predictions(screen, {"cells": cells, "copies": copies}, **FEW)
    rows = table.set_index(["method", "metric"])["estimate"]
    assert rows["copies", "l2"] == pytest.approx(0, abs=1e-5)
    assert rows["copies", "energy_distance"] > rows["cells", "energy_distance"] + 0.1


def test_dask_and_names_of_rows_that_are_not_unique(screen, elsewhere):
    """Predicted cells come concatenated, and out of memory; their names say nothing."""
    import dask.array as da

    test = (screen.obs["split"] == "test") & (screen.obs["perturbation"] != "control")
    cells = screen[test].copy()
    expected = judged(ho.tl.score_predictions(screen, cells, **FEW))
    same_names = ad.AnnData(
        da.from_array(cells.X, chunks=(50, cells.n_vars), asarray=False), obs=cells.obs.copy(), var=cells.var
    )
    same_names.obs_names = np.repeat(["a", "b"], [1, cells.n_obs - 1])
    pd.testing.assert_series_equal(judged(ho.tl.score_predictions(screen, same_names, **FEW)), expected)


def test_other_tools_have_names_of_their_own(screen, elsewhere, refuses):
    refuses(lambda a: ho.tl.score_predictions(a, {"mean": elsewhere}, **FEW), screen, "'mean'", "another name")
    refuses(lambda a: ho.tl.score_predictions(a, {}, **FEW), screen, "predicted", "it is empty")
    twice = elsewhere.copy()
    twice.var_names = ["G", "G", *twice.var_names[2:]]
    refuses(lambda a: ho.tl.score_predictions(a, {"tool": twice}, **FEW), screen, "'tool'", "1 duplicated genes")
    with pytest.raises(TypeError, match="'tool' must be an AnnData"):
        ho.tl.score_predictions(screen, {"tool": elsewhere.X}, **FEW)


def test_what_was_not_predicted_is_counted(screen, elsewhere):
    fewer = elsewhere[:-5].copy()
    fewer.X[0] = np.nan
    table = ho.tl.score_predictions(screen, {"tool": fewer}, **FEW)
    row = table[(table["method"] == "tool") & (table["metric"] == "l2")].iloc[0]
    assert row["n"] == elsewhere.n_obs - 6
    for kind in (sparse.csr_matrix, sparse.csc_matrix):
        fewer.X = kind(fewer.X if isinstance(fewer.X, np.ndarray) else fewer.X.toarray())
        again = ho.tl.score_predictions(screen, {"tool": fewer}, **FEW)
        assert again.loc[row.name, "n"] == row["n"]
    assert f"predicts {elsewhere.n_obs - 6} of {elsewhere.n_obs}" in row["note"]
    board = ho.get.leaderboard(screen, "predictions")
    assert f"on {elsewhere.n_obs - 6} of {elsewhere.n_obs}" in board.loc["tool", "l2"]
    assert " on " not in board.loc["mean", "l2"]
    ax = ho.pl.leaderboard(screen, "predictions", metrics="l2")[0]
    plt.close(ax.figure)
    assert f"{elsewhere.n_obs - 6} of {elsewhere.n_obs}" in [text.get_text() for text in ax.texts]


def test_missing_genes_are_left_out_for_all(screen, elsewhere, caplog):
    with caplog.at_level("WARNING", logger="heldout"):
        table = ho.tl.score_predictions(screen, elsewhere[:, 10:].copy(), **FEW)
    assert "10 of 80 genes were not predicted" in caplog.text
    other = screen[:, 10:].copy()
    del other.uns["heldout"]["fits"]
    expected = ho.tl.score_predictions(other, elsewhere[:, 10:].copy(), **FEW)
    for metric in ("l2", "pearson_delta", "discrimination"):
        found = table[table["metric"] == metric].set_index("method")["estimate"]
        wanted = expected[expected["metric"] == metric].set_index("method")["estimate"]
        pd.testing.assert_series_equal(found, wanted)


def test_contexts_need_their_column():
    adata = contexts(n_singles=20)
    ho.tl.perturbation(adata, method="transfer")
    predicted = ho.tl.predict_profiles(adata, "perturbation")
    ours = judged(ho.tl.evaluate(adata, "perturbation", **FEW))
    found = judged(ho.tl.score_predictions(adata, predicted, **FEW))
    assert found["l2"] == pytest.approx(ours["l2"], abs=1e-4)
    predicted.obs["cell_line"] = predicted.obs["cell_line"].str.upper()
    with pytest.raises(ValueError, match="only in other contexts.*'line1'.*'LINE1'"):
        ho.tl.score_predictions(adata, predicted, **FEW)
    del predicted.obs["cell_line"]
    with pytest.raises(ValueError, match="cell_line"):
        ho.tl.score_predictions(adata, predicted, **FEW)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (
            lambda p: setattr(p, "obs", p.obs.rename(columns={"perturbation": "condition"})),
            ["no column", "perturbation"],
        ),
        (
            lambda p: p.obs.__setitem__("perturbation", [f"X{i}" for i in range(p.n_obs)]),
            ["predicts none", "separator"],
        ),
        (lambda p: setattr(p, "var_names", [f"other{i}" for i in range(p.n_vars)]), ["0 of the 80 genes", "mask_var"]),
        (lambda p: setattr(p, "X", np.round(np.expm1(p.X))), ["raw counts", "log1p"]),
        (
            lambda p: setattr(p, "X", p.layers["change"]),
            ["does not look like expression", "add the mean of the controls"],
        ),
        (lambda p: setattr(p, "X", np.full(p.shape, np.nan, dtype=np.float32)), ["NaN"]),
        (lambda p: p.X.__setitem__((0, 3), np.nan), ["NaN in some genes"]),
        (lambda p: p.X.__setitem__((0, 3), -np.inf), ["infinite values in 1 perturbations"]),
    ],
)
def test_refused(screen, elsewhere, refuses, spoil, words):
    spoil(elsewhere)
    refuses(lambda a: ho.tl.score_predictions(a, elsewhere, **FEW), screen, *words)


def test_three_targets(screen):
    rng = np.random.default_rng(0)
    effects = {name: rng.normal(size=6) for name in "ABC"}
    adata, profiles = exact(effects, {("A", "B"): 0.0, ("B", "C"): 0.0})
    adata.obs["guide"] = adata.obs["guide"].astype(str).replace({"B+C": "C+B+A"})
    ho.pp.split_perturbations(adata, "guide", hold_out="combination", val=0, test=1)
    predicted = ad.AnnData(
        np.stack([profiles["A+B"], profiles["B+C"]]).astype(np.float32),
        obs=pd.DataFrame({"guide": ["B+A", "A+B+C"]}, index=["x", "y"]),
        var=adata.var,
    )
    table = ho.tl.score_predictions(adata, predicted, baselines=["additive"], n_bootstrap=20)
    assert table.set_index(["method", "metric"]).loc[("predicted", "l2"), "n"] == 2


def as_table(profiles, *columns):
    """Predicted profiles as a table, with the perturbation and covariates in the index."""
    index = pd.MultiIndex.from_frame(profiles.obs[list(columns)].astype(str)) if len(columns) > 1 else None
    names = profiles.obs[columns[0]].astype(str).to_numpy()
    return pd.DataFrame(profiles.X, index=names if index is None else index, columns=profiles.var_names)


@pytest.mark.parametrize(
    "kind",
    ["table", "named index", "column", "csv", "csv.gz", "tsv", "column.csv", "spreadsheet.csv", "h5ad", "parquet"],
)
def test_tables_and_files_are_scored_as_the_same_anndata(screen, elsewhere, tmp_path, kind):
    expected = ho.tl.score_predictions(screen, {"tool": elsewhere}, **FEW)
    table = as_table(elsewhere, "perturbation")
    path = tmp_path / f"predicted.{kind.removeprefix('column.')}"
    if kind == "named index":
        table = table.rename_axis("perturbation")
    elif "column" in kind:
        table = table.rename_axis("perturbation").reset_index()
    if kind in ("csv", "csv.gz"):
        table.to_csv(path)
    elif kind == "tsv":
        table.to_csv(path, sep="\t")
    elif kind == "spreadsheet.csv":
        table.to_csv(path, sep=";", encoding="utf-16", lineterminator="\r\n")
    elif kind == "column.csv":
        table.to_csv(path, index=False)
    elif kind == "parquet":
        pytest.importorskip("pyarrow")
        table.to_parquet(path)
    elif kind == "h5ad":
        elsewhere.write_h5ad(path)
    predicted = str(path) if path.exists() else table
    found = ho.tl.score_predictions(screen, {"tool": predicted}, **FEW)
    pd.testing.assert_frame_equal(found.table, expected.table.assign(look=found["look"]), rtol=1e-5)


@pytest.mark.parametrize("as_levels", [True, False])
def test_contexts_of_a_table_are_levels_of_its_index_or_columns(as_levels, tmp_path):
    adata = contexts()
    ho.tl.perturbation(adata, method="mean")
    profiles = ho.tl.predict_profiles(adata)
    expected = judged(ho.tl.score_predictions(adata, profiles, **FEW))
    table = as_table(profiles, "perturbation", "cell_line")
    if not as_levels:
        table = table.reset_index("cell_line")
        table.to_csv(tmp_path / "table.csv")
        table = tmp_path / "table.csv"
    pd.testing.assert_series_equal(judged(ho.tl.score_predictions(adata, table, **FEW)), expected, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
def test_tables_that_cannot_be_read_are_refused(screen, elsewhere, tmp_path):
    table = as_table(elsewhere, "perturbation")
    with pytest.raises(ValueError, match=r"'predicted' has columns without numbers \(e.g. 'batch'\)"):
        ho.tl.score_predictions(screen, table.assign(batch="b1"), **FEW)
    with pytest.raises(ValueError, match="has 1 duplicated genes"):
        ho.tl.score_predictions(screen, pd.concat([table, table.iloc[:, :1]], axis=1), **FEW)
    again = table.iloc[:1].rename(lambda name: "+".join(reversed(name.split("+"))))
    with pytest.raises(ValueError, match=rf"is a table with several rows for '{table.index[0]}'".replace("+", r"\+")):
        ho.tl.score_predictions(screen, pd.concat([table, again]), **FEW)
    with pytest.raises(FileNotFoundError, match="which does not exist"):
        ho.tl.score_predictions(screen, tmp_path / "no.csv", **FEW)
    (tmp_path / "some.xlsx").write_text("")
    with pytest.raises(ValueError, match=r"must be an AnnData, a DataFrame, or the path of a .h5ad, .csv"):
        ho.tl.score_predictions(screen, {"tool": tmp_path / "some.xlsx"}, **FEW)
    with pytest.raises(TypeError, match="got ndarray"):
        ho.tl.score_predictions(screen, table.to_numpy(), **FEW)


def test_equal_profiles_of_all_perturbations_are_scored(screen, elsewhere):
    """All rows have the same sum, which looks like values that were not logged."""
    equal = elsewhere.copy()
    equal.X = np.tile(np.asarray(elsewhere.X).mean(axis=0), (elsewhere.n_obs, 1))
    assert np.isfinite(judged(ho.tl.score_predictions(screen, equal, **FEW))["l2"])

"""Pseudo-lineages in the AnnData: who takes part, what is stored, what is refused, and what they recover."""

from __future__ import annotations

import warnings
from dataclasses import replace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc

import heldout as ho
from heldout._core.fits import read_fit
from heldout.auditing import _case
from heldout.auditing._lineages import lineage_findings
from tests.helpers.paths import DATA, needs_data


def prepared(**options):
    adata = ho.datasets.branching_simulated(**{"n_cells": 60, "n_genes": 120, **options})
    ho.pp.split_time(adata, "time", test=96, val=72)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    ho.pp.pca(adata, n_comps=8)
    return adata


@pytest.fixture(scope="module")
def _adata():
    return prepared()


@pytest.fixture
def adata(_adata):
    return _adata.copy()


@pytest.fixture
def drawn(adata):
    ho.pp.lineages(adata, "time", n_chains=200)
    return adata


def findings(adata, **options):
    codes, partition, problem = _case_parts(adata)
    case = _case.build(adata, split_key="split", codes=codes, partition=partition, problem=problem, **options)
    return lineage_findings(case)


def _case_parts(adata):
    from heldout._core.partition import inspect_partition

    return inspect_partition(adata, "split")


# --- what is stored ------------------------------------------------------------------------------------------


def test_chains_pass_train_cells_of_the_training_times_in_order(drawn):
    table = ho.get.lineages(drawn)
    assert table.shape == (200, 4)
    assert table.columns.tolist() == [0, 12, 24, 36]
    assert table.columns.name == "time"
    for time in table:
        cells = drawn.obs.loc[table[time]]
        assert (cells["time"] == time).all()
        assert (cells["split"] == "train").all()
    fit = read_fit(drawn, "lineages")
    assert fit.arrays["chains"].dtype == np.int32
    assert fit.arrays["digests"].dtype == np.uint64
    assert fit.info["rep_fit"] == read_fit(drawn, "X_pca").hash
    assert [pair["n_problems"] for pair in fit.info["pairs"]] == [1, 1, 1]
    assert max(pair["target_error"] for pair in fit.info["pairs"]) < 1e-4


def test_only_the_fit_is_written(adata, unchanged):
    chain = adata.uns["heldout"]["chain"].copy()
    copied = ho.pp.lineages(adata, "time", n_chains=20, copy=True)
    assert "lineages" not in adata.uns["heldout"]["fits"]
    assert copied.uns["heldout"]["chain"].tolist() == chain.tolist()
    with unchanged(adata):
        ho.pp.lineages(adata, "time", n_chains=20, copy=True)
    assert set(copied.uns["heldout"]["fits"]) == {"X_pca", "lineages"}


def test_it_survives_files(drawn, through_file):
    again = through_file(drawn)
    pd.testing.assert_frame_equal(ho.get.lineages(drawn), ho.get.lineages(again), check_exact=True)
    assert read_fit(again, "lineages").hash == read_fit(drawn, "lineages").hash


def test_order_of_the_rows_does_not_matter(drawn):
    order = np.random.default_rng(0).permutation(drawn.n_obs)
    shuffled = drawn[order].copy()
    pd.testing.assert_frame_equal(ho.get.lineages(shuffled), ho.get.lineages(drawn))
    ho.pp.lineages(shuffled, "time", n_chains=200, key_added="again")
    pd.testing.assert_frame_equal(ho.get.lineages(shuffled, "again"), ho.get.lineages(drawn))


def test_a_seed_gives_the_same_chains(drawn):
    ho.pp.lineages(drawn, "time", n_chains=200, key_added="same")
    ho.pp.lineages(drawn, "time", n_chains=200, key_added="other", rng=1)
    assert ho.get.lineages(drawn, "same").equals(ho.get.lineages(drawn))
    assert not ho.get.lineages(drawn, "other").equals(ho.get.lineages(drawn))


def test_dropped_cells_are_counted(drawn):
    table = ho.get.lineages(drawn)
    held_out = drawn[drawn.obs["split"] == "train"].copy()
    assert ho.get.lineages(held_out).equals(table)
    gone = table[12.0].iloc[0]
    fewer = drawn[drawn.obs_names != gone].copy()
    n = int((table == gone).any(axis=1).sum())
    with pytest.raises(ValueError, match=rf"^{n} of the 200 chains .*'12': 1"):
        ho.get.lineages(fewer)


def test_held_out_cells_have_no_influence(adata, drawn):
    """Nonsense in every held-out cell, its time and its growth changes nothing."""
    adata = drawn
    adata.obs["rate"] = 0.01
    ho.pp.lineages(adata, "time", n_chains=50, growth_key="rate", key_added="before")
    held = adata.obs["split"].isin(["val", "test"]).to_numpy()
    adata.obsm["X_pca"][held] = 1e6
    adata.obs.loc[held, ["time", "rate"]] = np.nan
    ho.pp.lineages(adata, "time", n_chains=50, growth_key="rate", key_added="after")
    assert ho.get.lineages(adata, "after").equals(ho.get.lineages(adata, "before"))


def test_own_components_see_train_only(adata):
    ho.pp.lineages(adata, "time", n_chains=50, use_rep=None, key_added="before")
    held = adata.obs["split"].isin(["val", "test"]).to_numpy()
    adata.X[np.flatnonzero(held)] = adata.X[np.flatnonzero(held)] * 3
    ho.pp.lineages(adata, "time", n_chains=50, use_rep=None, key_added="after")
    assert ho.get.lineages(adata, "after").equals(ho.get.lineages(adata, "before"))
    assert len(read_fit(adata, "after").genes) == adata.n_vars


def test_batches(adata):
    ho.pp.lineages(adata, "time", n_chains=50, batch_size=25)
    assert all(pair["n_problems"] == 12 for pair in read_fit(adata, "lineages").info["pairs"])
    assert ho.get.lineages(adata).shape == (50, 4)


def test_categorical_and_integer_times(adata):
    ho.pp.lineages(adata, "time", n_chains=50)
    adata.obs["hour"] = pd.Categorical(adata.obs["time"].astype(int))
    ho.pp.lineages(adata, "hour", n_chains=50, key_added="hours")
    np.testing.assert_array_equal(ho.get.lineages(adata, "hours").to_numpy(), ho.get.lineages(adata).to_numpy())


# --- what they recover ---------------------------------------------------------------------------------------


def ancestor_error(adata, before, after):
    """Distance between cells and the true states of the ancestors of those that follow them, root mean square."""
    state, ancestor = (pd.DataFrame(adata.obsm[k], index=adata.obs_names) for k in ("state", "ancestor_state"))
    gap = state.loc[before].to_numpy() - ancestor.loc[after].to_numpy()
    return np.sqrt((gap**2).sum(axis=1).mean())


def recovered(adata, key):
    """Of the chains: mean ancestor error over pairs of times, and share that stays in its branch after the parting."""
    table = ho.get.lineages(adata, key)
    columns = list(table)
    errors = [ancestor_error(adata, table[a], table[b]) for a, b in zip(columns, columns[1:], strict=False)]
    branch = adata.obs["branch"].astype(str)
    stays = [
        (branch[table[a]].to_numpy() == branch[table[b]].to_numpy()).mean()
        for a, b in zip(columns, columns[1:], strict=False)
        if a > 18
    ]
    return np.mean(errors), np.mean(stays)


def shuffled_chains(adata, key):
    """The same chains with the cells of each time dealt anew: random pairing with the same marginals."""
    fit = read_fit(adata, key)
    rng = np.random.default_rng(0)
    chains = np.column_stack([rng.permutation(column) for column in fit.arrays["chains"].T])
    adata.uns["heldout"]["fits"]["random"] = replace(fit, arrays={**fit.arrays, "chains": chains}).stored()


@pytest.mark.parametrize("seed", [0, 1])
def test_chains_recover_the_lineages(seed):
    """Far better than random pairing, nearly as well as from the true states, whose noise no coupling can undo."""
    adata = ho.datasets.branching_simulated(rng=seed)
    ho.pp.split_time(adata, "time", test=96)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    ho.pp.pca(adata, n_comps=10)
    ho.pp.lineages(adata, "time", n_chains=2000)
    shuffled_chains(adata, "lineages")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        ho.pp.lineages(adata, "time", n_chains=2000, use_rep="state", key_added="best")
    (error, stays), (at_random, by_chance), (best, most) = (recovered(adata, k) for k in ("lineages", "random", "best"))
    assert by_chance == pytest.approx(0.5, abs=0.05)
    assert stays > 0.84
    assert stays > most - 0.06
    assert error < 0.75 * at_random
    assert (at_random - error) / (at_random - best) > 0.75


def test_growth_gives_its_branch_more_chains():
    """Branch B doubles six times by the end; knowing its growth, chains that end there start where they should."""
    adata = ho.datasets.branching_simulated(n_cells=300, n_genes=200, growth=0.05, times=(0, 12, 24, 36, 48))
    ho.pp.split_time(adata, "time", test=48)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        ho.pp.lineages(adata, "time", n_chains=3000, use_rep="state", key_added="even")
        ho.pp.lineages(adata, "time", n_chains=3000, use_rep="state", growth_key="growth", key_added="known")
    even, known = (recovered(adata, key)[1] for key in ("even", "known"))
    assert known > even + 0.02


@needs_data
def test_chu_2016():
    """On real data a cell that is ahead of the others of its time is followed by cells that are ahead of theirs.

    Not so from 0 to 12 hours: before differentiation the published pseudotime orders cells by something else.
    """
    adata = ad.read_h5ad(DATA / "chu2016" / "chu2016_100tf.h5ad")
    ho.pp.split_time(adata, "time_h", test=96)
    ho.pp.pca(adata, n_comps=10)
    ho.pp.lineages(adata, "time_h", n_chains=1000)
    shuffled_chains(adata, "lineages")

    def pseudotime(key):
        return ho.get.lineages(adata, key).apply(lambda names: adata.obs["pseudotime"].loc[names].to_numpy())

    def kept(key):
        """Rank correlation of pseudotime between adjacent cells of a chain, mean over pairs of times from 12 hours."""
        rank = pseudotime(key).rank().drop(columns=0.0)
        return np.mean([rank[a].corr(rank[b]) for a, b in zip(rank, list(rank)[1:], strict=False)])

    assert ho.get.lineages(adata).columns.tolist() == [0, 12, 24, 36, 72]
    assert (np.diff(pseudotime("lineages").median()) > 0).all()
    assert kept("lineages") > 0.15
    assert abs(kept("random")) < 0.08


# --- what is refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"n_chains": 0}, ["n_chains=0", "integer >= 1"]),
        ({"n_chains": 2.5}, ["n_chains=2.5"]),
        ({"use_rep": "X_pcaa"}, ["use_rep='X_pcaa'", "'X_pca'", "heldout.pp.pca"]),
        ({"split_key": "splt"}, ["split_key='splt'", "split"]),
        ({"growth_key": "grwth"}, ["growth_key='grwth'", "growth"]),
        ({"growth_key": "fate"}, ["growth_key", "not numeric"]),
        ({"epsilon": -1}, ["epsilon=-1"]),
        ({"unbalanced": 0}, ["unbalanced=0"]),
        ({"batch_size": 1}, ["batch_size=1"]),
        ({"key_added": "a/b"}, ["key_added='a/b'"]),
        ({"key_added": "X_pca"}, ["'X_pca'", "'pp.pca'"]),
    ],
)
def test_refused_arguments(adata, refuses, arguments, words):
    refuses(lambda a: ho.pp.lineages(a, "time", **arguments), adata, *words)


def test_refused_times(adata, refuses):
    refuses(lambda a: ho.pp.lineages(a, "tme"), adata, "time_key='tme'", "'time'")
    adata.obs["text"] = adata.obs["time"].map("{:g}h".format)
    refuses(lambda a: ho.pp.lineages(a, "text"), adata, "not numeric", "pp.numeric_time")
    adata.obs["gap"] = adata.obs["time"].replace(12, np.nan)
    refuses(lambda a: ho.pp.lineages(a, "gap"), adata, "missing or infinite for 60 of 240 train cells")
    adata.obs["one"] = 3.0
    refuses(lambda a: ho.pp.lineages(a, "one"), adata, "two or more times", "only at one=3", "split_time")
    adata.obs["rare"] = adata.obs["time"].to_numpy(copy=True)
    adata.obs.iloc[:9, adata.obs.columns.get_loc("rare")] = -5
    refuses(lambda a: ho.pp.lineages(a, "rare"), adata, "10 train cells", "{'-5': 9}")
    adata.obs["fast"] = np.where(adata.obs["fate"] == "A", 10.0, 0.0)
    refuses(lambda a: ho.pp.lineages(a, "time", growth_key="fast"), adata, "growth_key='fast'", "per unit of time")


def test_refused_without_a_split(refuses):
    adata = ho.datasets.branching_simulated(n_cells=20, n_genes=100)
    refuses(lambda a: ho.pp.lineages(a, "time", use_rep="state"), adata, "split_key='split'")


def test_refused_representation(adata, refuses):
    """Of another split, or replaced by scanpy's, which looks at all cells."""
    other = ho.pp.split_time(adata, "time", test=[72, 96], copy=True)
    refuses(lambda a: ho.pp.lineages(a, "time"), other, "X_pca", "another split")
    sc.pp.pca(adata, n_comps=8)
    refuses(lambda a: ho.pp.lineages(a, "time"), adata, "obsm['X_pca'] no longer matches its fit", "Rerun")


def test_refused_counts(refuses):
    adata = ho.datasets.branching_simulated(n_cells=20, n_genes=100)
    ho.pp.split_time(adata, "time", test=96)
    refuses(lambda a: ho.pp.lineages(a, "time", use_rep=None), adata, "raw counts", "log1p")


def test_the_getter_names_the_fits(drawn):
    with pytest.raises(ValueError, match=r"'pp.pca', not 'pp.lineages'. Lineages are 'lineages'"):
        ho.get.lineages(drawn, "X_pca")
    with pytest.raises(ValueError, match="no fit 'lines'"):
        ho.get.lineages(drawn, "lines")


def test_an_unrecorded_representation_is_warned_of(adata):
    with pytest.warns(UserWarning, match=r"obsm\['state'\] has no record"):
        ho.pp.lineages(adata, "time", n_chains=20, use_rep="state")
    assert read_fit(adata, "lineages").info["rep_fit"] is None


# --- the audit -----------------------------------------------------------------------------------------------


def test_the_audit_passes_honest_lineages(drawn):
    (finding,) = findings(drawn)
    assert finding.status == "pass"
    assert finding.subject == "lineages"
    assert "All 240 coupled cells are train cells of this split, at 4 training times" in finding.finding


def test_the_audit_says_nothing_without_lineages(adata):
    assert findings(adata) == []


def test_the_audit_finds_a_planted_cell(drawn):
    """One held-out cell in the table of cells that were coupled, and two chains through it."""
    from heldout._core.partition import digests

    fit = read_fit(drawn, "lineages")
    leaked = drawn.obs_names[drawn.obs["split"] == "test"][0]
    arrays = {name: array.copy() for name, array in fit.arrays.items()}
    arrays["digests"][-1] = digests([leaked])[0]
    arrays["chains"][:, -1] = np.where(arrays["chains"][:, -1] == 239, 238, arrays["chains"][:, -1])
    arrays["chains"][:2, -1] = 239
    drawn.uns["heldout"]["fits"]["lineages"] = replace(fit, arrays=arrays).stored()
    (finding,) = findings(drawn)
    assert (finding.status, finding.value) == ("fail", 1.0)
    assert "1 test cells were coupled. 2 of 200 chains pass through them" in finding.finding


def test_the_audit_finds_lineages_of_another_split(adata):
    """Lineages up to 72 hours, and then 72 hours are held out under the same name."""
    ho.pp.split_time(adata, "time", test=96)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        ho.pp.lineages(adata, "time", n_chains=30, use_rep="state")
    ho.pp.split_time(adata, "time", test=96, val=72)
    (finding,) = findings(adata)
    assert (finding.status, finding.value) == ("fail", 60.0)
    assert "60 val cells were coupled. 30 of 30 chains pass through them" in finding.finding


def test_the_audit_finds_a_held_out_time(drawn):
    """Train cells under a false label: the chain says it passes 96 hours."""
    fit = read_fit(drawn, "lineages")
    drawn.uns["heldout"]["fits"]["lineages"] = replace(
        fit, arrays={**fit.arrays, "times": np.array([0.0, 12, 24, 96])}
    ).stored()
    (finding,) = findings(drawn)
    assert finding.status == "fail"
    assert "Chains pass through time 96, which is held out" in finding.finding


def test_the_audit_warns_of_what_nothing_proves(adata):
    with pytest.warns(UserWarning, match="no record"):
        ho.pp.lineages(adata, "time", n_chains=20, use_rep="state")
    assert findings(adata)[0].status == "warn"
    assert "obsm['state']" in findings(adata)[0].finding
    unused = adata.obs["split"].astype(str).to_numpy()
    unused[np.flatnonzero(unused == "train")[:5]] = "unused"
    adata.obs["mine"] = unused
    ho.pp.split_assigned(adata, "mine", train=["train"], val=["val"], test=["test"])
    (finding,) = findings(adata)
    assert finding.status == "warn"
    assert "5 of the 240 coupled cells" in finding.finding


def test_the_audit_looks_at_dropped_cells_too(adata):
    """The leak is in the record even where the cells are no longer at hand."""
    ho.pp.split_time(adata, "time", test=96)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        ho.pp.lineages(adata, "time", n_chains=30, use_rep="state")
    ho.pp.split_time(adata, "time", test=96, val=72)
    fewer = adata[adata.obs["time"] != 72].copy()
    assert findings(fewer)[0].status == "fail"

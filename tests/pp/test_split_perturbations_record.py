"""The record of a split of a perturbation screen, its readers, and two real screens (2019 and 2023)."""

import anndata as ad
import numpy as np
import pytest

import heldout as ho
from heldout._core.partition import read_partition
from heldout.get import perturbations
from heldout.pp import split_perturbations
from tests.helpers.paths import DATA
from tests.helpers.screens import screen
from tests.helpers.splits import assigned

NORMAN_FILE = DATA / "norman2019" / "norman19_mcfaline23_devel.h5ad"


# --- what is recorded -----------------------------------------------------------------------------------------------


def test_the_record_outlives_dropped_cells(through_file):
    adata = screen(contexts=("k562", "rpe1"))
    split_perturbations(adata, "guide", hold_out="context", covariate_keys="line")
    table = perturbations(adata)
    stored = through_file(adata)
    assert perturbations(stored).equals(table)
    less = stored[stored.obs["split"] != "train"].copy()
    found = perturbations(less)
    merged = found.merge(table, on=["perturbation", "line", "partition"], suffixes=("", "_made"))
    assert len(merged) == len(found)
    assert (merged["n_seen"] == merged["n_seen_made"]).all()
    assert (merged["n_cells"] == np.where(merged["partition"] == "train", 0, merged["n_cells_made"])).all()


def test_the_other_functions_take_the_split():
    adata = screen(library=lambda o: (["L1", "L2", "L3", "L4", "L5"] * len(o))[: len(o)])
    split_perturbations(adata, "guide", group_key="library")
    assert read_partition(adata).group_key is None
    counted = ho.get.split(adata)
    assert set(counted.columns) == {"guide", "partition", "n_cells"}
    assert counted["n_cells"].sum() == adata.n_obs
    assert ho.pl.split(adata).get_ylabel() == ho.pl.split(adata, group_key="guide").get_ylabel() == "cells per guide"
    theirs = screen(library=lambda o: "L1")
    ho.pp.split_from(theirs, ho.get.split_table(adata))
    assert assigned(theirs) == assigned(adata)
    assert perturbations(theirs).equals(perturbations(adata))
    ho.pp.folds(adata, "library", n_folds=2, val=0)
    assert ho.get.fold_keys(adata) == ["fold_0", "fold_1"]


def test_cells_that_were_put_into_unused_later(caplog):
    adata, more = screen(), screen(["control", "A", "A+B", "new"])
    more.obs_names = "more_" + more.obs_names
    split_perturbations(adata, "guide")
    theirs = ad.concat([adata, more])
    ho.pp.split_from(theirs, ho.get.split_table(adata), missing="unused")
    table = perturbations(theirs)
    assert "4 unused cells are not counted" in caplog.text
    assert table["n_cells"].sum() == (theirs.obs["guide"] != "new").sum()
    unused = table[table["partition"] == "unused"].set_index("perturbation")["n_cells"]
    assert unused.to_dict() == {"A": 4, "A+B": 4, "control": 8}
    assert table[table["partition"] != "unused"].reset_index(drop=True).equals(perturbations(adata))


# --- Norman 2019 ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def norman_file():
    if not NORMAN_FILE.is_file():
        pytest.skip(f"real data not found: {NORMAN_FILE}; set HELDOUT_DATA_DIR")
    return ad.read_h5ad(NORMAN_FILE)


@pytest.fixture
def norman(norman_file):
    return norman_file[norman_file.obs["dataset"] == "norman19"].copy()


def test_norman_all_doubles(norman):
    split_perturbations(norman, "condition", hold_out="combination", val=0, test=1)
    table = perturbations(norman)
    doubles = table[(table["partition"] == "test") & ~table["control"]]
    assert len(doubles) == 15
    assert (doubles["n_seen"] == 2).sum() == 5
    singles = set(norman.obs["condition"].astype(str)) & {t for targets in doubles["targets"] for t in targets}
    assert doubles["n_seen_alone"].tolist() == [len(singles & set(targets)) for targets in doubles["targets"]]
    assert "KLF1+SET" in set(doubles["perturbation"])
    assert table.loc[table["control"], ["partition", "n_cells"]].values.tolist() == [["train", 75], ["test", 25]]


@pytest.mark.parametrize("n_seen", [0, 1, 2])
def test_norman_by_seen_members(norman, n_seen):
    split_perturbations(norman, "condition", hold_out="combination", n_seen=n_seen, val=0.2, test=0.2, rng=3)
    table = perturbations(norman)
    held = table[table["partition"].isin(["val", "test"]) & ~table["control"]]
    assert held["n_seen"].tolist() == [n_seen] * 6


def test_norman_singles(norman):
    split_perturbations(norman, "condition")
    table = perturbations(norman)
    singles = table[(table["n_targets"] == 1)]
    assert singles["partition"].value_counts().to_dict() == {"train": 11, "val": 3, "test": 4, "unused": 0}
    assert (
        table.loc[table["partition"] == "test", "n_seen"] < table.loc[table["partition"] == "test", "n_targets"].clip(1)
    ).all()


def test_mcfaline_contexts(norman_file):
    adata = norman_file[norman_file.obs["dataset"] == "mcfaline23"].copy()
    caps = {"max_contexts": 1, "max_fraction": 0.3}
    split_perturbations(adata, "condition", hold_out="context", covariate_keys="cell_type", val=0.1, test=0.1, **caps)
    table = perturbations(adata)
    held = table[~table["control"] & (table["partition"] != "train")]
    assert held.groupby("cell_type").size().to_dict() == {"A172": 2, "T98G": 2, "U87MG": 2}
    assert held["perturbation"].is_unique
    assert table.loc[table["control"]].groupby("cell_type")["n_cells"].apply(sorted).tolist() == [[25, 25, 50]] * 3

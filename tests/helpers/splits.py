"""Small AnnDatas with groups, and what a split made of them. Imported by the tests of splits."""

import anndata as ad
import numpy as np
import pandas as pd

import heldout as ho
from heldout._core.partition import read_partition


def gsm(*last_two):
    return [f"GSM83250{number}" for number in last_two]


def assigned(adata, key="split"):
    """Partition of each cell by name."""
    return dict(zip(adata.obs_names, adata.obs[key].astype(str), strict=True))


def groups_in(adata, partition, group_key="library"):
    return sorted(adata.obs.loc[adata.obs["split"] == partition, group_key].astype(str).unique())


def cells(groups, labels=None, repeats=3, **columns):
    """AnnData with ``repeats`` cells a group; ``columns`` are given a group."""
    columns = {"group": groups, **({} if labels is None else {"label": labels}), **columns}
    obs = pd.DataFrame({name: np.repeat(np.asarray(values), repeats) for name, values in columns.items()})
    obs.index = [f"cell{i}" for i in range(len(obs))]
    return ad.AnnData(np.ones((len(obs), 2), dtype=np.float32), obs=obs)


def published(adata):
    """The simulation with the published day-matched split."""
    ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=19, val=0)
    return adata


def shuffled(adata):
    """The same cells at somebody else's, in another order."""
    return adata[np.random.default_rng(0).permutation(adata.n_obs)].copy()


def assert_same_split(first, second, key="split"):
    one, two = read_partition(first, key), read_partition(second, key)
    assert (one.hash, one.test_hash, one.scheme, one.params) == (two.hash, two.test_hash, two.scheme, two.params)
    assert first.obs[key].astype(str).to_dict() == second.obs[key].astype(str).to_dict()

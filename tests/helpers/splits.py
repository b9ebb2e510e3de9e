"""Small AnnDatas with groups, and what a split made of them. Imported by the tests of splits."""

import anndata as ad
import numpy as np
import pandas as pd


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

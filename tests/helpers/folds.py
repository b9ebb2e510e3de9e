"""Groups of cells for the tests of folds and splitters. Imported by them."""

import anndata as ad
import numpy as np
import pandas as pd
from hypothesis import strategies as st

from tests.helpers.properties import properties

HYPOTHESIS = properties(60)


def cells(labels, sizes=None, **columns):
    """AnnData of groups g0, g1, … with a label and a number of cells each; ``columns`` are given a group."""
    columns = {"group": [f"g{i}" for i in range(len(labels))], "label": labels, **columns}
    sizes = [2] * len(labels) if sizes is None else sizes
    obs = pd.DataFrame({name: np.repeat(np.asarray(values), sizes) for name, values in columns.items()})
    obs.index = [f"cell{i}" for i in range(len(obs))]
    return ad.AnnData(np.ones((len(obs), 2), dtype=np.float32), obs=obs)


def rows(counts):
    """Labels and groups of the rows from a table of rows (group × class)."""
    y = np.concatenate([np.repeat(np.arange(len(row)), row) for row in counts])
    return y, np.repeat(np.arange(len(counts)), np.sum(counts, axis=1))


def in_partition(adata, key, partition, column="group"):
    return set(adata.obs.loc[adata.obs[key] == partition, column])


def spread(values):
    return max(values) - min(values)


@st.composite
def labelled(draw, least=2):
    """A class and a number of cells for each group; two to four classes with at least ``least`` groups each."""
    counts = draw(st.lists(st.integers(least, 8), min_size=2, max_size=4))
    labels = draw(st.permutations([f"c{i}" for i, n in enumerate(counts) for _ in range(n)]))
    return labels, draw(st.lists(st.integers(1, 9), min_size=len(labels), max_size=len(labels)))

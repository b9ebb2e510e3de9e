"""Small perturbation screens. Imported by the tests of their splits."""

import anndata as ad
import numpy as np
import pandas as pd
from hypothesis import strategies as st

from tests.helpers.properties import properties

HYPOTHESIS = properties(60)
NORMAN = ["control", "A", "B", "C", "D", "E", "F", "A+B", "B+C", "C+D", "D+E", "E+F", "X+Y"]


def screen(names=NORMAN, repeats=4, contexts=("k562",), n_controls=8, **columns):
    """AnnData in no order with ``repeats`` cells of each name in each context, ``n_controls`` of ``"control"``."""
    rows = [
        (name, context)
        for context in contexts
        for name in names
        for _ in range(n_controls if name == "control" else repeats)
    ]
    return frame(rows, **columns)


def frame(rows, **columns):
    """AnnData of (name, context) a cell, in no order; ``columns`` are functions of the frame."""
    obs = pd.DataFrame(rows, columns=["guide", "line"], index=[f"cell{i}" for i in range(len(rows))])
    for name, make in columns.items():
        obs[name] = make(obs)
    adata = ad.AnnData(np.ones((len(obs), 2), dtype=np.float32), obs=obs)
    return adata[np.random.default_rng(0).permutation(adata.n_obs)].copy()


def targets_of(name, control="control", separator="+"):
    """Brute force: the set that a name perturbs."""
    return frozenset(name.split(separator)) - {control}


def in_partition(adata, partition, key="split"):
    """Sets of targets with cells in a partition, controls left out."""
    return {targets_of(name) for name in adata.obs.loc[adata.obs[key] == partition, "guide"]} - {frozenset()}


@st.composite
def screens(draw, fewest_contexts=1):
    """A screen with enough singles and combinations to split, in some of the contexts each."""
    genes = [f"G{i}" for i in range(draw(st.integers(3, 7)))]
    combinations = draw(
        st.sets(st.sets(st.sampled_from(genes), min_size=2, max_size=3).map(frozenset), min_size=3, max_size=8)
    )
    contexts = [f"line{i}" for i in range(draw(st.integers(fewest_contexts, 3)))]
    rows = [("control", context) for context in contexts for _ in range(draw(st.integers(3, 9)))]
    for targets in [*({gene} for gene in genes), *sorted(combinations, key=sorted)]:
        inside = draw(st.sets(st.sampled_from(contexts), min_size=1))
        for context in sorted(inside):
            rows += [
                ("+".join(draw(st.permutations(sorted(targets)))), context) for _ in range(draw(st.integers(1, 2)))
            ]
    return frame(rows)

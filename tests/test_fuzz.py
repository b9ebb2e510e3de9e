"""Files and records that were damaged at random: each ends in a clear error, and nothing ends the process.

The examples are the same on every machine. A third of them runs by default, all with the profile ``full``.
"""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scanpy as sc
from hypothesis import given, settings
from hypothesis import strategies as st

import heldout as ho
from tests.helpers.fuzz import outcome
from tests.helpers.properties import properties

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("kind", ["pickles", "matrices", "stores"])
def test_damaged_files(kind):
    command = [sys.executable, "-W", "ignore", "-m", "tests.helpers.fuzz", kind, str(settings.default.max_examples)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-6000:]}"


SECTIONS = ("fits", "splits", "assignments", "ledger", "chain", "evaluations")
DELETED = object()
REPLACEMENTS = [
    DELETED,
    None,
    3,
    "",
    "text",
    "[" * 50_000,
    "null",
    "{}",
    {},
    np.array([1.5]),
    np.array(["a"]),
    ["a", 1],
]


@pytest.fixture(scope="module")
def stored():
    adata = ho.datasets.lmna_simulated(n_cells=10, n_genes=100)
    ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=19, val=0)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    ho.pp.scale(adata)
    ho.tl.genotype(adata, method="logistic")
    ho.tl.evaluate(adata, baselines=[], n_bootstrap=2)
    return adata


def places(tree, depth=3):
    """All paths into nested dicts."""
    for name, value in tree.items():
        yield (name,)
        if isinstance(value, dict) and depth > 1:
            yield from ((name, *path) for path in places(value, depth - 1))


CALLS = {
    "audit": lambda a: ho.tl.audit(a, items=["provenance", "test_looks"]),
    "predict": lambda a: ho.tl.predict(a, "genotype"),
    "again": lambda a: ho.tl.genotype(a, method="majority", key_added="other"),
    "fits": ho.get.fits,
    "ledger": ho.get.ledger,
    "split": ho.get.split,
    "history": lambda a: ho.get.history(a, "genotype"),
    "evaluation": ho.get.evaluation,
}


@properties(120)
@given(data=st.data())
def test_altered_records(stored, data):
    """Each call works, or ends in a ValueError with a message."""
    adata = stored.copy()
    tree = adata.uns["heldout"] = copy.deepcopy(stored.uns["heldout"])
    section = data.draw(st.sampled_from(SECTIONS))
    nested = {section: tree[section]} if isinstance(tree[section], dict) else {section: None}
    *before, name = data.draw(st.sampled_from(sorted(places(nested, 3), key=str)))
    parent = tree
    for step in before:
        parent = parent[step]
    value = data.draw(st.sampled_from(REPLACEMENTS))
    if value is DELETED:
        del parent[name]
    else:
        parent[name] = copy.deepcopy(value)
    outcome(lambda: CALLS[data.draw(st.sampled_from(sorted(CALLS)))](adata), " ")

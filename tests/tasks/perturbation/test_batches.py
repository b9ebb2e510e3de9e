"""Batches of perturbed cells with controls of the same context."""

from dataclasses import replace

import dask.array as da
import numpy as np
import pytest
import torch
from scipy import sparse

from heldout.tasks.perturbation.networks._batches import PairedBlocks
from heldout.tasks.perturbation.networks._condition import Conditions
from tests.helpers.perturbations import contexts, task_of

KINDS = {
    "csr": sparse.csr_matrix,
    "csc": sparse.csc_matrix,
    "dense": lambda X: X.toarray(),
    "dask": lambda X: da.from_array(X.toarray(), chunks=(150, -1)),
}


@pytest.fixture(scope="module")
def screen():
    return contexts()


def cells_of(adata):
    return data_of(adata).cells()


def data_of(adata):
    task = task_of(adata)
    return task.data(task.observed("train"))


def epoch(blocks):
    batches = [batch for block in blocks for batch in block]
    return {name: torch.cat([batch[name] for batch in batches]).numpy() for name in batches[0]}


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_has_cells_controls_targets_and_contexts(screen, kind):
    adata = screen.copy()
    adata.X = KINDS[kind](adata.X)
    data, dense = data_of(adata), screen.X.toarray()
    cells, conditions = data.cells(), Conditions.of(data)
    perturbed = cells.train[cells.perturbation[cells.train] >= 0]
    found = epoch(PairedBlocks(cells, perturbed, conditions, 32))
    np.testing.assert_array_equal(found["X"], dense[perturbed])  # in order without a seed
    np.testing.assert_array_equal(found["context"], cells.context[perturbed])
    np.testing.assert_array_equal(found["row"], perturbed)
    targets = np.array([*conditions.targets, ""])
    names = ["+".join(filter(None, targets[row])) for row in found["targets"]]
    assert names == screen.obs["perturbation"].iloc[perturbed].tolist()
    pools = {context: {row.tobytes() for row in dense[cells.controls(context)]} for context in (0, 1)}
    assert all(
        row.tobytes() in pools[context] for row, context in zip(found["controls"], found["context"], strict=True)
    )
    assert found["X"].dtype == found["controls"].dtype == np.float32


@pytest.mark.parametrize("kind", ["csr", "dask"])
def test_the_seed_fixes_order_and_controls(screen, kind):
    adata = screen.copy()
    adata.X = KINDS[kind](adata.X)
    cells, conditions = cells_of(adata), Conditions.of(data_of(adata))
    make = lambda seed: PairedBlocks(cells, cells.train, conditions, 64, seed=seed)  # noqa: E731
    first, again, other = epoch(make(1)), epoch(make(1)), epoch(make(2))
    for name, values in first.items():
        np.testing.assert_array_equal(values, again[name])
    assert not np.array_equal(first["X"], other["X"])
    blocks = make(1)
    one, two = epoch(blocks), epoch(blocks)
    assert not np.array_equal(one["controls"], two["controls"])  # another draw in each epoch
    assert sorted(row.tobytes() for row in one["X"]) == sorted(row.tobytes() for row in two["X"])
    assert len(blocks) == len(list(blocks))
    fixed = PairedBlocks(cells, cells.train, conditions, 64)
    np.testing.assert_array_equal(epoch(fixed)["controls"], epoch(fixed)["controls"])


def test_controls_and_unknown_targets_have_no_target(screen):
    cells, conditions = cells_of(screen), Conditions.of(data_of(screen))
    n = len(conditions.targets)
    found = epoch(PairedBlocks(cells, cells.controls(1), conditions, 16))
    assert (found["targets"] == n).all()
    assert (found["context"] == 1).all()
    few = replace(conditions, targets=conditions.targets[:2])
    some = epoch(PairedBlocks(cells, cells.train, few, 64, controls=False))
    assert "controls" not in some
    assert (some["targets"] < 2).sum() == sum(
        name in few.targets for n in screen.obs["perturbation"].iloc[cells.train] for name in n.split("+")
    )


def test_a_context_without_controls_is_refused(screen):
    cells, conditions = cells_of(screen), Conditions.of(data_of(screen))
    rows = cells.train[cells.perturbation[cells.train] >= 0]
    cells.perturbation[(cells.perturbation == -1) & (cells.context == 1)] = -2
    with pytest.raises(ValueError, match="Context 1 has no train controls"):
        PairedBlocks(cells, rows, conditions, 16)

"""What several test files need."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Many tests compare bits, which a GPU does not repeat. With HELDOUT_TEST_GPU=1 the networks of the tests use it.
if not os.environ.get("HELDOUT_TEST_GPU"):
    os.environ["CUDA_VISIBLE_DEVICES"] = ""

import dask.array as da
import numpy as np
import pytest
import scanpy as sc
from hypothesis import settings
from scipy import sparse

import heldout as ho
from tests.helpers.durations import slow_tests
from tests.helpers.preparations import later
from tests.helpers.same import assert_same, content_of
from tests.helpers.stored import FORMATS, through

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from anndata import AnnData

settings.register_profile("full", max_examples=100, deadline=None)
settings.register_profile("third", max_examples=33, deadline=None)
settings.load_profile("third")  # the option --hypothesis-profile is read after this

ARRAY_TYPES: dict[str, Callable[[np.ndarray], Any]] = {
    "dense": np.array,
    "csr_matrix": sparse.csr_matrix,
    "csr_array": sparse.csr_array,
    "csc_matrix": sparse.csc_matrix,
    "csc_array": sparse.csc_array,
}
"""Every kind of matrix in memory that functions on arrays take."""


def _dask(block: Callable[[np.ndarray], Any]) -> Callable[[np.ndarray], Any]:
    """Turn a dense array into a dask array with blocks of rows of this kind; the last block is smaller."""

    def convert(X: np.ndarray) -> da.Array:
        array = da.from_array(X, chunks=(-(-len(X) * 2 // 5), -1))
        return array.map_blocks(block, dtype=X.dtype, meta=block(X[:0]))

    return convert


ANY_ARRAY_TYPES = {
    **ARRAY_TYPES,
    "dask_dense": _dask(np.asarray),
    **{f"dask_{name}": _dask(ARRAY_TYPES[name]) for name in ("csr_matrix", "csr_array", "csc_matrix")},
}
"""Every kind of matrix that functions on an AnnData take as ``X``."""


SLOW = Path(__file__).with_name("slow.txt")
"""Tests that take long, measured by ``make durations``: functions, or single cases of a function."""


def pytest_addoption(parser):
    parser.addoption("--write-slow", type=float, metavar="SECONDS", help=f"write tests that take longer to {SLOW.name}")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark the slow tests, which ``make test-fast`` leaves out, and start with the longest ones.

    A tutorial takes a minute or more. At the end of the run it would leave the other process idle.
    """
    items.sort(key=lambda item: item.path.name != "test_tutorials.py")
    slow = set(SLOW.read_text().splitlines())
    for item in items:
        if item.nodeid in slow or item.nodeid.split("[")[0] in slow:
            item.add_marker(pytest.mark.slow)


def pytest_terminal_summary(terminalreporter, config):
    """Renew the list of slow tests after a run of all tests."""
    limit = config.getoption("--write-slow")
    if limit is not None:
        seconds: dict[str, float] = {}
        reports = [report for found in terminalreporter.stats.values() for report in found]
        for report in reports:
            if isinstance(report, pytest.TestReport):
                seconds[report.nodeid] = seconds.get(report.nodeid, 0) + report.duration
        SLOW.write_text("".join(f"{name}\n" for name in slow_tests(seconds, limit)))


@pytest.fixture(scope="session")
def _lmna():
    return ho.datasets.lmna_simulated(n_cells=30, n_genes=150)


@pytest.fixture
def lmna(_lmna):
    """A small simulated time course, 360 cells × 150 genes of raw counts; a fresh copy for each test."""
    return _lmna.copy()


@pytest.fixture(params=ARRAY_TYPES.values(), ids=ARRAY_TYPES.keys())
def array_type(request):
    """Turn a dense array into each kind of matrix in memory."""
    return request.param


@pytest.fixture(params=ANY_ARRAY_TYPES.values(), ids=ANY_ARRAY_TYPES.keys())
def any_array_type(request):
    """Turn a dense array into each kind of matrix, in memory and as a dask array."""
    return request.param


@pytest.fixture
def unchanged():
    """Context manager: whatever happens inside must leave this AnnData as it was."""

    @contextmanager
    def check(adata: AnnData) -> Iterator[None]:
        before = content_of(adata)
        yield
        assert_same(before, content_of(adata), "adata")

    return check


@pytest.fixture
def refuses(unchanged):
    """Function ``(call, adata, *words)``: the call fails with all these words and leaves the AnnData as it was."""

    def check(call: Callable[[AnnData], Any], adata: AnnData, *words: str) -> None:
        with unchanged(adata), pytest.raises(ValueError, match=".") as caught:
            call(adata)
        for word in words:
            assert word in str(caught.value)

    return check


@pytest.fixture(params=FORMATS)
def through_file(request, tmp_path):
    """Write and read again."""
    return lambda adata: through(adata, request.param, tmp_path)


@pytest.fixture
def split(lmna):
    """The simulation with the published day-matched split."""
    ho.pp.split_matched(lmna, "library", "day", label_key="genotype", test=19, val=0)
    return lmna


@pytest.fixture
def whole(lmna):
    """All cells, raw. Two libraries stand in no list, so no fit sees them: they play the cells that come later."""
    train = [f"GSM83250{n}" for n in (47, 48, 49, 50, 51, 55, 56)]
    ho.pp.split_assigned(lmna, "library", train=train, val=["GSM8325046", "GSM8325054"], test=["GSM8325052"])
    lmna.layers["counts"] = lmna.X.copy()
    return lmna


@pytest.fixture
def new(whole):
    """The later cells as they come: raw counts, no split."""
    new = whole[later(whole)].copy()
    del new.obs["split"], new.uns["heldout"]
    return new


@pytest.fixture(scope="module")
def fitted():
    """LMNA layout with day 19 held out: a logistic fit that was evaluated, an MLP that was not."""
    adata = ho.datasets.lmna_simulated(n_cells=30, n_genes=150)
    ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=19, val=0)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    ho.tl.genotype(adata, "genotype", method="logistic")
    ho.tl.evaluate(adata, "genotype", baselines=["majority", "qc_logistic"], n_bootstrap=20)
    config = ho.model.MLPConfig(max_epochs=3, n_hidden=16)
    ho.tl.genotype(adata, "genotype", auxiliary_key="day", config=config, key_added="mlp")
    return adata

"""The parser of Matrix Market files against scipy's, on any matrix, order of entries, line end and window."""

from __future__ import annotations

import io

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import mmread

from heldout.reading import _tenx
from heldout.reading._library import Genes, LibrarySource, as_counts
from tests.helpers.properties import properties


@properties(150)
@given(
    n_cells=st.integers(1, 9),
    n_genes=st.integers(1, 9),
    window=st.integers(1, 60),
    end=st.sampled_from(["\n", "\r\n", " \n", "\n\n"]),
    last=st.booleans(),
    order=st.sampled_from(["sorted", "cell by cell", "last cell first", "shuffled"]),
    share=st.floats(0, 1),
    seed=st.integers(0, 100),
)
def test_the_same_as_scipy(tmp_path_factory, n_cells, n_genes, window, end, last, order, share, seed):
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 10 ** rng.integers(1, 7), (n_genes, n_cells)) * (rng.random((n_genes, n_cells)) < share)
    places = rng.permutation(np.argwhere(counts))
    if order != "shuffled":
        places = places[np.argsort(places[:, 1], kind="stable")]
    if order == "sorted":
        places = places[np.lexsort(places.T)]
    if order == "last cell first":
        places = np.roll(places, (places[:, 1] == n_cells - 1).sum(), axis=0)
    entries = [f"{g + 1} {c + 1} {counts[g, c]}" for g, c in places]
    lines = ["%%MatrixMarket matrix coordinate integer general", "%", f"{n_genes} {n_cells} {len(entries)}", *entries]
    text = "\n".join(lines[:3]) + "\n" + end.join(entries) + (end if last else "")
    path = tmp_path_factory.getbasetemp() / "matrix.mtx"
    path.write_bytes(text.encode())
    names = [np.array([f"{kind}{i}" for i in range(n)], dtype=object) for kind, n in (("c", n_cells), ("g", n_genes))]
    source = LibrarySource("a", "mtx", path, names[0], Genes(names[1], names[1], names[1]), (0, 0))
    before, _tenx._WINDOW = _tenx._WINDOW, window
    try:
        found = as_counts(source, _tenx.read_counts(source))
    finally:
        _tenx._WINDOW = before
    np.testing.assert_array_equal(found.toarray(), counts.T)
    assert found.has_canonical_format
    assert found.dtype == np.float32
    if end == "\n":
        np.testing.assert_array_equal(mmread(io.BytesIO(text.encode())).toarray().T, found.toarray())

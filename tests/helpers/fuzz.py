"""Damage files at random and read them. It runs in a process of its own, because a fault can end the process.

python -m tests.helpers.fuzz KIND MAX_EXAMPLES
"""

from __future__ import annotations

import pathlib
import pickle
import sys
import tempfile

import h5py
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from heldout.reading._files import find, read_counts
from heldout.reading._library import as_counts
from heldout.reading.embeddings.plain_pickle import read_plain_pickle
from tests.helpers.libraries_on_disk import as_anndata, counts, mtx, write_folder, write_h5
from tests.helpers.properties import properties

FOLDER = pathlib.Path(tempfile.mkdtemp())
PICKLES = [
    pickle.dumps(value, protocol)
    for protocol in range(5)
    for value in ({"a": 1, "b": np.int64(2)}, {"a": {"x", "y"}, "b": frozenset(["z"])}, {"a": ["x"], "b": "c"})
]
EDITS = st.lists(st.tuples(st.floats(0, 1), st.sampled_from("sidr"), st.integers(0, 255)), min_size=1, max_size=4)
VALUES = st.sampled_from([0, -1, 1, 59, 60, 2**31 - 1, -(2**31), 0.5, float("nan"), float("inf"), 10**9])
PARTS = ("data", "indices", "indptr", "shape", "barcodes")


if __name__ == "__main__":  # the profile of the tests that start this process
    settings.register_profile("of the tests", max_examples=int(sys.argv[2]))
    settings.load_profile("of the tests")


def edited(content, edits):
    """Set, insert, delete or repeat bytes."""
    for at, kind, byte in edits:
        i = int(at * max(len(content) - 1, 0))
        new = {"s": bytes([byte]), "i": bytes([byte]) + content[i : i + 1], "d": b"", "r": content[i : i + 40] * 9}
        content = content[:i] + new[kind] + content[i + 1 :]
    return content


def outcome(call, words):
    """Result of a call, or None after a ValueError. The message has these words. No other error is allowed."""
    try:
        return call()
    except ValueError as error:
        message = str(error)
    assert words in message, message
    return None


def counts_of(path):
    source = find("a", path, {})
    X = as_counts(source, read_counts(source))
    assert X.toarray().shape == (len(source.barcodes), len(source.genes))


def read(path):
    outcome(lambda: counts_of(path), "library 'a'")


@properties(400)
@given(st.sampled_from(PICKLES), EDITS)
def pickles(content, edits):
    path = FOLDER / "a.pkl"
    path.write_bytes(edited(content, edits))
    found = outcome(lambda: read_plain_pickle(path), "a.pkl")
    assert found is None or all(isinstance(key, str) for key in found)


@properties(150)
@given(st.sampled_from(["integer", "real"]), EDITS)
def matrices(field, edits):
    read(write_folder(FOLDER / "mtx", 0, matrix=edited(mtx(counts(0), field)[:400], edits), gz=False))


@properties(150)
@given(st.booleans(), st.sampled_from(PARTS), st.floats(0, 1), VALUES, st.sampled_from(["put", "drop", "cut", "type"]))
def stores(ten_x, name, at, value, kind):
    path = FOLDER / ("a.h5" if ten_x else "a.h5ad")
    write_h5(path, 0) if ten_x else as_anndata(0).write_h5ad(path)
    with h5py.File(path, "r+") as root:
        group = root["matrix" if ten_x else "X"]
        if name not in group:
            group.attrs["shape"] = [40, value] if np.isfinite(value) else [40]
        elif kind == "put" and group[name].dtype.kind in "iu":
            group[name][int(at * (len(group[name]) - 1))] = int(np.clip(np.nan_to_num(value), -(2**31), 2**31 - 1))
        else:
            old = group[name][:]
            del group[name]
            new = {"cut": old[: int(at * len(old))], "type": np.full(len(old), str(value), dtype="S"), "put": old[::-1]}
            if kind != "drop":
                group[name] = new[kind]
    read(path)


if __name__ == "__main__":
    {"pickles": pickles, "matrices": matrices, "stores": stores}[sys.argv[1]]()

"""Nothing in the package can run what it reads."""

import ast
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import heldout as ho
from heldout._core.fits import read_fit

SOURCE = Path(ho.__file__).parent


RUNS_WHAT_IT_READS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
ONLY_COUNTS = {"joblib": {"cpu_count"}}


def dangers(tree):
    """What in a module could run code that comes from a file."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names) | ast.ImportFrom(module="torch" | "numpy" | "pandas", names=names):
                yield from (n.name for n in names if n.name.split(".")[0] in RUNS_WHAT_IT_READS)
                yield from (
                    n.name for n in names if isinstance(node, ast.ImportFrom) and n.name in {"load", "read_pickle"}
                )
            case ast.ImportFrom(module=str(module), names=names) if module.split(".")[0] in RUNS_WHAT_IT_READS:
                if not {n.name for n in names} <= ONLY_COUNTS.get(module, set()):
                    yield module
            case ast.keyword(arg="allow_pickle"):
                yield "allow_pickle"
            case ast.Attribute(attr="read_pickle" | "to_pickle" as name):
                yield name
            case ast.Call(func=ast.Name(id="eval" | "exec" | "compile" | "__import__" as name)):
                yield name
            case ast.Call(func=ast.Attribute(value=ast.Name(id="torch"), attr="load"), keywords=keywords):
                safe = {k.arg: getattr(k.value, "value", None) for k in keywords}.get("weights_only")
                if safe is not True:
                    yield "torch.load"


def test_the_package_cannot_run_what_it_reads():
    files = sorted(SOURCE.rglob("*.py"))
    assert len(files) > 20
    found = {str(path): list(dangers(ast.parse(path.read_text(encoding="utf-8")))) for path in files}
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize(
    ("code", "n"),
    [
        ("import pickle", 1),
        ("from joblib import load", 1),
        ("from joblib import cpu_count, load", 1),
        ("from joblib import cpu_count", 0),
        ("from torch import load", 1),
        ("np.load(path, allow_pickle=True)", 1),
        ("torch.load(path)", 1),
        ("torch.load(path, weights_only=False)", 1),
        ("torch.load(path, weights_only=True)", 0),
        ("eval(text)", 1),
        ("module.eval()", 0),
    ],
)
def test_the_search_for_dangers_finds_them(code, n):
    assert len(list(dangers(ast.parse(code)))) == n


def test_a_stored_fit_is_text_numbers_and_one_table(split):
    ho.tl.genotype(split, method="logistic", mask_var=None)
    stored = split.uns["heldout"]["fits"]["genotype"]
    assert set(stored) <= {"schema", "json", "split_hash", "hash", "genes", "arrays", "history", "order"}
    assert all(isinstance(array, np.ndarray) and array.dtype.kind in "fiub" for array in stored["arrays"].values())
    assert stored["genes"].dtype.kind == "U"
    assert {type(stored[name]) for name in ("json", "split_hash", "hash")} == {str}
    assert isinstance(stored["order"], int)


def test_a_fit_that_names_no_registered_method_is_refused(split):
    ho.tl.genotype(split, method="majority")
    fit = replace(read_fit(split, "genotype"), method="genotype.os:system")
    split.uns["heldout"]["fits"]["genotype"] = fit.stored()
    with pytest.raises(ValueError, match="os:system"):
        ho.tl.predict(split)

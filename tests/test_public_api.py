"""The public surface as data: names, signatures, documented keys, examples, import."""

from __future__ import annotations

import doctest
import inspect
import re
import subprocess
import sys
from collections import Counter
from importlib import import_module
from pathlib import Path

import pytest

import heldout as ho
from tests.helpers.paths import ROOT

MODULES = {name: getattr(ho, name) for name in ("datasets", "get", "metrics", "pl", "pp", "splitting", "tl")}
ON_ADATA = [(name, f) for name in ("get", "pl", "pp", "tl") for f in MODULES[name].__all__]
WITHOUT_ADATA = {("pp", "read_libraries"): "sheet", ("pl", "power"): "aucs", ("pl", "critical_differences"): "scores"}
"""Functions that need no AnnData, and the name of their first argument."""
FUNCTIONS = [(name, f) for name, module in MODULES.items() for f in module.__all__]
API = ROOT / "docs" / "api"


def function(name: str, member: str):
    return getattr(MODULES[name], member)


@pytest.mark.parametrize("name", [*MODULES, "model"])
def test_all_is_sorted_and_complete(name):
    module = getattr(ho, name)
    assert list(module.__all__) == sorted(module.__all__)
    public = {n for n, v in vars(module).items() if not n.startswith("_") and inspect.isfunction(v)}
    assert public <= set(module.__all__)
    for member in module.__all__:
        assert getattr(module, member).__doc__


def listed() -> Counter[str]:
    """Public names in the lists of the pages of the API, each with the number of pages that have it."""
    name = re.compile(r"^   ((?:(?:datasets|get|metrics|model|pl|pp|splitting|tl)\.)?\w+)$", re.MULTILINE)
    return Counter(found for path in API.glob("*.md") for block in lists(path) for found in name.findall(block))


def lists(path: Path) -> list[str]:
    return re.findall(r"^\.\. autosummary::\n(?:   :.*\n)+\n((?:   .*\n)+)", path.read_text(), re.MULTILINE)


def test_each_exported_name_is_on_one_page_of_the_api():
    exported = {f"{name}.{member}" for name, member in FUNCTIONS} | {f"model.{m}" for m in ho.model.__all__}
    assert set(listed()) == exported | {"report"}
    assert {name: n for name, n in listed().items() if n > 1} == {}


def test_the_overview_of_the_api_links_every_page():
    overview = (API.parent / "api.md").read_text()
    pages = {f"api/{path.stem}" for path in API.glob("*.md")}
    assert set(re.findall(r"^\| \[.+?\]\((api/\w+)\.md\) \| .+ \|$", overview, re.MULTILINE)) == pages
    assert set(re.findall(r"^(api/\w+)$", overview, re.MULTILINE)) == pages


@pytest.mark.parametrize(("name", "member"), ON_ADATA)
def test_signature(name, member):
    parameters = inspect.signature(function(name, member)).parameters
    positional = [p for p in parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    if (name, member) in WITHOUT_ADATA:
        assert positional[0].name == WITHOUT_ADATA[name, member]
    else:
        assert positional[0].name == "adata"
        assert positional[0].annotation in ("AnnData", "AnnData | MuData")
    assert len(positional) <= 3
    assert not any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters.values())
    for p in parameters.values():
        assert p.annotation is not p.empty, p.name
        assert p.name not in {"layer_key", "seed", "random_state", "inplace", "save", "show", "verbose"}
    if "copy" in parameters:
        assert parameters["copy"].kind is inspect.Parameter.KEYWORD_ONLY
        assert parameters["copy"].default is False
        returned = inspect.signature(function(name, member)).return_annotation
        assert returned == f"{positional[0].annotation} | None"


@pytest.mark.parametrize(("name", "member"), FUNCTIONS)
def test_docstring_names_every_parameter(name, member):
    documented = function(name, member).__doc__
    for parameter in inspect.signature(function(name, member)).parameters:
        assert re.search(rf"^\s+(\w+, )*{parameter}(, \w+)*$", documented, re.MULTILINE), parameter
    assert "Examples" in documented


@pytest.mark.parametrize("wing", ["genotype", "forecast", "forecast_genes", "perturbation"])
def test_docstring_names_every_method_and_its_options(wing):
    documented = getattr(ho.tl, wing).__doc__
    for method in import_module(f"heldout.tasks.{wing}").METHODS:
        assert f"``{method.name}``" in documented, method.name
        config = type(method.load().default_config).__name__
        assert config == "NoConfig" or f"heldout.model.{config}`" in documented, config
        assert config == "NoConfig" or config in ho.model.__all__


CLASSES = [("model", name) for name in ("CellForecaster", "GeneForecaster", "GenotypeClassifier", "PerturbationFlow")]
CLASSES.append(("model", "Estimator"))


@pytest.mark.parametrize(("name", "member"), [*FUNCTIONS, *CLASSES])
def test_example_runs(name, member):
    import matplotlib.pyplot as plt

    namespace = {}
    finder = doctest.DocTestFinder(recurse=False)
    for example in finder.find(getattr(getattr(ho, name), member), member, globs=namespace):
        assert example.examples, "an example that shows nothing"
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
        failed, _ = runner.run(example)
        assert failed == 0
    plt.close("all")  # twenty open figures raise a warning


def test_import_is_light():
    heavy = ("torch", "scvi", "scanpy", "matplotlib.pyplot", "sklearn")
    code = f"import sys, heldout; print([m for m in {heavy} if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_files_stay_small():
    for path in Path(ho.__file__).parent.rglob("*.py"):
        assert len(path.read_text().splitlines()) <= 400, path


def test_the_accessor_chains(lmna):
    result = lmna.ho.pp.split_groups("library", "genotype").ho.pp.subsample("library", 20)
    assert result is lmna
    assert lmna.n_obs == 12 * 20
    copied = lmna.ho.tl.genotype(method="majority", copy=True)
    assert copied is not lmna
    assert "genotype_prediction" in copied.obs
    assert "genotype_prediction" not in lmna.obs
    assert copied.ho.tl.evaluate(baselines=[]) is copied
    assert copied.ho.get.evaluation().equals(ho.get.evaluation(copied))
    assert "split_matched" in repr(lmna.ho.pp)
    assert list(inspect.signature(lmna.ho.pp.subsample).parameters) == ["group_key", "n", "rng", "copy"]

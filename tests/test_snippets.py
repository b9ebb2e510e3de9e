"""Every Python block of the documentation runs.

The blocks of a page run in order and share their names, in an empty folder. A block runs as it is written, unless it is
in ``RULES``; a page that needs files or names first is in ``BEFORE``. The README is in ``test_tutorials.py``.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import sys
import types
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import heldout as ho
from heldout._core import metric
from heldout._core.lazy import n_workers
from heldout.auditing._finding import NotRun
from heldout.auditing.registry import Item
from heldout.tasks import perturbation
from tests.helpers import embeddings, leaks, libraries_on_disk
from tests.helpers.paths import ROOT
from tests.helpers.perturbations import combinations
from tests.helpers.preparations import to_dense
from tests.helpers.scripts import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


def blocks_of(path: Path) -> list[str]:
    return BLOCK.findall(path.read_text())


PAGES = {
    path.relative_to(ROOT).as_posix(): blocks
    for path in sorted([*ROOT.glob("docs/*.md"), *ROOT.glob("docs/api/*.md"), *ROOT.glob("docs/developer/*.md")])
    if (blocks := blocks_of(path))
}
"""The blocks of each page that has any."""


def libraries(page: types.ModuleType, folder: Path) -> None:
    """Eight 10x folders and the sheet that names them, with every label on every day."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(8):
        name = f"GSM{number}"
        rate = rng.gamma(0.6, 1, 1200)
        X = sparse.csr_matrix(rng.poisson(rate * rng.lognormal(0, 0.3, (40, 1))).astype(np.int32))
        ids = np.array([f"ENSG{i:05d}" for i in range(1200)], dtype=object)
        symbols = np.array([f"GENE{i}" for i in range(1200)], dtype=object)
        libraries_on_disk.write_folder(folder / "raw" / name, number, X=X, ids=ids, symbols=symbols)
        rows.append([name, f"raw/{name}", ("control", "patient")[number % 2], (0, 9, 16, 19)[number // 2]])
    pd.DataFrame(rows, columns=["library", "path", "genotype", "day"]).to_csv(folder / "samples.csv", index=False)


def vectors(page: types.ModuleType, folder: Path) -> None:
    """A screen, a folder in the layout of scGPT, edges of a graph, and profiles of another screen."""
    genes = embeddings.GENES
    page.adata = embeddings.screen()
    page.adata.obs["perturbation"] = page.adata.obs["guide"]
    (folder / "scGPT_human").mkdir()
    embeddings.scgpt_folder(folder / "scGPT_human")
    edges = [(a, b, 0.5) for i, a in enumerate(genes) for b in genes[:i]]
    pd.DataFrame(edges, columns=["source", "target", "importance"]).to_csv(folder / "go_essential_all.csv", index=False)
    names = [*genes, *(f"GENE{i}" for i in range(20))]
    page.other_screen = pd.DataFrame(np.random.default_rng(0).normal(size=(len(names), 30)), index=names)


def audit_item(page: types.ModuleType, value: None) -> None:
    """The item of the page runs as those of the registry do, and says each of its statuses."""
    sys.modules["heldout.auditing.test_cells"] = page
    item = Item("test_cells", "cheap", "none", "number of test cells")
    adata = ho.datasets.lmna_simulated(n_cells=8, n_genes=100)
    leaks.by_library(adata)
    case = leaks.case_of(adata, label_key="genotype")
    findings = item.run(case)
    test = case.units.within("test")
    labels = case.need_labels()
    expected = {str(name): int((labels[test] == name).sum()) for name in set(labels[test])}
    assert {found.subject: found.value for found in findings} == expected
    assert {found.status for found in findings} <= {"pass", "warn"}
    page.FEWEST = 10**6
    assert {found.status for found in item.run(case)} == {"warn"}
    assert issubclass(page.NotRun, NotRun)


def registered(page: types.ModuleType, method: perturbation.Method) -> None:
    """The method of the page is fitted, stored, predicted and scored next to the baselines through its registry."""
    method = dataclasses.replace(method, path=f"{page.__name__}:ShrunkMean")
    entries = perturbation.METHODS._methods
    entries[method.name] = method
    try:
        adata = combinations()
        config = page.ShrunkMeanConfig(shrinkage=0.25)
        ho.tl.perturbation(adata, method="mean", key_added="mean")
        ho.tl.perturbation(adata, method=method.name, config=config)
        shrunk, mean = (ho.tl.predict_profiles(adata, key).layers["change"] for key in ("perturbation", "mean"))
        np.testing.assert_allclose(shrunk, 0.75 * mean, rtol=1e-5, atol=1e-6)
        table = ho.tl.evaluate(adata, baselines=["mean", "no_change"], n_bootstrap=20)
        assert set(table["method"]) >= {method.name, "mean", "no_change"}
        with pytest.raises(ValueError, match=r"shrinkage=2 must be a number in \[0, 1\]"):
            page.ShrunkMeanConfig(shrinkage=2)
    finally:
        del entries[method.name]


def metric_record(page: types.ModuleType, record: metric.Metric) -> None:
    """The record of the page is the one of the list, for one of its tasks; ranges are listed apart."""
    listed = next(m for m in metric.METRICS.values() if m.name == record.name)
    assert set(record.tasks) <= set(listed.tasks)
    assert dataclasses.replace(record, tasks=listed.tasks, bounds=listed.bounds) == listed


def _has(page: types.ModuleType, module: types.ModuleType, *names: str) -> None:
    """The names that the file has to which a block is added."""
    vars(page).update({name: vars(module)[name] for name in names})


BEFORE: dict[str, Callable[[types.ModuleType, Path], None]] = {
    "docs/reading.md": libraries,
    "docs/side_information.md": vectors,
    "docs/developer/add_method.md": lambda page, _: _has(page, perturbation, "Method", "_METHODS"),
    "docs/developer/add_metric.md": lambda page, _: _has(page, metric, "Metric"),
}
"""What a reader has before the first block of a page: files, or the names of the file to which a block belongs."""

AFTER: dict[tuple[str, str], Callable[[types.ModuleType, Any], None]] = {
    ("docs/developer/add_audit_item.md", "def test_cells("): audit_item,
    ("docs/developer/add_method.md", 'Method("shrunk_mean"'): registered,
    ("docs/developer/add_metric.md", 'Metric("rmse"'): metric_record,
}
"""Checks of the block of a page that has this text."""


def on_a_cluster(code: str, page: types.ModuleType) -> None:
    """One worker in this process, instead of four processes, gives the same values as no cluster."""
    distributed = pytest.importorskip("distributed")
    assert "Client(n_workers=4, threads_per_worker=1)" in code
    code = code.replace("n_workers=4", "n_workers=1, processes=False, dashboard_address=':0'")
    before = to_dense(page.adata.X.compute())
    page.adata = ho.pp.read_libraries("samples.csv", "lmna.zarr")
    ho.pp.split_matched(page.adata, "library", "day", label_key="genotype", test=19, val=0)
    try:
        run(code, page)
        assert isinstance(page.client, distributed.Client)
        assert n_workers() == 1
        np.testing.assert_allclose(to_dense(page.adata.X.compute()), before, rtol=1e-5, atol=1e-6)
    finally:
        if "client" in vars(page):
            page.client.close()


def call_of_train(code: str, page: types.ModuleType) -> None:
    """A machine need not have several GPUs: the arguments are compared with the signatures, down to Lightning's."""
    from lightning import pytorch

    (call,) = (node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call))
    given = {word.arg: ast.literal_eval(word.value) for word in call.keywords}
    for model in (ho.model.GenotypeClassifier, ho.model.CellForecaster, ho.model.GeneForecaster):
        bound = inspect.signature(model.train).bind(None, **given)
        options = {**bound.arguments.get("trainer_options", {}), **bound.arguments.get("kwargs", {})}
        assert options["strategy"] == "ddp"
        assert set(options) <= set(inspect.signature(pytorch.Trainer).parameters)


RULES: dict[tuple[str, str], Callable[[str, types.ModuleType], None]] = {
    ("docs/reading.md", "from dask.distributed import Client"): on_a_cluster,
    ("docs/reading.md", "strategy"): call_of_train,
}
"""Blocks that cannot run as they are, by a text of the block, and what runs instead."""


def rule_for(table: dict[tuple[str, str], Any], page: str, code: str) -> Any:
    found = [rule for (where, text), rule in table.items() if where == page and text in code]
    assert len(found) < 2, found
    return found[0] if found else None


@pytest.fixture
def page(request, tmp_path, monkeypatch) -> Iterator[types.ModuleType]:
    """An empty module in an empty folder."""
    module = types.ModuleType("snippets_of_a_page")
    monkeypatch.setitem(sys.modules, module.__name__, module)  # dataclasses look up the module of their class
    monkeypatch.delitem(sys.modules, "heldout.auditing.test_cells", raising=False)
    monkeypatch.chdir(tmp_path)
    plt.switch_backend("Agg")
    yield module
    for name in ("n_jobs", "verbosity", "progress", "partition_colors", "class_colors"):
        setattr(ho.settings, name, None)
    plt.close("all")
    sys.modules.pop("heldout.auditing.test_cells", None)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", PAGES)
def test_page(name, page, tmp_path):
    if name in BEFORE:
        BEFORE[name](page, tmp_path)
    for code in PAGES[name]:
        if rule := rule_for(RULES, name, code):
            rule(code, page)
            continue
        value = run(code, page)
        if check := rule_for(AFTER, name, code):
            check(page, value)


def test_every_rule_has_its_block():
    assert set(BEFORE) <= set(PAGES)
    for name, text in [*RULES, *AFTER]:
        assert sum(text in code for code in PAGES[name]) == 1, (name, text)


def test_all_blocks_are_found():
    """Each fence that opens a Python block is one of the blocks, however it is written."""
    for path in [*ROOT.glob("docs/*.md"), *ROOT.glob("docs/api/*.md"), *ROOT.glob("docs/developer/*.md")]:
        fences = re.findall(
            r"^[ \t]*(?:`{3,}|~{3,})[ \t]*\{?(?:python|py|pycon|code|ipython3?)\b.*$", path.read_text(), re.M
        )
        assert len(fences) == len(blocks_of(path)), (path.name, fences)


NAMED = re.compile(r"`(?:ho|heldout)\.(pp|tl|get|pl|metrics|model|splitting|datasets)\.(\w+)")


def test_functions_that_the_text_names_exist():
    for path in [*ROOT.glob("docs/**/*.md"), *ROOT.glob("tutorials/*.ipynb")]:
        named = sorted(set(NAMED.findall(path.read_text())))
        assert not [f"{module}.{name}" for module, name in named if not hasattr(getattr(ho, module), name)], path.name


def test_llms_txt_lists_every_page():
    listed = set(re.findall(r"latest/([\w/]+)\.html", (ROOT / "docs" / "llms.txt").read_text()))
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")} - {"index"}
    pages |= {f"api/{path.stem}" for path in (ROOT / "docs" / "api").glob("*.md")}
    assert listed == pages | {"developer/index", "generated/slots", "generated/arrays"}

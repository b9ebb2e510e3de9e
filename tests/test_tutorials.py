"""What the README and the tutorials show runs as a stranger would run it."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import re
import shutil
import subprocess
import sys
import types
import warnings
from typing import TYPE_CHECKING

import anndata as ad
import matplotlib.pyplot as plt
import pytest

from tests.helpers.paths import DATA, ROOT
from tests.helpers.scripts import load
from tests.helpers.scripts import run as run_block

if TYPE_CHECKING:
    from pathlib import Path


def run(arguments: list[str], folder: Path) -> str:
    """Run Python in a folder of its own and return what it printed."""
    done = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_readme_snippet(tmp_path):
    """The code of the README prints what the README shows."""
    text = (ROOT / "README.md").read_text()
    (snippet,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (shown,) = re.findall(r"prints:\n\n```\n(.*?)```", text, re.DOTALL)
    printed = run(["-c", f"import matplotlib; matplotlib.use('Agg')\n{snippet}"], tmp_path)
    assert printed.startswith(shown)
    assert (tmp_path / "fitted.h5ad").is_file()


def test_readme_needs_no_scrolling():
    text = (ROOT / "README.md").read_text()
    blocks = re.findall(r"```\w*\n(.*?)```", text, re.DOTALL)
    assert max(len(line) for block in blocks for line in block.splitlines()) <= 92
    assert text.count("\n") < 100
    for picture in re.findall(r"!\[[^]]*\]\((.*?)\)", text):
        assert (ROOT / picture).is_file()


def test_demo(tmp_path):
    printed = run([str(ROOT / "tutorials" / "demo.py"), "--cells", "120"], tmp_path)
    assert "a second process predicts the same bits" in printed
    mixed, matched, *_ = map(float, re.findall(r"AUC of cells: mlp ([\d.]+)", printed))
    assert mixed < 0.3, "the published inversion"
    assert matched > 0.8
    for name in ("split_mixed", "split_matched", "history", "roc", "roc_mixed", "confusion"):
        assert (tmp_path / "demo_output" / f"{name}.png").stat().st_size > 5_000


notebooks = load("docs/run_notebooks.py")


def outputs_of(notebook: Path) -> list[str]:
    """Each text that the cells of a notebook that ran have printed or shown."""
    outputs = [output for cell in json.loads(notebook.read_text())["cells"] for output in cell.get("outputs", [])]
    return ["".join(output.get("text") or output["data"].get("text/plain", [])) for output in outputs]


def shown_by(notebook: Path) -> str:
    """These texts together."""
    return "\n".join(outputs_of(notebook))


def test_the_quickstart_notebook(tmp_path):
    shown = shown_by(notebooks.run("quickstart", tmp_path))
    assert "Cannot be decided: with 4 libraries even a perfect result has p = 0.25." in shown
    assert (tmp_path / "quickstart.h5ad").is_file()


def test_the_audit_notebook(tmp_path):
    """A label that means nothing: the published AUC is high, the audit fails, and held-out donors give none of it."""
    shown = shown_by(notebooks.run("audit_your_own_study", tmp_path))
    assert float(re.search(r"AUC over \d+ test cells: ([\d.]+)", shown).group(1)) > 0.85
    assert max(map(float, re.findall(r"logistic: AUC ([\d.]+)", shown))) < 0.7
    assert "The folds leak, so a score is no evidence" in shown


def test_the_notebook_of_own_models(tmp_path):
    (leaderboard,) = (
        text for text in outputs_of(notebooks.run("bring_your_own_model", tmp_path)) if "another tool" in text
    )
    for name in ("another tool", "forest on donors", "15 neighbours", "pseudobulk_logistic"):
        assert name in leaderboard


def test_the_out_of_core_notebook(tmp_path):
    shown = shown_by(notebooks.run("out_of_core", tmp_path))
    assert "dask.array.core.Array" in shown
    assert float(re.search(r"largest difference of a log-probability: (\S+)", shown).group(1)) < 1e-4


@pytest.fixture
def on_few_real_cells(tmp_path, monkeypatch):
    """Run cells of a notebook on the first real cells of each group; what they print and show.

    They run in this process, because a new one imports for as long as they take.
    """

    def shown(name: str, file: str, columns: list[str], n_cells: int, until: str = "", shorter: dict | None = None):
        if not (DATA / file).exists():
            pytest.skip(f"{file} is not in HELDOUT_DATA_DIR")
        adata = ad.read_h5ad(DATA / file)
        kept = adata.obs.groupby(columns, observed=True).head(n_cells).index
        (tmp_path / file).parent.mkdir(parents=True)
        with ad.settings.override(allow_write_nullable_strings=True):
            adata[kept].write_h5ad(tmp_path / file)
        monkeypatch.setenv("HELDOUT_DATA_DIR", str(tmp_path))
        monkeypatch.chdir(tmp_path)
        page = types.ModuleType(name)
        text = notebooks.NOTEBOOKS[name].read_text()
        for before, after in (shorter or {}).items():
            assert text.count(before) == 1
            text = text.replace(before, after)
        codes = ["".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
        assert sum(code.startswith(until) for code in codes) >= 1
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for code in itertools.takewhile(lambda code: not (until and code.startswith(until)), codes):
                print(run_block(code, page))
        plt.close("all")
        return printed.getvalue()

    return shown


def test_the_forecasting_notebook(tmp_path):
    shown = shown_by(notebooks.run("forecasting", tmp_path))
    assert "one target time: the result holds for this experiment only" in shown
    assert "feedforward; " in shown
    assert "published" not in shown


SHORTER = {
    r"method=method, key_added=method)": "method=method, key_added=method, n_replicates=4)",
    r"ho.tl.forecast(far, \"time_h\", method=method)": r"ho.tl.forecast(far, \"time_h\", method=method, config="
    "(ho.model.PublishedConfig if 'published' in method else ho.model.SequenceConfig)(max_epochs=2))",
}
"""Calls of the forecasting notebook that train for minutes, and what the test on real cells runs instead."""


def test_the_forecasting_notebook_on_real_cells(on_few_real_cells):
    """The file of Chu 2016 has 66 to 188 cells a time; the test takes 20, and shorter training."""
    shown = on_few_real_cells("forecasting", "chu2016/chu2016_100tf.h5ad", ["time_h"], 20, shorter=SHORTER)
    assert "one target time: the result holds for this experiment only" in shown
    assert "feedforward_published; " in shown
    assert "lstm_published" in shown


def test_the_perturbation_notebook(tmp_path):
    shown = shown_by(notebooks.run("perturbation", tmp_path))
    assert "No test perturbation is in train or val with the same targets" in " ".join(shown.split())
    called, real, false = map(int, re.search(r"(\d+) called of (\d+) that are real; (\d+) of", shown).groups())
    assert real > called > 20
    assert false <= 0.1 * called


def test_the_perturbation_notebook_on_real_cells(on_few_real_cells):
    """The file of Norman 2019 has 80 to 300 cells a perturbation; the test takes 25. The second half simulates."""
    file, second = "norman2019/norman19_mcfaline23_devel.h5ad", "screen = ho.datasets.perturbations_simulated("
    shown = on_few_real_cells("perturbation", file, ["dataset", "perturbation"], 25, until=second)
    assert "No test perturbation is in train or val with the same targets" in " ".join(shown.split())
    assert "colleague" in shown
    assert "KLF1" in shown


def test_the_lmna_notebook(tmp_path):
    shown = shown_by(notebooks.run("lmna", tmp_path))
    assert "Cannot be decided for a new library: " in shown
    assert "Cannot be decided for a new donor: with one donor of control" in shown
    tried = re.findall(r"A_d\d_e\d+_b\d+_\w+ .* (True|False)", shown)
    assert sorted(tried) == ["False"] * 5 + ["True"]


def test_a_notebook_that_fails_says_where(tmp_path, monkeypatch):
    failing = tmp_path / "failing.ipynb"
    cell = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None, "source": "1 / 0"}
    failing.write_text(json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 4}))
    monkeypatch.setitem(notebooks.NOTEBOOKS, "failing", failing)
    with pytest.raises(RuntimeError, match=r"(?s)failing\.ipynb failed.*ZeroDivisionError"):
        notebooks.run("failing", tmp_path)
    assert not notebooks.result_of("failing").exists()


def test_a_result_is_of_one_state_of_notebook_and_package(tmp_path, monkeypatch):
    """A change of a notebook or of a file of the package makes another key; the documentation shows no older result."""
    root = tmp_path / "repository"
    for file in ("src/heldout/a.py", "src/heldout/b/c.py", "tutorials/first.ipynb"):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text("before")
    monkeypatch.setattr(notebooks, "ROOT", root)
    monkeypatch.setattr(notebooks, "NOTEBOOKS", {"first": root / "tutorials/first.ipynb"})
    monkeypatch.setattr(notebooks, "THIS", root / "src/heldout/a.py")

    def key() -> Path:
        notebooks.state.cache_clear()
        return notebooks.result_of("first")

    keys = [key()]
    compiled = root / "src/heldout/b/__pycache__/c.nbi"
    compiled.parent.mkdir()
    compiled.write_text("compiled by a run")
    assert key() == keys[0]
    for file in ("src/heldout/a.py", "src/heldout/b/c.py", "tutorials/first.ipynb"):
        (root / file).write_text("after")
        keys.append(key())
    (root / "src/heldout/b/c.py").rename(root / "src/heldout/b/d.py")
    keys.append(key())
    assert len(set(keys)) == 5
    for change in ({"environment": {"HELDOUT_LMNA_CELLS": "3"}}, {"until": "adata"}):
        with pytest.raises(ValueError, match=f"{next(iter(change))}=.*differ from what .* pass out= too"):
            notebooks.run("first", tmp_path, **change)


def test_the_lmna_script_runs_the_notebook_beside_it(tmp_path):
    """The test of the notebook has its results; this one has the script: text, tables, pictures and ``--cells``."""
    sources = {
        "markdown": ["# A title"],
        "code": ["import os\nimport pandas as pd\nn = int(os.environ['HELDOUT_LMNA_CELLS'])"]
        + ["pd.Series([n, n]).plot()\npd.DataFrame({'cells': [n], 'of': ['a library']})", "n"],
    }
    cells = [{"cell_type": kind, "source": [text]} for kind, texts in sources.items() for text in texts]
    (tmp_path / "lmna.ipynb").write_text(json.dumps({"cells": cells}))
    shutil.copy(ROOT / "tutorials" / "lmna.py", tmp_path)
    printed = run([str(tmp_path / "lmna.py"), "--cells", "12"], tmp_path)
    assert "# A title" in printed
    assert "0     12  a library" in printed
    assert [path.name for path in (tmp_path / "lmna_output").iterdir()] == ["figure_02.png"]


def test_donor_leak_explains_itself(tmp_path):
    assert "random label" in run([str(ROOT / "tutorials" / "donor_leak.py"), "--help"], tmp_path)


BENCHMARKS = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py") if not path.stem.startswith("_"))
ASK_FOR_HELP = """
import contextlib, io, json, runpy, sys
sys.path.insert(0, "{folder}")
printed = {{}}
for name in sys.argv[1:]:
    sys.argv = [name, "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            runpy.run_path(f"{folder}/{{name}}.py", run_name="__main__")
        except SystemExit as end:
            assert not end.code, (name, end.code)
    printed[name] = out.getvalue()
print(json.dumps(printed))
"""
"""One process asks every script for help, because starting Python and importing scanpy takes seconds."""


@pytest.fixture(scope="module")
def helps(tmp_path_factory):
    code = ASK_FOR_HELP.format(folder=ROOT / "benchmarks")
    return json.loads(run(["-c", code, *BENCHMARKS], tmp_path_factory.mktemp("benchmarks")))


@pytest.mark.parametrize("script", BENCHMARKS)
def test_benchmarks_start(helps, script):
    assert helps[script].startswith("usage: "), "it does not parse its options first"

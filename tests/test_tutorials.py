"""What the README and the tutorials show runs as a stranger would run it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.helpers.paths import DATA, ROOT

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


def test_the_quickstart_notebook(tmp_path):
    printed = run(
        [
            "-W",
            "ignore",
            "-c",
            cells_of(
                ROOT / "tutorials" / "quickstart.ipynb",
                "print(ho.get.summary(adata, 'network'), ho.get.evaluation(adata, 'network').answer)",
            ),
        ],
        tmp_path,
    )
    assert "Cannot be decided: with 4 libraries even a perfect result has p = 0.25." in printed
    assert (tmp_path / "quickstart.h5ad").is_file()


def test_demo(tmp_path):
    printed = run([str(ROOT / "tutorials" / "demo.py")], tmp_path)
    assert "a second process predicts the same bits" in printed
    mixed, matched, *_ = map(float, re.findall(r"AUC of cells: mlp ([\d.]+)", printed))
    assert mixed < 0.3, "the published inversion"
    assert matched > 0.8
    for name in ("split_mixed", "split_matched", "history", "roc", "roc_mixed", "confusion"):
        assert (tmp_path / "demo_output" / f"{name}.png").stat().st_size > 5_000


def cells_of(notebook: Path, *ends: str) -> str:
    """The code of a notebook as one script with further lines at the end; pictures are not shown."""
    cells = json.loads(notebook.read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    return "\n".join(["import matplotlib; matplotlib.use('Agg')", *code, *ends])


def use_data(monkeypatch, tmp_path, data, file):
    """Point a tutorial to the real data, or to nowhere, where it simulates."""
    if data == "simulated":
        monkeypatch.setenv("HELDOUT_DATA_DIR", str(tmp_path))
    elif not (DATA / file).exists():
        pytest.skip(f"{file} is not in HELDOUT_DATA_DIR")
    else:
        monkeypatch.setenv("HELDOUT_DATA_DIR", str(DATA.resolve()))


def test_the_audit_notebook(tmp_path):
    """A label that means nothing: the published AUC is high, the audit fails, and held-out donors give none of it."""
    printed = run(["-W", "ignore", "-c", cells_of(ROOT / "tutorials" / "audit_your_own_study.ipynb")], tmp_path)
    assert float(re.search(r"AUC over \d+ test cells: ([\d.]+)", printed).group(1)) > 0.85
    assert max(map(float, re.findall(r"logistic: AUC ([\d.]+)", printed))) < 0.7
    assert "The folds leak, so a score is no evidence" in printed


def test_the_notebook_of_own_models(tmp_path):
    end = "print(set(ho.get.comparison(adata, 'probabilities')['method']))"
    printed = run(["-W", "ignore", "-c", cells_of(ROOT / "tutorials" / "bring_your_own_model.ipynb", end)], tmp_path)
    for name in ("another tool", "forest on donors", "15 neighbours", "pseudobulk_logistic"):
        assert name in printed.splitlines()[-1]


def test_the_out_of_core_notebook(tmp_path):
    end = "import dask.array; assert isinstance(adata.X, dask.array.Array)"
    printed = run(["-W", "ignore", "-c", cells_of(ROOT / "tutorials" / "out_of_core.ipynb", end)], tmp_path)
    assert float(re.search(r"largest difference of a log-probability: (\S+)", printed).group(1)) < 1e-4


@pytest.mark.parametrize("data", ["real", "simulated"])
def test_the_forecasting_notebook(tmp_path, monkeypatch, data):
    use_data(monkeypatch, tmp_path, data, "chu2016/chu2016_100tf.h5ad")
    printed = run(["-W", "ignore", "-c", cells_of(ROOT / "tutorials" / "forecasting.ipynb")], tmp_path)
    assert "one target time: the result holds for this experiment only" in printed


@pytest.mark.parametrize("data", ["real", "simulated"])
def test_the_perturbation_notebook(tmp_path, monkeypatch, data):
    use_data(monkeypatch, tmp_path, data, "norman2019/norman19_mcfaline23_devel.h5ad")
    printed = run(["-W", "ignore", "-c", cells_of(ROOT / "tutorials" / "perturbation.ipynb")], tmp_path)
    assert "No test perturbation is in train or val with the same targets" in " ".join(printed.split())
    called, real, false = map(int, re.search(r"(\d+) called of (\d+) that are real; (\d+) of", printed).groups())
    assert real > called > 20
    assert false <= 0.1 * called


def test_the_lmna_notebook(tmp_path, monkeypatch):
    monkeypatch.setenv("HELDOUT_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("HELDOUT_LMNA_CELLS", "12")
    printed = run(["-W", "ignore", str(ROOT / "tutorials" / "lmna.py"), "--cells", "12"], tmp_path)
    assert "Cannot be decided for a new library: " in printed
    assert "Cannot be decided for a new donor: with one donor of control" in printed
    tried = re.findall(r"A_d\d_e\d+_b\d+_\w+ .* (True|False)", printed)
    assert sorted(tried) == ["False"] * 5 + ["True"]
    assert len(list((tmp_path / "lmna_output").glob("*.png"))) == 3


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
    assert "--" in helps[script]

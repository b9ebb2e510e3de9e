"""What the README and the tutorials show runs as a stranger would run it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(arguments: list[str], folder: Path) -> str:
    """Run Python in a folder of its own and return what it printed."""
    done = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_readme_snippet(tmp_path):
    (snippet,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    run(["-c", f"import matplotlib; matplotlib.use('Agg')\n{snippet}\nprint(table.shape)"], tmp_path)
    assert (tmp_path / "fitted.h5ad").is_file()


def test_demo(tmp_path):
    printed = run([str(ROOT / "tutorials" / "demo.py")], tmp_path)
    assert "a second process predicts the same bits" in printed
    tables = printed.split("\n\n")
    auc = [
        float(re.search(r"cell\s+mlp\s+([\d.]+)", table)[1]) for table in tables if "cell" in table and "mlp" in table
    ]
    mixed, matched = auc[:2]
    assert mixed < 0.3, "the published inversion"
    assert matched > 0.8
    for name in ("split_mixed", "split_matched", "history", "roc", "roc_mixed", "confusion"):
        assert (tmp_path / "demo_output" / f"{name}.png").stat().st_size > 5_000


def test_donor_leak_explains_itself(tmp_path):
    assert "random label" in run([str(ROOT / "tutorials" / "donor_leak.py"), "--help"], tmp_path)


@pytest.mark.parametrize("script", sorted((ROOT / "benchmarks").glob("bench_*.py")), ids=lambda path: path.stem)
def test_benchmarks_start(script, tmp_path):
    assert "--" in run([str(script), "--help"], tmp_path)

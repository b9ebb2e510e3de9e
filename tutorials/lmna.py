"""The LMNA study as one script: it runs the cells of lmna.ipynb and writes the figures to lmna_output/.

    python tutorials/lmna.py [--cells 300]

The study has eight fits (four splits × Models A and B), a sweep of six configurations, and the comparison over days.
Without the archive of GSE269705 it uses simulated data, with ``--cells`` cells per library.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import time
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import pandas as pd

OUT = Path("lmna_output")


def main() -> None:
    """Run the cells of the notebook; show the value of each last line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=300, help="cells of each simulated library")
    os.environ["HELDOUT_LMNA_CELLS"] = str(parser.parse_args().cells)
    OUT.mkdir(exist_ok=True)
    pd.set_option("display.width", 200, "display.max_columns", 30)
    start, names = time.perf_counter(), {"__name__": "lmna"}
    notebook = json.loads(Path(__file__).with_suffix(".ipynb").read_text())
    for number, cell in enumerate(notebook["cells"]):
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            print(f"\n{text}\n")
            continue
        tree = ast.parse(text)
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, f"cell {number}", "exec"), names)
        shown = None if last is None else eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), names)
        if isinstance(shown, pd.DataFrame | pd.Series):
            print(shown.to_string())
        for figure in map(plt.figure, plt.get_fignums()):
            figure.savefig(OUT / f"figure_{number:02d}.png", dpi=150, bbox_inches="tight")
            plt.close(figure)
    print(f"\n{time.perf_counter() - start:.0f} s; figures are in {OUT}/")


if __name__ == "__main__":
    main()

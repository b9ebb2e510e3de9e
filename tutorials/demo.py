"""The main task, offline: split, prepare on train, fit, score, plot, and keep the fit in the AnnData.

    python tutorials/demo.py [--cells 300]

The script writes the figures and the fitted AnnData to demo_output/. It then checks that a second process, which has
only this file, predicts the same bits.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import scanpy as sc

import heldout as ho

OUT = Path("demo_output")
ORIGINAL = {  # the libraries of the published mixed-day split
    "train": [f"GSM83250{n}" for n in (46, 47, 48, 50, 51, 53, 55, 57)],
    "val": ["GSM8325049", "GSM8325054"],
    "test": ["GSM8325052", "GSM8325056"],
}
STUDY = ho.model.MLPConfig(  # options of the study; the defaults stop by libraries, which hides its shortcut
    n_hidden=512, patience=8, monitor="cell_auc", n_inner_folds=0, weight_decay=0.0, balanced=False, calibrated=False
)
RELOAD = """
import sys, anndata as ad, numpy as np, heldout as ho
adata = ad.read_h5ad(sys.argv[1])
before = {key: adata.obsm[f"{key}_log_probability"].copy() for key in ("model_a", "model_b")}
for key, stored in before.items():
    ho.tl.predict(adata, key)
    assert np.array_equal(adata.obsm[f"{key}_log_probability"], stored), key
print("a second process predicts the same bits")
"""


def prepare(adata):
    """Normalise with scanpy, then choose and scale genes on the train cells."""
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    ho.pp.highly_variable_genes(adata, n_top_genes=1000)
    ho.pp.scale(adata, max_value=10)


def show(report) -> None:
    """Print the report, and the AUC of single cells."""
    print(report)
    cells = report[(report["level"] == "cell") & (report["metric"] == "auc")]
    print("AUC of cells:", ", ".join(f"{row.method} {row.estimate:.3f}" for row in cells.itertuples()), "\n")


def save(axes, name: str) -> None:
    """Write the figure of a plot."""
    figure = axes.figure if hasattr(axes, "figure") else axes[0].figure
    figure.savefig(OUT / name, dpi=150, bbox_inches="tight")
    print(f"  {OUT / name}")


def main() -> None:
    """Run the job."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=300, help="cells of each of the twelve libraries")
    n_cells = parser.parse_args().cells
    OUT.mkdir(exist_ok=True)
    raw = ho.datasets.lmna_simulated(n_cells=n_cells, rng=1)
    print(f"12 simulated libraries, 8 control and 4 patient, {raw.n_obs} cells × {raw.n_vars} genes\n")

    mixed = raw.copy()
    ho.pp.split_assigned(mixed, "library", **ORIGINAL, label_key="genotype")
    prepare(mixed)
    ho.tl.genotype(mixed, "genotype", config=STUDY, key_added="model_a")
    print("Published mixed-day split (test: control of day 19, patient of day 16). The model has learnt the day:")
    show(ho.tl.evaluate(mixed, "model_a"))

    adata = raw.copy()
    ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=19, val=0)
    prepare(adata)
    ho.tl.genotype(adata, "genotype", config=STUDY, key_added="model_a")
    print("Matched days (test: both libraries of day 19), Model A:")
    show(ho.tl.evaluate(adata, "model_a"))
    ho.tl.genotype(adata, "genotype", auxiliary_key="day", config=STUDY, key_added="model_b")
    print("Model B on the same split. It has a second head for the day:")
    show(ho.tl.evaluate(adata, "model_b", baselines=["majority"]))

    two_days = raw.copy()
    ho.pp.split_matched(two_days, "library", "day", label_key="genotype", test=[16, 19], val=0)
    prepare(two_days)
    ho.tl.genotype(two_days, "genotype", config=STUDY, key_added="model_a")
    print("Two matched days in test, with two libraries per class. Now there is an interval, but a wide one:")
    show(ho.tl.evaluate(two_days, "model_a"))

    print("figures:")
    save(ho.pl.split(mixed, match_key="day"), "split_mixed.png")
    save(ho.pl.split(adata), "split_matched.png")
    save(ho.pl.history(adata, "model_a"), "history.png")
    save(ho.pl.roc(adata, "model_a"), "roc.png")
    save(ho.pl.roc(mixed, "model_a"), "roc_mixed.png")
    save(ho.pl.confusion(adata, "model_a"), "confusion.png")

    path = OUT / "fitted.h5ad"
    adata.write_h5ad(path)
    print(f"fitted AnnData:\n  {path}")
    subprocess.run([sys.executable, "-c", RELOAD, str(path)], check=True)


if __name__ == "__main__":
    main()

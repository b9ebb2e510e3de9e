"""Draw every picture of heldout.pl on simulated data, for the gallery of the documentation.

    python docs/draw_gallery.py docs/generated/gallery

The build of the documentation runs it (docs/conf.py). Each picture is 89 mm wide, a column of a journal, and is drawn
for light and for dark pages. The tests draw the same pictures at other sizes.
"""

from __future__ import annotations

import functools
import os
import sys
import tempfile
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import scanpy as sc

import heldout as ho

COLUMN = (89 / 25.4, 66 / 25.4)
"""Width and height of a picture in inches: a column of a journal."""

study = functools.cache


def logged(adata):
    """The same data, log-normalised."""
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    return adata


@study
def libraries():
    """12 libraries of 7 days, with day 19 held out, and two fits."""
    adata = ho.datasets.lmna_simulated(n_cells=40, n_genes=200)
    ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=19, val=[0])
    logged(adata)
    ho.tl.genotype(adata, "genotype", method="logistic")
    ho.tl.evaluate(adata, "genotype", n_bootstrap=50)
    network = ho.model.MLPConfig(max_epochs=12, n_hidden=16)
    ho.tl.genotype(adata, "genotype", auxiliary_key="day", config=network, key_added="mlp")
    ho.pp.folds(adata, "library", "genotype", n_folds=4)
    ho.tl.compare(adata, "genotype", methods=["majority", "nearest_centroid", "logistic"])
    return adata


@study
def donors(n: int = 40):
    """Donors of two classes and of three grades, a part of them held out."""
    adata = ho.datasets.lmna_simulated(n_cells=max(5 * n // 12, 30), n_genes=100)
    number = np.arange(adata.n_obs) * n // adata.n_obs
    adata.obs["donor"] = [f"donor{i + 1}" for i in number]
    adata.obs["status"] = pd.Categorical(np.array(["healthy", "ill"])[number % 2])
    adata.obs["grade"] = pd.Categorical(np.array(["none", "mild", "severe"])[number % 3])
    rng = np.random.default_rng(0)
    counts = adata.X.toarray()
    lift = 1 + np.clip(rng.normal(0.4, 0.5, n), 0, None)[number] * (number % 2)
    counts[:, :10] = rng.poisson(counts[:, :10] * lift[:, None] + 0.5 * lift[:, None])
    adata.X = type(adata.X)(counts.astype(np.float32))
    logged(adata)
    ho.pp.split_groups(adata, "donor", "status", test=0.5, val=0)
    ho.tl.genotype(adata, "status", method="logistic", key_added="genotype")
    ho.tl.evaluate(adata, "genotype", baselines=["majority"], n_bootstrap=50)
    return adata


@study
def shrunken():
    """The 400 donors with a method that divides its logits by a temperature."""
    adata = donors(400).copy()
    ho.tl.genotype(adata, "status", method="pseudobulk_shrunken", key_added="shrunken")
    ho.tl.evaluate(adata, "shrunken", baselines=["majority"], n_bootstrap=50)
    return adata


@study
def grades():
    """24 donors of three grades."""
    adata = donors(24).copy()
    ho.pp.split_groups(adata, "donor", "grade", test=0.5, val=0, key_added="grades")
    ho.tl.genotype(adata, "grade", method="logistic", split_key="grades", key_added="grade")
    ho.tl.evaluate(adata, "grade", baselines=["majority"], n_bootstrap=50)
    return adata


@study
def many():
    """400 donors and their split."""
    adata = ho.datasets.lmna_simulated(n_cells=200, n_genes=100)
    number = np.arange(adata.n_obs) // 6
    adata.obs["donor"] = [f"donor{i + 1}" for i in number]
    adata.obs["status"] = pd.Categorical(np.array(["healthy", "ill"])[number % 2])
    ho.pp.split_groups(adata, "donor", "status", test=0.25, val=0.1)
    return adata


@study
def nested():
    """24 donors in four outer folds of three inner folds."""
    adata = donors(24).copy()
    ho.pp.folds(adata, "donor", "status", n_folds=4, n_inner=3, key_added="nested")
    return adata


@study
def studies():
    """Scores of five methods on twelve simulated data sets: what a benchmark over data sets has."""
    rng = np.random.default_rng(0)
    quality = {"pseudobulk_logistic": 0.8, "logistic": 0.6, "mlp": 0.55, "majority": 0.0, "qc_logistic": 0.1}
    scores = rng.normal(0, 0.3, (12, 1)) + rng.normal(list(quality.values()), 0.15, (12, len(quality)))
    return pd.DataFrame(0.5 + scores / 2, columns=list(quality))


@study
def course():
    """A time course with the last day held out."""
    adata = logged(ho.datasets.branching_simulated(n_cells=60, n_genes=150))
    ho.pp.split_time(adata, "time", test=96, val=72)
    ho.tl.forecast(adata, "time", method="damped_shift")
    ho.tl.evaluate(adata, "forecast", baselines=["persistence", "pooled_past"])
    return adata


@study
def genes():
    """The same time course with a part of the genes held out."""
    adata = logged(ho.datasets.branching_simulated(n_cells=60, n_genes=150))
    ho.pp.split_genes(adata, val=0.2, test=0.3)
    ho.tl.forecast_genes(adata, "time", method="ridge")
    ho.tl.evaluate(adata, "forecast_genes", n_bootstrap=50)
    return adata


@study
def modules():
    """The same time course with whole modules of genes held out."""
    adata = logged(ho.datasets.branching_simulated(n_cells=60, n_genes=150))
    ho.pp.split_time(adata, "time", test=96, val=72)
    ho.pp.split_genes(adata, by="module", val=0.2, test=0.3)
    return adata


@study
def published():
    """Two forecasts of cells and one of genes of the same time course."""
    adata = genes().copy()
    ho.pp.split_time(adata, "time", test=96)
    for method in ("reversion", "feedforward_published"):
        config = ho.model.PublishedConfig(max_epochs=3, n_chains=200) if method == "feedforward_published" else None
        ho.tl.forecast(adata, "time", method=method, config=config, key_added=method)
        ho.tl.evaluate(adata, method, baselines=["persistence"])
    return adata


@study
def screen():
    """A screen with held-out combinations."""
    adata = logged(ho.datasets.perturbations_simulated(n_singles=12, n_doubles=40, n_genes=100, n_cells=20))
    ho.pp.split_perturbations(adata, "perturbation", hold_out="combination", val=0.4, test=0.4)
    ho.tl.perturbation(adata, method="additive")
    ho.tl.evaluate(adata, "perturbation", baselines=["no_change", "mean", "linear"], n_bootstrap=50)
    ho.tl.interactions(adata, "perturbation", n_top_genes=None, scale="none")
    return adata


@study
def profiles():
    """Predicted profiles of the held-out combinations, with intervals."""
    return ho.tl.predict_profiles(screen(), coverage=0.9)


@study
def predictions():
    """Predictions of the interactions by two methods."""
    adata = screen()
    measured = ho.get.interactions(adata)
    wide = {
        name: measured.pivot(index="perturbation", columns="gene", values=name) for name in ("observed", "additive")
    }
    noise = np.random.default_rng(0).normal(size=wide["observed"].shape)
    frames = {"half of the deviation": (wide["observed"] + wide["additive"]) / 2, "noisy": wide["observed"] + noise / 4}
    found = {}
    for name, frame in frames.items():
        found[name] = ho_profiles(frame)
    return found


def ho_profiles(frame):
    """A table of perturbations × genes as an AnnData."""
    import anndata as ad

    adata = ad.AnnData(frame.to_numpy(), obs=pd.DataFrame({"perturbation": frame.index.tolist()}, index=frame.index))
    adata.var_names = [str(gene) for gene in frame.columns]
    return adata


@study
def audited():
    """An audit of a split by cell, which leaks, and of a split by library."""
    adata = libraries().copy()
    ho.pp.split_cells(adata, val=0, key_added="by_cell")
    ho.tl.audit(adata, "library", "genotype", split_key="by_cell", key_added="leaking")
    ho.tl.audit(adata, "library", "genotype")
    return adata


@study
def sheet():
    """Libraries that were read with a quality threshold."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        cells = ho.datasets.lmna_simulated(n_cells=60, n_genes=400)
        paths = {}
        for name in cells.obs["library"].unique():
            paths[name] = folder / f"{name}.h5ad"
            cells[cells.obs["library"] == name].write_h5ad(paths[name])
        return ho.pp.read_libraries(
            paths, folder / "lmna.zarr", min_genes=45, max_pct_mito=None, n_cells=50
        ).to_memory()


PICTURES = {
    "split_matched": lambda **where: ho.pl.split(libraries(), **where),
    "split_donors": lambda **where: ho.pl.split(donors(), **where),
    "split_two": lambda **where: ho.pl.split(libraries(), group_key="genotype", **where),
    "split_many": lambda **where: ho.pl.split(many(), **where),
    "split_time": lambda **where: ho.pl.split(course(), **where),
    "split_perturbations": lambda **where: ho.pl.split(screen(), **where),
    "split_genes": lambda **where: ho.pl.split(genes(), "gene_split", **where),
    "split_modules": lambda **where: ho.pl.split(modules(), "gene_split", **where),
    "folds": lambda **where: ho.pl.folds(libraries(), **where),
    "folds_nested": lambda **where: ho.pl.folds(nested(), "nested", **where),
    "leak_map": lambda **where: ho.pl.leak_map(audited(), **where),
    "critical_differences": lambda **where: ho.pl.critical_differences(studies(), metric="AUC", **where),
    "critical_differences_few": lambda **where: ho.pl.critical_differences(studies().head(4), metric="AUC", **where),
    "audit": lambda **where: ho.pl.audit(audited(), "leaking", **where),
    "audit_passed": lambda **where: ho.pl.audit(audited(), **where),
    "roc": lambda **where: ho.pl.roc(donors(), "genotype", **where),
    "roc_two": lambda **where: ho.pl.roc(libraries(), "genotype", **where),
    "roc_grades": lambda **where: ho.pl.roc(grades(), "grade", **where),
    "confusion": lambda **where: ho.pl.confusion(donors(), "genotype", level="group", **where),
    "confusion_grades": lambda **where: ho.pl.confusion(grades(), "grade", **where),
    "groups": lambda **where: ho.pl.groups(donors(), "genotype", **where),
    "groups_two": lambda **where: ho.pl.groups(libraries(), "genotype", **where),
    "groups_grades": lambda **where: ho.pl.groups(grades(), "grade", label="severe", **where),
    "groups_many": lambda **where: ho.pl.groups(donors(400), "genotype", **where),
    "calibration": lambda **where: ho.pl.calibration(shrunken(), "shrunken", **where),
    "calibration_few": lambda **where: ho.pl.calibration(donors(), "genotype", **where),
    "calibration_grades": lambda **where: ho.pl.calibration(grades(), "grade", label="severe", **where),
    "paired": lambda **where: ho.pl.paired(libraries(), method="logistic", baseline="majority", **where),
    "power": lambda **where: ho.pl.power(unit="donor", **where),
    "skill": lambda **where: ho.pl.skill(course(), "forecast", **where),
    "forecast": lambda **where: ho.pl.forecast(course(), "forecast", **where),
    "genes_per_cell": lambda **where: ho.pl.genes_per_cell(libraries(), "day", threshold=60, **where),
    "coverage": lambda **where: ho.pl.coverage(screen(), "perturbation", **where),
    "changes": lambda **where: ho.pl.changes(profiles(), profiles().obs_names[0], **where),
    "qc": lambda **where: ho.pl.qc(sheet(), **where),
}
"""Pictures of one panel. Each takes ``ax`` or ``figsize``."""

PANELS = {
    "leaderboard": lambda **where: ho.pl.leaderboard(screen(), "perturbation", **where),
    "leaderboard_genotype": lambda **where: ho.pl.leaderboard(donors(), "genotype", **where),
    "history": lambda **where: ho.pl.history(libraries(), "mlp", **where),
    "published_errors": lambda **where: ho.pl.published_errors(published(), **where),
    "interactions": lambda **where: ho.pl.interactions(screen(), **where),
    "interactions_curve": lambda **where: ho.pl.interactions(screen(), predictions=predictions(), **where),
    "trajectories": lambda **where: ho.pl.trajectories(genes(), "forecast_genes", n_genes=4, **where),
}
"""Pictures of several panels. Each takes ``axes`` or ``figsize``."""


def figure_of(drawn):
    """The figure of what a plot returned."""
    return np.ravel(np.asarray(drawn, dtype=object))[0].figure


def draw(folder: Path, names=None) -> None:
    """Draw every picture into a folder, for light and dark pages."""
    folder.mkdir(parents=True, exist_ok=True)
    warnings.filterwarnings("ignore")
    for name, picture in (PICTURES | PANELS).items():
        if names and name not in names:
            continue
        for style in ("default", "dark_background"):
            with plt.style.context(style), mpl.rc_context({"savefig.transparent": True}):
                figure = figure_of(picture(figsize=COLUMN))
                figure.savefig(folder / f"{name}{'_dark' if style != 'default' else ''}.png", dpi=200)
                plt.close(figure)


def draw_all(folder: Path) -> None:
    """Draw every picture in two processes: pictures of time courses and perturbations, which share data, and others."""
    names = set(PICTURES | PANELS)
    shared = {"split_time", "split_perturbations", "skill", "forecast", "coverage", "changes", "leaderboard"}
    shared |= {"interactions", "interactions_curve", "published_errors", "trajectories", "power", "qc"}
    with ProcessPoolExecutor(2) as pool:
        for half in [pool.submit(draw, folder, shared), pool.submit(draw, folder, names - shared)]:
            half.result()


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if sys.argv[2:]:
        draw(Path(sys.argv[1]), sys.argv[2:])
    else:
        draw_all(Path(sys.argv[1]))

"""Level and power of the audit item too_good: test sets that were chosen by results.

    python benchmarks/audit_chosen_tests.py [--clean 200] [--planted 20] [--first 2000] [--only onek1k simulated]

Clean data are random splits of whole donors. In OneK1K, each donor has a random label, and a random 80 % of the cells
are kept. In simulations, the label has no effect, a weak effect or a strong effect that differs between donors. An
alarm on these data is a false alarm; the level is 1 %. In the planted data, test cells that a model of the train cells
gets wrong are dropped, or the test donors are those that are easiest to predict. Printed are shares of the data sets
with an alarm and their standard errors, as Markdown. HELDOUT_DATA_DIR names the folder of the real data.
"""

from __future__ import annotations

import argparse
import logging
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
from audit_units import onek1k
from scipy import sparse
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline

import heldout as ho

if TYPE_CHECKING:
    from collections.abc import Callable


def random_labels(seed: int) -> ad.AnnData:
    """OneK1K with a random label for each donor."""
    rng = np.random.default_rng(seed)
    adata = onek1k(seed)
    adata = adata[rng.random(adata.n_obs) < 0.8].copy()
    donors = rng.permutation(np.unique(adata.obs["donor"]))
    label = {donor: ("patient", "control")[i % 2] for i, donor in enumerate(donors)}
    adata.obs["label"] = adata.obs["donor"].map(label).to_numpy()
    return adata


def simulate(seed: int, *, effect: float, n: int = 30, genes: int = 300, classes: int = 2) -> ad.AnnData:
    """Simulate donors of some classes. The label shifts 30 genes, in each donor by another factor."""
    rng = np.random.default_rng(seed)
    base, states = rng.normal(0, 1, genes), rng.normal(0, 0.5, (3, genes))
    shift = np.where(np.arange(genes) < 30, rng.normal(0, effect, genes), 0)
    blocks, donors, labels = [], [], []
    for i in range(n):
        size = int(rng.integers(40, 160))
        state = rng.choice(3, size=size, p=rng.dirichlet([5, 5, 5]))
        log = base + rng.normal(0, 0.2, genes) + states[state] + i % classes * shift * rng.lognormal(0, 0.5)
        depth = rng.lognormal(np.log(1500), 0.3, size)[:, None]
        blocks.append(rng.poisson(np.exp(log) / np.exp(log).sum(axis=1, keepdims=True) * depth))
        donors += [f"D{i}"] * size
        labels += [("control", "patient", "carrier")[i % classes]] * size
    obs = pd.DataFrame({"donor": donors, "label": labels}, index=[f"cell{i}" for i in range(len(donors))])
    return ad.AnnData(sparse.csr_matrix(np.concatenate(blocks).astype(np.float32)), obs=obs)


SOURCES: dict[str, Callable[[int], ad.AnnData]] = {
    "onek1k": random_labels,
    "simulated, no effect": lambda seed: simulate(seed, effect=0.0),
    "simulated, weak effect": lambda seed: simulate(seed, effect=0.15),
    "simulated, strong effect": lambda seed: simulate(seed, effect=0.5),
    "simulated, weak effect, 3 classes": lambda seed: simulate(seed, effect=0.15, classes=3),
    "simulated, strong effect, 14 donors": lambda seed: simulate(seed, effect=0.5, n=14),
}


def log_values(adata: ad.AnnData) -> np.ndarray:
    counts = adata.X.toarray()
    return np.log1p(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1) * 1e4)


def dropped(model: object) -> Callable[[ad.AnnData, np.random.Generator], ad.AnnData]:
    """Drop 70 % of the test cells that a model of the train cells gets wrong."""

    def plant(adata: ad.AnnData, rng: np.random.Generator) -> ad.AnnData:
        X, label = log_values(adata), adata.obs["label"].to_numpy()
        train = (adata.obs["split"] == "train").to_numpy()
        right = model.fit(X[train], label[train]).predict(X) == label
        return adata[train | right | (rng.random(adata.n_obs) < 0.3)].copy()

    return plant


def _accuracy(X: np.ndarray, label: np.ndarray, donor: np.ndarray, test: np.ndarray) -> float:
    train = ~np.isin(donor, test)
    return float((LogisticRegression(max_iter=1000).fit(X[train], label[train]).predict(X) == label)[~train].mean())


def best_split(n_tried: int) -> Callable[[ad.AnnData, np.random.Generator], ad.AnnData]:
    """Keep the best of several random splits, by the accuracy of a logistic regression on components."""

    def plant(adata: ad.AnnData, rng: np.random.Generator) -> ad.AnnData:
        X = PCA(30, random_state=0).fit_transform(log_values(adata))
        label, donor = adata.obs["label"].to_numpy(), adata.obs["donor"].to_numpy()
        classes = [np.unique(donor[label == name]) for name in np.unique(label)]
        n_test = [
            adata.obs["donor"][(adata.obs["split"] == "test") & (label == name)].nunique() for name in np.unique(label)
        ]
        tried = [
            np.concatenate([rng.choice(names, n, replace=False) for names, n in zip(classes, n_test, strict=True)])
            for _ in range(n_tried)
        ]
        best = max(tried, key=lambda test: _accuracy(X, label, donor, test))
        adata.obs["split"] = np.where(np.isin(donor, best), "test", "train")
        return adata

    return plant


def easiest(adata: ad.AnnData, rng: np.random.Generator) -> ad.AnnData:
    """Hold out the donors of each class that a model of all other donors predicts best."""
    X = PCA(30, random_state=0).fit_transform(log_values(adata))
    label, donor = adata.obs["label"].to_numpy(), adata.obs["donor"].to_numpy()
    names = np.unique(donor)
    accuracy = np.array([_accuracy(X, label, donor, np.array([name])) for name in names])
    classes = np.array([label[donor == name][0] for name in names])
    chosen = []
    for name in np.unique(classes):
        inside = np.flatnonzero(classes == name)
        n = adata.obs["donor"][(adata.obs["split"] == "test") & (label == name)].nunique()
        chosen += list(names[inside[np.argsort(-accuracy[inside])[:n]]])
    adata.obs["split"] = np.where(np.isin(donor, chosen), "test", "train")
    return adata


PLANTS = {
    "dropped: logistic regression on genes": dropped(LogisticRegression(C=0.01, max_iter=1000)),
    "dropped: logistic regression on 30 components": dropped(
        make_pipeline(PCA(30, random_state=0), LogisticRegression(max_iter=1000))
    ),
    "dropped: random forest": dropped(RandomForestClassifier(60, min_samples_leaf=3, random_state=0)),
    "dropped: 15 nearest neighbours": dropped(make_pipeline(PCA(20, random_state=0), KNeighborsClassifier(15))),
    "the easiest donors held out": easiest,
    "the best of 50 random splits": best_split(50),
}


def split(source: str, seed: int) -> ad.AnnData:
    """Hold out 30 % of the donors (half of them for few donors)."""
    adata = SOURCES[source](seed)
    ho.pp.split_groups(adata, "donor", "label", val=0, test=0.5 if source.endswith("14 donors") else 0.3, rng=seed)
    adata.uns.clear()
    adata.obs["split"] = adata.obs["split"].astype(str)
    return adata


def alarm(adata: ad.AnnData) -> bool:
    table = ho.tl.audit(adata, group_key="donor", label_key="label", items=["too_good"])
    (status,) = table.loc[table["item"] == "too_good", "status"].astype(str)
    if status not in {"warn", "pass"}:
        msg = f"too_good was {status}."
        raise RuntimeError(msg)
    return status == "warn"


def rate(found: list[bool]) -> str:
    """Share of alarms with its standard error."""
    share = float(np.mean(found))
    return f"{sum(found)} of {len(found)} ({share:.1%} ± {np.sqrt(share * (1 - share) / len(found)):.1%})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clean", type=int, default=200)
    parser.add_argument("--planted", type=int, default=20)
    parser.add_argument("--first", type=int, default=2000, help="first seed")
    parser.add_argument("--only", nargs="*", default=["onek1k", "simulated"])
    asked = parser.parse_args()
    logging.getLogger("heldout").setLevel(logging.ERROR)
    sources = [name for name in SOURCES if name.split(",")[0] in asked.only]
    for source in sources if asked.clean else []:
        found = [alarm(split(source, seed)) for seed in range(asked.first, asked.first + asked.clean)]
        print(f"| clean | {source} | {rate(found)} |", flush=True)
    for what, plant in PLANTS.items() if asked.planted else []:
        for source in (name for name in sources if name in {"onek1k", "simulated, weak effect"}):
            seeds = range(asked.first, asked.first + asked.planted)
            found = [alarm(plant(split(source, seed), np.random.default_rng(seed))) for seed in seeds]
            print(f"| {what} | {source} | {rate(found)} |", flush=True)


if __name__ == "__main__":
    main()

"""False alarms of audit items that use the label, in clean splits: unit_variation and disguised_label.

    python benchmarks/audit_label_levels.py [--n 200] [--first 1000] [--items unit_variation] [--only onek1k kang simulated]

In each split, half of the cells are drawn, each donor has a random label, and random donors are held out. Nothing was
corrected. X has log-normalised values. There are components of all cells, and in obs a random number and a random
category for each donor, the depth of each cell, and the mean depth of its neighbours. "alarms" are splits in which the
item warns or fails, "at most" is the upper bound of Clopper and Pearson for their share (95 % confidence, one-sided).
The level of both items is 1 %. Seeds from 1000 were not used to develop the items. HELDOUT_DATA_DIR names the folder of
the real data. The table is Markdown.
"""

from __future__ import annotations

import argparse
import logging
from typing import TYPE_CHECKING

import numpy as np
import scanpy as sc
from audit_units import kang, onek1k, onek1k_some, simulate, upper
from sklearn.neighbors import NearestNeighbors

import heldout as ho

if TYPE_CHECKING:
    from collections.abc import Callable

    import anndata as ad

SOURCES: dict[str, Callable[[int], ad.AnnData]] = {
    "onek1k, 40 donors": onek1k,
    "onek1k, 20 random donors": onek1k_some,
    "kang, 8 donors": kang,
    "simulated, 24 donors": simulate,
    "simulated, donors do not differ": lambda seed: simulate(seed, donor=0.0),
    "simulated, labels have an effect": lambda seed: with_effect(simulate(seed), seed),
}


def with_effect(adata: ad.AnnData, seed: int) -> ad.AnnData:
    """Double or halve the counts of 20 genes in the donors of odd numbers, which are the patients."""
    rng = np.random.default_rng(seed)
    genes = rng.permutation(adata.n_vars)[:20]
    patient = adata.obs["donor"].str[1:].astype(int).to_numpy() % 2 == 1
    X = adata.X.toarray()
    X[np.ix_(patient, genes)] = rng.binomial(X[np.ix_(patient, genes)].astype(int), 0.5)
    adata.X = X
    adata.obs["label"] = np.where(patient, "patient", "control")
    return adata


def clean(source: str, seed: int) -> ad.AnnData:
    """A clean split with random labels, unless the data have labels."""
    rng = np.random.default_rng(seed)
    adata = SOURCES[source](seed)
    adata = adata[rng.random(adata.n_obs) < 0.5].copy()
    donors = rng.permutation(np.unique(adata.obs["donor"]))
    if "label" not in adata.obs:
        labels = {donor: ("patient", "control")[i % 2] for i, donor in enumerate(donors)}
        adata.obs["label"] = adata.obs["donor"].map(labels).to_numpy()
    test = 0.3 if len(donors) > 10 else 0.5
    ho.pp.split_groups(adata, "donor", "label", val=0, test=test, rng=seed)
    adata.obs["depth"] = np.log(np.asarray(adata.X.sum(axis=1)).ravel() + 1)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    sc.pp.pca(adata, n_comps=15)
    nearest = NearestNeighbors(n_neighbors=15).fit(adata.obsm["X_pca"]).kneighbors(return_distance=False)
    adata.obs["depth of neighbours"] = adata.obs["depth"].to_numpy()[nearest].mean(axis=1)
    for kind, values in (("number", rng.normal(size=len(donors))), ("category", rng.integers(3, size=len(donors)))):
        adata.obs[kind] = adata.obs["donor"].map(dict(zip(donors, values.astype(str), strict=True))).to_numpy()
    return adata


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--first", type=int, default=1000)
    parser.add_argument("--items", nargs="+", default=["unit_variation", "disguised_label"])
    parser.add_argument("--only", nargs="*", default=["onek1k", "kang", "simulated"])
    asked = parser.parse_args()
    logging.getLogger("heldout").setLevel(logging.ERROR)
    print("| item | clean data | splits | alarms | at most | of these fail |\n|---|---|---|---|---|---|", flush=True)
    for source in (name for name in SOURCES if name.split(",")[0] in asked.only):
        found: dict[str, list[set[str]]] = {item: [] for item in asked.items}
        for seed in range(asked.first, asked.first + asked.n):
            table = ho.tl.audit(clean(source, seed), group_key="donor", label_key="label", items=asked.items)
            for item, statuses in found.items():
                statuses.append(set(table.loc[table["item"] == item, "status"].astype(str)))
                if statuses[-1] & {"fail", "warn"}:
                    logging.getLogger(__name__).warning("%s, %s, seed %d: %s", item, source, seed, statuses[-1])
        for item, statuses in found.items():
            alarms = sum(bool(status & {"fail", "warn"}) for status in statuses)
            fail = sum("fail" in status for status in statuses)
            bound = upper(alarms, len(statuses))
            print(f"| {item} | {source} | {len(statuses)} | {alarms} | {bound:.1%} | {fail} |", flush=True)


if __name__ == "__main__":
    main()

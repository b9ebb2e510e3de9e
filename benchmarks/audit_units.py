"""Level and power of the audit item same_unit: test units that are in train under another name.

    python benchmarks/audit_units.py [--clean 200] [--planted 20] [--first 0] [--only onek1k kang simulated]

Clean data are random splits of whole units. In each split, a random 80 % of the cells are kept. "alarms" are splits in
which the item warns or fails, with the upper bound of Clopper and Pearson for their share (95 % confidence, one-sided);
the level of the item is 5 %. --first is the first seed: seeds from 1000 were not used to develop the item. In the planted
data, "found" are the test units with a copy in train that the item names. "not run" are splits in which fewer than half
of the units would be found, or in which units do not differ. OneK1K and Kang are read from HELDOUT_DATA_DIR. Tables are printed as Markdown, in the form of docs/audit.md.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse
from scipy.stats import beta

import heldout as ho

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DATA = Path(os.environ.get("HELDOUT_DATA_DIR", Path(__file__).parents[2] / "shared" / "data"))


def onek1k(seed: int) -> ad.AnnData:
    """40 donors of OneK1K with about 195 cells each."""
    adata = ad.read_h5ad(DATA / "onek1k" / "onek1k_40donors.h5ad")
    adata.obs = pd.DataFrame({"donor": adata.obs["indiv"].astype(str).to_numpy()}, index=adata.obs_names)
    return adata


def onek1k_some(seed: int) -> ad.AnnData:
    """20 random donors of OneK1K."""
    adata = onek1k(seed)
    donors = np.random.default_rng(seed).permutation(adata.obs["donor"].unique())[:20]
    return adata[adata.obs["donor"].isin(donors)].copy()


def kang(seed: int) -> ad.AnnData:
    """8 donors of Kang with about 1,500 cells each."""
    adata = ad.read_h5ad(DATA / "kang2018" / "kang2018_8donors.h5ad")
    adata.obs = pd.DataFrame({"donor": adata.obs["sample_id"].astype(str).to_numpy()}, index=adata.obs_names)
    return adata


def simulate(seed: int, *, donor: float = 0.2, batch: float = 0.0, n: int = 24, genes: int = 400) -> ad.AnnData:
    """Simulate donors with three cell states in shares of their own. Four batches may share an effect."""
    rng = np.random.default_rng(seed)
    base, states = rng.normal(0, 1, genes), rng.normal(0, 0.5, (3, genes))
    batches = rng.normal(0, batch, (4, genes))
    blocks, names = [], []
    for i in range(n):
        size = int(rng.integers(40, 160))
        state = rng.choice(3, size=size, p=rng.dirichlet([5, 5, 5]))
        log = base + rng.normal(0, donor, genes) + batches[i % 4] + states[state]
        mean = np.exp(log) / np.exp(log).sum(axis=1, keepdims=True) * rng.lognormal(np.log(1500), 0.3, size)[:, None]
        blocks.append(rng.poisson(mean).astype(np.float32))
        names += [f"D{i}"] * size
    obs = pd.DataFrame({"donor": names}, index=[f"cell{i}" for i in range(len(names))])
    return ad.AnnData(sparse.csr_matrix(np.concatenate(blocks)), obs=obs)


SOURCES: dict[str, Callable[[int], ad.AnnData]] = {
    "onek1k": onek1k,
    "onek1k, 20 random donors": onek1k_some,
    "kang": kang,
    "simulated": simulate,
    "simulated, donors do not differ": lambda seed: simulate(seed, donor=0.0),
    "simulated, four batches that nobody declared": lambda seed: simulate(seed, batch=0.2),
}


def halves(adata: ad.AnnData, rng: np.random.Generator) -> ad.AnnData:
    """Put half of the cells of each test donor into train under another name."""
    moved = (adata.obs["split"] == "test").to_numpy() & (rng.random(adata.n_obs) < 0.5)
    adata.obs["donor"] = np.where(moved, adata.obs["donor"] + " copy", adata.obs["donor"])
    adata.obs["split"] = np.where(moved, "train", adata.obs["split"].astype(str))
    return adata


def replicates(adata: ad.AnnData, rng: np.random.Generator) -> ad.AnnData:
    """Draw six bootstrap replicates of the sum of each donor, and put about a third of them into test."""
    rows, names = [], []
    for donor in sorted(adata.obs["donor"].unique()):
        cells = np.flatnonzero(adata.obs["donor"] == donor)
        for replicate in range(6):
            rows.append(np.asarray(adata.X[rng.choice(cells, len(cells))].sum(axis=0)).ravel())
            names.append(f"{donor} copy{replicate}")
    side = np.where(rng.random(len(names)) < 0.3, "test", "train")
    obs = pd.DataFrame({"donor": names, "split": side}, index=[f"sum{i}" for i in range(len(names))])
    return ad.AnnData(np.array(rows, dtype=np.float32), obs=obs, var=adata.var[[]])


def resequenced(adata: ad.AnnData, rng: np.random.Generator) -> ad.AnnData:
    """Sequence the cells of the test donors again for train, half as deep, with 20 % noise of each gene."""
    again = adata[adata.obs["split"] == "test"].copy()
    again.obs_names = [f"{name}-again" for name in again.obs_names]
    again.obs["donor"] = again.obs["donor"] + " copy"
    again.obs["split"] = "train"
    counts = sparse.csr_matrix(again.X)
    share = np.clip(0.5 * rng.lognormal(0, 0.2, adata.n_vars), 0, 1)
    counts.data = rng.binomial(counts.data.astype(int), share[counts.indices]).astype(np.float32)
    again.X = counts
    adata.obs["split"] = adata.obs["split"].astype(str)
    return ad.concat([adata, again])


PLANTS = {
    "half of the cells of each test donor in train": halves,
    "bootstrap replicates of each donor": replicates,
    "test donors sequenced again for train": resequenced,
}


def clean(source: str, seeds: range) -> Iterator[tuple[ad.AnnData, np.random.Generator]]:
    """Random splits of whole donors."""
    for seed in seeds:
        rng = np.random.default_rng(seed)
        adata = SOURCES[source](seed)
        adata = adata[rng.random(adata.n_obs) < 0.8].copy()
        ho.pp.split_groups(adata, "donor", val=0, test=0.3, rng=seed)
        adata.uns.clear()
        yield adata, rng


def judged(adata: ad.AnnData) -> tuple[str, int]:
    """Status of the item, and the number of test units that it names."""
    table = ho.tl.audit(adata, group_key="donor", items=["same_unit"])
    row = table[table["item"] == "same_unit"].iloc[0]
    named = re.match(r"(\d+) of", row["finding"])
    return str(row["status"]), int(named[1]) if named and row["status"] in {"warn", "fail"} else 0


def with_copy(adata: ad.AnnData) -> int:
    """Number of test units with a copy in train."""
    origin = adata.obs["donor"].str.replace(r" copy\d*$", "", regex=True)
    test = adata.obs["split"] == "test"
    return adata.obs["donor"][test & origin.isin(set(origin[~test]))].nunique()


def upper(alarms: int, n: int) -> float:
    """Upper bound of Clopper and Pearson for a share, one-sided, with 95 % confidence."""
    return 1.0 if alarms >= n else float(beta.ppf(0.95, alarms + 1, n - alarms))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clean", type=int, default=200)
    parser.add_argument("--planted", type=int, default=20)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=["onek1k", "kang", "simulated"])
    asked = parser.parse_args()
    logging.getLogger("heldout").setLevel(logging.ERROR)

    def seeds(n: int) -> range:
        return range(asked.first, asked.first + n)

    sources = [name for name in SOURCES if name.split(",")[0] in asked.only]
    print(
        "\n| clean data | splits | alarms | at most | of these fail | not run |\n|---|---|---|---|---|---|", flush=True
    )
    for source in sources:
        found = [judged(adata)[0] for adata, _ in clean(source, seeds(asked.clean))]
        n, fail = len(found), found.count("fail")
        alarms = fail + found.count("warn")
        print(f"| {source} | {n} | {alarms} | {upper(alarms, n):.1%} | {fail} | {found.count('not run')} |", flush=True)
    if not asked.planted:
        return
    print("\n| planted | data | splits with an alarm | test units found |\n|---|---|---|---|")
    for what, plant in PLANTS.items():
        for source in (name for name in sources if "," not in name):
            runs = [plant(adata, rng) for adata, rng in clean(source, seeds(asked.planted))]
            found = [judged(adata) for adata in runs]
            alarms = np.mean([status in {"warn", "fail"} for status, _ in found])
            share = sum(n for _, n in found) / sum(map(with_copy, runs))
            print(f"| {what} | {source} | {alarms:.0%} | {share:.0%} |", flush=True)


if __name__ == "__main__":
    main()

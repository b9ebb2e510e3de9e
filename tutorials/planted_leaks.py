"""Plant leaks in clean data, one at a time. Test whether the audit names each leak and stays silent on the clean data.

python tutorials/planted_leaks.py                 # simulated data
python tutorials/planted_leaks.py onek1k          # 40 donors of OneK1K, with HELDOUT_DATA_DIR set
python tutorials/planted_leaks.py --clean 200     # how often each item raises a false alarm on clean simulations
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import pandas as pd
from _clean_data import hold_out, onek1k, simulate
from _leaks import LEAKS

import heldout as ho
from heldout.auditing.registry import ITEMS

if TYPE_CHECKING:
    import anndata as ad


def audited(adata: ad.AnnData, **options: Any) -> pd.DataFrame:
    """Audit with the covariates of these data, unless the leak names others."""
    options = {"covariate_keys": ["day", "sex"], "match_key": None, **options}
    return ho.tl.audit(adata, **options, rng=0)


def alarms(table: pd.DataFrame) -> list[str]:
    """Return the items that fail or warn, and the power item if it cannot be met."""
    raised = table["status"].isin(["fail", "warn"]) | (
        (table["item"] == "power") & (table["status"] == "unidentifiable")
    )
    return list(dict.fromkeys(table.loc[raised, "item"]))


def plant_all(clean: ad.AnnData) -> pd.DataFrame:
    """Return one row per leak: what was planted, the item that must name it, and the items that raised an alarm."""
    rows = []
    for what, item, plant in LEAKS:
        adata = clean.copy()
        options = plant(adata)
        raised = alarms(audited(adata, **options))
        rows.append(
            {"planted": what, "item": item, "named": item in raised, "also": ", ".join(i for i in raised if i != item)}
        )
    return pd.DataFrame(rows)


def false_alarms(n: int, **size: int) -> pd.DataFrame:
    """Compute the share of clean simulations in which each item fails or warns.

    A day is held out. The item for a shift of the test set is checked on a random split of donors, in which no shift is
    expected.
    """
    raised = pd.DataFrame(0, index=list(ITEMS), columns=["alarms"])
    for seed in range(n):
        adata = hold_out(simulate(seed, **size))
        raised.loc[alarms(audited(adata, items="all"))] += 1
        ho.pp.split_groups(adata, ["library", "donor"], "label", val=0, test=0.25, rng=seed + 10_000)
        raised.loc[alarms(audited(adata, items=["shift"]))] += 1
    return raised.assign(rate=raised["alarms"] / n)


def gaps() -> pd.DataFrame:
    """Compute the AUC of a random label and of the sex of OneK1K donors, for held-out cells and for held-out donors."""
    found = {}
    for label in ("label", "sex"):
        adata = onek1k(0)
        ho.pp.split_groups(adata, "donor", label, val=0, test=0.3)
        table = ho.tl.audit(adata, items=["leakage_gap"])
        found["random label" if label == "label" else label] = table.loc[table["item"] == "leakage_gap", "finding"]
    return pd.concat(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default="simulated", choices=["simulated", "onek1k"])
    parser.add_argument("--clean", type=int, metavar="N", help="audit N clean simulations instead")
    parser.add_argument("--gap", action="store_true", help="measure the leakage gap on OneK1K instead")
    parser.add_argument("--n-cells", type=int, default=40, help="cells of a simulated library")
    arguments = parser.parse_args()
    if arguments.gap:
        print("\n".join(f"{label}: {text}" for (label, _), text in gaps().items()))
        return
    if arguments.clean:
        print(false_alarms(arguments.clean, n_cells=arguments.n_cells).to_string())
        return
    clean = simulate(0, n_cells=arguments.n_cells) if arguments.data == "simulated" else onek1k(0)
    table = audited(hold_out(clean), items="all")
    print(f"Alarms on the clean data: {', '.join(alarms(table)) or 'none'}\n")
    planted = plant_all(clean)
    print(planted.to_string(index=False))
    print(f"\n{int(planted['named'].sum())} of {len(planted)} planted leaks are named.")


if __name__ == "__main__":
    main()

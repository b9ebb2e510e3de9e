"""How often the skill of ``auto`` at a new time is in the range that its past times give.

    python benchmarks/forecast_past_skill.py [--data klein bargaje packer eb chu] [--seed 0]

The targets and cells are those of ``benchmarks/forecast_auto.py``. The range of ``heldout.get.past_skill`` needs at least
three past times, and has its stated probability if past and new times are exchangeable. Rows with a range say whether
the skill at the target, not corrected for the noise floor, is in it, below or above. The range was not tuned on any data.
"""

from __future__ import annotations

import argparse
import logging

import numpy as np
import pandas as pd
from forecast_auto import MANY_GENES, NAMES, cases, courses, few_cells

import heldout as ho


def row(adata: object, options: dict, seed: int) -> dict[str, object]:
    """What the past said about one target, and the skill there."""
    ho.pp.split_time(adata, "time", **options)
    if adata.n_vars > MANY_GENES:
        ho.pp.highly_variable_genes(adata, n_top_genes=MANY_GENES)
        adata = adata[:, adata.var["highly_variable"].to_numpy()].copy()
    adata = few_cells(adata, seed)
    ho.tl.forecast(adata, "time", mask_var=None, rng=seed)
    past = ho.get.past_skill(adata).iloc[0]
    report = ho.tl.evaluate(adata, baselines=["persistence"], n_bootstrap=10).table
    skill = float(report.query("role == 'model' and metric == 'skill'")["estimate"].iloc[0])
    kept = past[["question", "n", "n_better", "skill_low", "skill_high", "probability"]].to_dict()
    known = np.isfinite(past["probability"])
    side = "below" if skill < past["skill_low"] else "above" if skill > past["skill_high"] else "inside"
    return {**kept, "skill": skill, "where": side if known else ""}


def main() -> None:
    """Print each target, and the share of targets in the range beside the mean of the stated probabilities."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=["klein", "bargaje", "packer", "eb", "chu"], choices=NAMES)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    logging.getLogger("heldout").setLevel(logging.ERROR)
    tables = {}
    for name in arguments.data:
        rows = {}
        for label, adata in courses(name):
            for target, options in cases(np.unique(adata.obs["time"])):
                rows[f"{label} {target}"] = row(adata.copy(), options, arguments.seed)
        tables[name] = pd.DataFrame(rows).T.infer_objects()
        print(f"\n{tables[name].round(2).to_string()}", flush=True)
    every = pd.concat(tables)
    known = every[every["where"] != ""]
    for question, part in known.groupby("question"):
        where = part["where"].value_counts().reindex(["inside", "below", "above"], fill_value=0)
        print(
            f"{question}: {len(part)} targets, {where['inside']} inside (expected {part['probability'].sum():.1f}), "
            f"{where['below']} below, {where['above']} above"
        )


if __name__ == "__main__":
    main()

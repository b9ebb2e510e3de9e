"""Where a forecast of genes is good: scores of modules of genes that vary together in the past."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from heldout._core.verdict import FEW, FEWEST, interval, verdict
from heldout._core.words import counted
from heldout.splitting._gene_codes import number_modules
from heldout.splitting._modules import correlation, find_modules
from heldout.tasks.forecast_genes.evaluate import skills

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heldout.tasks.forecast_genes.features import History

PER_MODULE = 15
"""Evaluated genes of a module, on average, if modules are found here."""

MOST_MODULES = 8
"""Largest number of modules that are found here."""

MOST_GENES = 5000
"""Largest number of genes among which modules are found here."""

REFERENCE = "persistence"

_N_BOOTSTRAP = 2000
_MOST_NAMED = 3
_NOTHING = 0.05
"""A corrected skill up to this is as good as persistence."""


def past_modules(history: History, genes: np.ndarray) -> np.ndarray:
    """Number of the module of some genes, (n,), from the largest, which is 0. NaN for genes that do not vary.

    Modules are branches of Ward's tree over the correlation of the genes in the cells of the history, so genes with the
    same past course and genes that vary together within a time are near each other. There is one for each
    ``PER_MODULE`` genes, and at least two.
    """
    numbers = np.full(len(genes), np.nan)
    varies = history.cells[:, genes].std(axis=0) > 0
    if not 2 <= varies.sum() <= MOST_GENES:
        return numbers
    related, _ = correlation(history.cells, np.arange(len(history.cells)), genes[varies])
    n_modules = int(np.clip(round(varies.sum() / PER_MODULE), 2, MOST_MODULES))
    found = find_modules(related, n_modules)
    numbers[varies] = number_modules(found, np.ones(len(found), dtype=bool))[0]
    return numbers


def module_names(scores: pd.DataFrame) -> list[str | None]:
    """Name of the module of each row, None if it has none."""
    return [None if np.isnan(number) else f"{number:g}" for number in scores["module"]]


def by_module(scores: pd.DataFrame, modules: Sequence[str | None], *, rng: int = 0) -> pd.DataFrame:
    """Scores of the judged method within each module of genes.

    Parameters
    ----------
    scores
        True ``change``, ``predicted`` change and ``floor`` of each gene by each method.
    modules
        Module of each row of ``scores``. Rows with None are left out.
    rng
        Seed of the bootstrap over genes.

    Returns
    -------
    One row for each module, the largest first; see :func:`heldout.get.modules`.
    """
    scores = scores.assign(module=list(modules))
    judged = scores[scores["role"] == "model"]
    best = _best_baseline(scores)
    draws = np.random.default_rng(rng)
    sizes = judged["module"].value_counts()
    order = sorted(sizes.index, key=lambda name: (-sizes[name], _natural(name)))
    rows = []
    for name in order:
        here = judged[judged["module"] == name]
        other = scores[(scores["method"] == best) & (scores["module"] == name)]
        rows.append({"module": name, **_row(here, other, best, draws)})
    return pd.DataFrame(rows, columns=list(COLUMNS))


COLUMNS = (
    "module",
    "method",
    "n",
    "genes",
    "change",
    "rmse",
    "skill",
    "skill_corrected",
    "ci_low",
    "ci_high",
    "verdict",
    "baseline",
    "of_baseline",
)


def _row(here: pd.DataFrame, other: pd.DataFrame, best: str, rng: np.random.Generator) -> dict[str, object]:
    n = len(here)
    drawn = rng.multinomial(n, np.full(n, 1 / n), size=_N_BOOTSTRAP) if n >= FEW else np.empty((0, n))
    weights = np.vstack([np.ones(n), drawn])
    found = _skills(here, weights)
    low, high = interval(found["skill_corrected"], n)
    largest = here["change"].abs().sort_values(ascending=False, kind="stable").index
    row = {name: float(values[0]) for name, values in found.items()}
    of_best = np.nan
    if len(other):
        of_best = float(_skills(other, np.ones((1, n)))["skill_corrected"][0])
    return {
        "method": str(here["method"].iloc[0]),
        "n": n,
        "genes": ", ".join(here.loc[largest[:3], "gene"]),
        "change": float(np.sqrt((here["change"] ** 2).mean())),
        **row,
        "ci_low": low,
        "ci_high": high,
        "verdict": verdict(low, high),
        "baseline": best,
        "of_baseline": of_best,
    }


def _skills(rows: pd.DataFrame, weights: np.ndarray) -> dict[str, np.ndarray]:
    return skills(rows["change"].to_numpy(), rows["predicted"].to_numpy(), rows["floor"].to_numpy(), weights)


def _best_baseline(scores: pd.DataFrame) -> str:
    """Baseline with the smallest squared error over all genes, apart from persistence; empty if there is none."""
    others = scores[(scores["role"] == "baseline") & (scores["method"] != REFERENCE)]
    errors = (others["change"] - others["predicted"]).pow(2).groupby(others["method"]).mean()
    return "" if errors.empty else str(errors.idxmin())


def _natural(name: str) -> tuple[float, str]:
    """Numbers in their order, then names."""
    return (float(name), "") if name.isdecimal() else (np.inf, name)


def sentence(table: pd.DataFrame, module_key: str | None = None) -> str:
    """Name the modules in which the forecast is good, and those in which it is not.

    Modules with one or two genes are left out. Empty with fewer than two other modules. ``module_key`` is the column of
    the modules, None for those that vary together in the past.
    """
    known = table[table["skill_corrected"].notna() & (table["n"] >= FEWEST)]
    if len(known) < 2:
        return ""
    bad = known["skill_corrected"] <= _NOTHING
    good = (known["verdict"] == "better") & ~bad
    parts = [
        _named(known[good], "is better than persistence in"),
        _named(known[bad], "is no better than persistence in"),
        _named(known[~good & ~bad], "is not shown to be better in"),
    ]
    found = "; it ".join(filter(None, parts))
    by = "modules of genes that vary together in the past" if module_key is None else f"{module_key!r} of the genes"
    return f"By {by}, {known['method'].iloc[0]} {found}."


def _named(rows: pd.DataFrame, words: str) -> str:
    shown = rows.sort_values("skill_corrected", ascending=False).head(_MOST_NAMED)
    names = [
        f"{row.module} ({counted(row.n, 'gene')} such as {row.genes.split(', ')[0]}: {row.skill_corrected:.2f})"
        for row in shown.itertuples()
    ]
    if not names:
        return ""
    names += [f"{len(rows) - len(shown)} more"] if len(rows) > len(shown) else []
    listed = " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    return f"{words} {'module' if len(names) == 1 else 'modules'} {listed}"

"""Simulated screen of dose series, with a known response of each perturbation to its dose."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData

from heldout._core.checks import check_integer, check_number, check_rng
from heldout.datasets._lmna import MAX_STRENGTH
from heldout.datasets._screen import (
    COUNTS_PER_GENE,
    DEPTH_SD,
    MIN_GENES,
    Depths,
    check_targets,
    draw_counts,
    draw_screen,
    gene_names,
    generators,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heldout._core.rng import Rng

CONTROL = "control"
_STEEPNESS = (1.0, 2.0)
"""Range of the Hill coefficients."""


def doses_simulated(
    *,
    doses: Sequence[float] = (0.01, 0.1, 1.0, 10.0),
    n_perturbations: int = 12,
    n_genes: int = 200,
    n_cells: int = 25,
    n_control: int | None = None,
    n_contexts: int = 1,
    effect_strength: float = 1.0,
    embedding_share: float = 0.6,
    context_share: float = 0.7,
    rng: Rng = 0,
) -> AnnData:
    """Simulate counts of a screen in which each perturbation is measured at several doses, with known responses.

    The effect at a dose is the full effect of the perturbation times a Hill function of the dose,
    ``dose**h / (dose**h + ec50**h)``. Each perturbation has its own ``ec50``, log-uniform over the range of the doses,
    and its own ``h``, uniform in [1, 2]. Full effects are those of the singles of :func:`perturbations_simulated`.

    Parameters
    ----------
    doses
        Distinct doses > 0 at which each perturbation is measured.
    n_perturbations
        Number of perturbations.
    n_genes
        Number of genes, at least 50.
    n_cells, n_control
        Cells of each perturbation and dose, and control cells, in each context. ``n_control`` is 5 · n_cells by
        default.
    n_contexts
        Number of cell lines, each with its own control profile. The responses to the dose are the same in all of them.
    effect_strength, embedding_share, context_share
        As in :func:`perturbations_simulated`.
    rng
        A seed, a :class:`numpy.random.Generator`, or None for a random seed.

    Returns
    -------
    A new :class:`~anndata.AnnData` (cells × n_genes) with

    `X` : :class:`scipy.sparse.csr_matrix` (dtype `float32`)
        Counts; all values are integers.
    `obs['perturbation']`, `obs['cell_line']` : :class:`pandas.Series` (dtype `category`)
        Name of the perturbation, or ``control``; and the context.
    `obs['dose']` : :class:`pandas.Series` (dtype `float64`)
        The dose, 0 for controls.
    `uns['truth']` : :class:`dict`
        Names: ``perturbations`` (P), ``cell_lines`` (C), ``genes`` (G). ``doses`` (D), ``ec50`` (P,), ``hill`` (P,) and
        ``response`` (P × D): share of the full effect. ``control`` (C × G) and ``profiles`` (C × P × D × G): expected
        log-normalised expression.
    `uns['doses_simulated']` : :class:`dict`
        The arguments.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Examples
    --------
    >>> import heldout as ho
    >>> adata = ho.datasets.doses_simulated(n_perturbations=4, n_genes=100, n_cells=10)
    >>> adata.shape
    (210, 100)
    >>> adata.obs["dose"].value_counts().sort_index().tolist()
    [50, 40, 40, 40, 40]
    """
    n_control = 5 * n_cells if n_control is None else n_control
    numbers = {
        "n_perturbations": n_perturbations,
        "n_genes": n_genes,
        "n_cells": n_cells,
        "n_control": n_control,
        "n_contexts": n_contexts,
    }
    for name, value in numbers.items():
        check_integer(value, name, least={"n_genes": MIN_GENES, "n_perturbations": 2}.get(name, 1))
    check_targets(n_perturbations, "n_perturbations", n_genes)
    check_number(effect_strength, "effect_strength", least=0, most=MAX_STRENGTH)
    shares = {"embedding_share": embedding_share, "context_share": context_share}
    for name, share in shares.items():
        check_number(share, name, least=0, most=1)
    at = _checked_doses(doses)
    check_rng(rng)
    of_truth, of_cells = generators(rng)
    depths = Depths(np.array([COUNTS_PER_GENE * n_genes]))
    truth = _truth(depths, at, numbers, {"effect_strength": float(effect_strength), **shares}, of_truth)
    adata = _cells(truth, depths, of_cells, n_cells=n_cells, n_control=n_control)
    adata.uns["truth"] = truth
    adata.uns["doses_simulated"] = {
        **{name: int(value) for name, value in numbers.items()},
        **{name: float(share) for name, share in shares.items()},
        "effect_strength": float(effect_strength),
        "doses": at,
        "rng": str(rng),
    }
    return adata


def _checked_doses(doses: Sequence[float]) -> np.ndarray:
    """Return the sorted doses."""
    given = list(doses) if isinstance(doses, Iterable) else [doses]
    at = np.sort([check_number(dose, "doses", above=0) for dose in given])
    if not len(at) or (np.diff(at) == 0).any():
        msg = f"doses={given!r} must have at least one number > 0, each once, e.g. (0.1, 1, 10)."
        raise ValueError(msg)
    return np.asarray(at, dtype=np.float64)


def _truth(
    depths: Depths, doses: np.ndarray, numbers: dict[str, int], options: dict[str, float], rng: np.random.Generator
) -> dict[str, Any]:
    """Draw full effects and responses, and compute the profiles."""
    n, n_contexts = numbers["n_perturbations"], numbers["n_contexts"]
    screen = draw_screen(
        depths,
        rng,
        n_singles=n,
        n_doubles=0,
        n_genes=numbers["n_genes"],
        n_contexts=n_contexts,
        interaction_strength=0.0,
        shift_strength=0.0,
        interacting=0.0,
        **options,
    )
    low, high = np.log(doses[[0, -1]])
    ec50 = np.exp(rng.uniform(low, high, n))
    hill = rng.uniform(*_STEEPNESS, n)
    response = 1 / (1 + (ec50[:, None] / doses) ** hill[:, None])
    effects = screen.singles - screen.control[:, None]
    levels = screen.control[:, None, None] + response[None, :, :, None] * effects[:, :, None]
    rates = depths.rate(levels)
    profiles = depths.level(rates / rates.sum(axis=-1, keepdims=True))
    genes = gene_names(numbers["n_genes"])
    return {
        "perturbations": genes[screen.targets],
        "cell_lines": np.array([f"line{c + 1}" for c in range(n_contexts)], dtype=object),
        "genes": genes,
        "doses": doses,
        "ec50": ec50,
        "hill": hill,
        "response": response,
        "control": screen.control,
        "profiles": profiles,
    }


def _cells(truth: dict[str, Any], depths: Depths, rng: np.random.Generator, *, n_cells: int, n_control: int) -> AnnData:
    """Draw the cells of each context, perturbation and dose; controls come first."""
    n_contexts, n, n_doses, n_genes = truth["profiles"].shape
    state = np.repeat(np.arange(1 + n * n_doses), [n_control] + [n_cells] * (n * n_doses))
    context, state = np.repeat(np.arange(n_contexts), len(state)), np.tile(state, n_contexts)
    perturbation = np.where(state == 0, 0, 1 + (state - 1) // n_doses)
    obs = pd.DataFrame(
        {
            "perturbation": pd.Categorical.from_codes(perturbation, categories=[CONTROL, *truth["perturbations"]]),
            "dose": np.where(state == 0, 0.0, truth["doses"][(state - 1) % n_doses]),
            "cell_line": pd.Categorical.from_codes(context, categories=list(truth["cell_lines"])),
        },
        index=[f"cell{i:06d}" for i in range(1, len(state) + 1)],
    )
    rates = depths.rate(
        np.concatenate([truth["control"][:, None], truth["profiles"].reshape(n_contexts, -1, n_genes)], axis=1)
    )
    depth = depths.of_library[0] * rng.lognormal(0, DEPTH_SD, len(obs))
    adata = AnnData(draw_counts(rates, context, state, depth, rng), obs=obs)
    adata.var_names = truth["genes"]
    return adata

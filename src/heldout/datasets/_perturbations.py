"""Simulated perturbation screens with additive and interacting pairs, known for each gene."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData

from heldout._core.checks import check_integer, check_number, check_rng
from heldout.datasets._lmna import MAX_STRENGTH
from heldout.datasets._responders import Response, checked
from heldout.datasets._screen import (
    COUNTS_PER_GENE,
    DEPTH_SD,
    KINDS,
    MIN_GENES,
    Depths,
    SimulatedScreen,
    check_targets,
    draw_counts,
    draw_screen,
    gene_names,
    generators,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from heldout._core.rng import Rng

CONTROL, SEPARATOR = "control", "+"
CONTROLS_PER_PERTURBATION, PROFILE_CELLS = 5, 100
LIBRARY_DEPTH_SD = 0.2


def perturbations_simulated(
    *,
    n_singles: int = 20,
    n_doubles: int = 20,
    n_genes: int = 200,
    n_cells: int = 50,
    n_control: int | None = None,
    n_contexts: int = 1,
    n_guides: int = 2,
    n_libraries: int = 2,
    effect_strength: float = 1.0,
    interaction_strength: float = 1.0,
    shift_strength: float = 0.0,
    interacting: float = 0.5,
    embedding_share: float = 0.6,
    context_share: float = 0.7,
    responders: float | tuple[float, float] = 1.0,
    joint_response: bool = False,
    rng: Rng = 0,
) -> AnnData:
    """Simulate counts of a screen of single and double perturbations, with every effect and interaction known.

    The simulation defines the mean of log-normalised expression (10,000 counts per cell, natural ``log1p``). For a pair
    it is the control plus the effects of its two singles, except in genes in which the pair interacts. There the effect
    is buffered, or synergistic, or has the opposite sign. Genes belong to modules. One part of the effect of a single
    is the effect of its module on other modules. This part follows from the modules of the perturbed gene. The rest is
    specific to the single.

    Parameters
    ----------
    n_singles, n_doubles
        Number of single perturbations, each of one gene, and of pairs of them.
    n_genes
        Number of genes, at least 50. The quarter with the lowest expression is never perturbed.
    n_cells, n_control
        Cells of each perturbation, and control cells, in each context. ``n_control`` is 5 · n_cells by default.
    n_contexts
        Number of cell lines, each with its own control profile.
    n_guides
        Guides of each gene. All guides of a gene have the same effect.
    n_libraries
        Number of libraries. Each has cells of all perturbations. They differ in sequencing depth.
    effect_strength, interaction_strength
        Factors for the effects of the singles, and for the deviations of pairs from additivity. 0 switches them off. No
        strength can exceed 10. At any strength, no gene falls below zero or takes most of the counts of the other
        genes.
    shift_strength
        Factor for a shift of 30 % of the genes that all singles share, as stress does. Because of it, any prediction
        whose change from control correlates with the true one scores well. A pair has the shift twice. 0 (no shift) by
        default.
    interacting
        Share of the pairs that interact. They interact in one of the three ways in turn, each in up to 5 % of the
        genes.
    embedding_share
        Share of the variance of the effects that the modules explain.
    context_share
        Share of the variance of the effects that cell lines have in common.
    responders
        Share of the cells that respond to a perturbed gene, in [0, 1]. With two numbers (low, high), the share of each
        gene is drawn between them. A cell that does not respond is like a control. All cells respond by default.
    joint_response
        How the cells of a pair respond. If False, the responses to the two genes are independent, so some cells respond
        to one of them and are like cells of this single. If True, a cell that responds to the gene with the smaller
        share also responds to the other gene.
    rng
        A seed, a :class:`numpy.random.Generator`, or None for a random seed.

    Returns
    -------
    A new :class:`~anndata.AnnData` (cells × n_genes) with

    `X` : :class:`scipy.sparse.csr_matrix` (dtype `float32`)
        Counts; all values are integers.
    `obs['perturbation']`, `obs['guide']` : :class:`pandas.Series` (dtype `category`)
        One gene, two genes joined by ``+``, or ``control``; and the guides, e.g. ``GENE00007_1+GENE00012_2``.
    `obs['n_targets']` : :class:`pandas.Series` (dtype `int64`)
        Number of perturbed genes.
    `obs['n_responding']`, `obs['responder']` : :class:`pandas.Series` (dtype `int64`, `bool`)
        Truth: number of perturbed genes to which the cell responds, and whether it responds to all of them. Controls
        are no responders.
    `obs['cell_line']`, `obs['library']` : :class:`pandas.Series` (dtype `category`)
        The context, and the library.
    `varm['true_embedding']` : :class:`numpy.ndarray` (n_genes × 8, dtype `float64`)
        Truth: weight of each gene in each module.
    `uns['truth']` : :class:`dict`
        Names: ``perturbations`` (P: control, singles, pairs), ``cell_lines`` (C), ``genes`` (G), ``pairs`` (D) and
        ``kind_names``. ``profiles`` (C × P × G): expected log-normalised expression of cells that respond. ``effects``
        (C × singles × G): profile of a single minus that of the control. ``deviations`` (C × D × G): profile of a pair
        minus the sum of control and both effects. ``kinds`` (C × D × G): 0 where the pair is additive, otherwise the
        number of its kind. ``responders`` (P): expected share of the cells that respond to all their genes.
    `uns['perturbations_simulated']` : :class:`dict`
        The arguments.

    Raises
    ------
    ValueError
        If an argument is out of range.

    See Also
    --------
    perturbation_profiles_simulated : Simulate profiles of the same screen with noise, without cells.

    Notes
    -----
    Counts are negative binomial around the rate of the gene times the depth of the cell. The rates are chosen so that
    the profiles are the means of log-normalised cells, where additivity is usually tested. They are not the means of
    the counts. All rates of a cell sum to one: if two singles raise the same genes, their pair has slightly less of
    every other gene. This causes deviations where ``kinds`` is 0, with a standard deviation of 0.015 and at most 0.1
    for the default strengths. Where a pair interacts, the deviation is at least 0.17 (median 0.7). Interactions are 2.5
    % of all values of pairs.

    Examples
    --------
    >>> import heldout as ho
    >>> adata = ho.datasets.perturbations_simulated(n_singles=10, n_doubles=5, n_genes=100, n_cells=20)
    >>> adata.shape
    (400, 100)
    >>> adata.obs["n_targets"].value_counts().sort_index().tolist()
    [100, 200, 100]
    """
    n_control = CONTROLS_PER_PERTURBATION * n_cells if n_control is None else n_control
    sizes = {"n_cells": n_cells, "n_control": n_control, "n_guides": n_guides, "n_libraries": n_libraries}
    for name, value in sizes.items():
        check_integer(value, name, least=1)
    design = _checked(
        {"n_singles": n_singles, "n_doubles": n_doubles, "n_genes": n_genes, "n_contexts": n_contexts},
        {
            "effect_strength": effect_strength,
            "interaction_strength": interaction_strength,
            "shift_strength": shift_strength,
        },
        {"interacting": interacting, "embedding_share": embedding_share, "context_share": context_share},
    )
    share = checked(responders)
    check_rng(rng)
    of_truth, of_cells = generators(rng)
    depths = _depths(n_genes, n_libraries, of_truth)
    screen = draw_screen(depths, of_truth, **design)
    response = Response.of(share, n_singles, of_truth, joint=joint_response)
    adata = _cells(screen, depths, of_cells, response, n_cells=n_cells, n_control=n_control, n_guides=n_guides)
    adata.uns["perturbations_simulated"] = {
        **design,
        **{k: int(v) for k, v in sizes.items()},
        "responders": share if isinstance(share, float) else np.array(share),
        "joint_response": bool(joint_response),
        "rng": str(rng),
    }
    return adata


def perturbation_profiles_simulated(
    *,
    n_singles: int = 20,
    n_doubles: int = 20,
    n_genes: int = 200,
    n_contexts: int = 1,
    noise: float = 0.06,
    effect_strength: float = 1.0,
    interaction_strength: float = 1.0,
    shift_strength: float = 0.0,
    interacting: float = 0.5,
    embedding_share: float = 0.6,
    context_share: float = 0.7,
    rng: Rng = 0,
) -> AnnData:
    """Simulate the profiles of a screen without its cells: the truth plus normal noise of known size.

    This is much faster than simulating cells, and the noise is exactly what a test or a null distribution assumes.

    Parameters
    ----------
    n_singles, n_doubles, n_genes, n_contexts
        As in :func:`perturbations_simulated`. With the same seed and two libraries, that function has the same truth.
    noise
        Standard deviation of each value of a perturbation, as if it were the mean of 100 cells. The control has five
        times as many cells, so its noise is smaller by the root of five. With 0 the values are the truth.
    effect_strength, interaction_strength, shift_strength, interacting, embedding_share, context_share
        As in :func:`perturbations_simulated`.
    rng
        A seed, a :class:`numpy.random.Generator`, or None for a random seed.

    Returns
    -------
    A new :class:`~anndata.AnnData` (cell lines · perturbations × n_genes), in the layout of
    :func:`heldout.get.pseudobulk`, with

    `X` : :class:`numpy.ndarray` (dtype `float64`)
        Mean log-normalised expression with noise. With much noise some values are below zero.
    `layers['var']` : :class:`numpy.ndarray` (dtype `float64`)
        Variance between cells, so that ``noise`` is the root of ``var / n_cells``.
    `obs['perturbation']`, `obs['cell_line']` : :class:`pandas.Series` (dtype `category`)
        As in :func:`perturbations_simulated`. Within a cell line the control comes first, then singles, then pairs.
    `obs['n_targets']`, `obs['n_cells']` : :class:`pandas.Series` (dtype `int64`)
        Number of perturbed genes, and of cells.
    `varm['true_embedding']`, `uns['truth']`
        As in :func:`perturbations_simulated`.
    `uns['perturbation_profiles_simulated']` : :class:`dict`
        The arguments.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Examples
    --------
    >>> import heldout as ho
    >>> adata = ho.datasets.perturbation_profiles_simulated(n_singles=10, n_doubles=5, n_genes=100, noise=0)
    >>> truth = adata.uns["truth"]
    >>> int((abs(truth["deviations"]) > 0.1).sum()) == int((truth["kinds"] > 0).sum())
    True
    """
    design = _checked(
        {"n_singles": n_singles, "n_doubles": n_doubles, "n_genes": n_genes, "n_contexts": n_contexts},
        {
            "effect_strength": effect_strength,
            "interaction_strength": interaction_strength,
            "shift_strength": shift_strength,
        },
        {"interacting": interacting, "embedding_share": embedding_share, "context_share": context_share},
    )
    check_number(noise, "noise", least=0)
    check_rng(rng)
    of_truth, of_noise = generators(rng)
    screen = draw_screen(_depths(n_genes, 2, of_truth), of_truth, **design)
    names = _names(screen)
    n_cells = np.full(len(names), PROFILE_CELLS)
    n_cells[0] *= CONTROLS_PER_PERTURBATION
    of_row = np.tile(np.arange(len(names)), n_contexts)
    obs = _labels(screen, of_row, np.repeat(np.arange(n_contexts), len(names)))
    obs["n_cells"] = n_cells[of_row]
    obs.index = [f"{p}|{line}" for p, line in zip(obs["perturbation"], obs["cell_line"], strict=True)]
    X = screen.profiles.reshape(-1, n_genes)
    X = X + noise * np.sqrt(PROFILE_CELLS / n_cells[of_row])[:, None] * of_noise.standard_normal(X.shape)
    adata = _with_truth(AnnData(X, obs=obs, layers={"var": np.full(X.shape, noise**2 * PROFILE_CELLS)}), screen)
    adata.uns["perturbation_profiles_simulated"] = {**design, "noise": float(noise), "rng": str(rng)}
    return adata


def _checked(counts: dict[str, int], strengths: dict[str, float], shares: dict[str, float]) -> dict[str, Any]:
    """Check the arguments of the design."""
    for name, value in counts.items():
        check_integer(value, name, least={"n_genes": MIN_GENES, "n_doubles": 0, "n_singles": 2}.get(name, 1))
    n_singles, n_genes = counts["n_singles"], counts["n_genes"]
    check_targets(n_singles, "n_singles", n_genes)
    most = n_singles * (n_singles - 1) // 2
    if counts["n_doubles"] > most:
        msg = (
            f"n_doubles={counts['n_doubles']} must be at most the {most} pairs of n_singles={n_singles}. "
            "Pass fewer doubles or more singles."
        )
        raise ValueError(msg)
    for name, share in shares.items():
        check_number(share, name, least=0, most=1)
    return {
        **{name: int(value) for name, value in counts.items()},
        **{name: check_number(value, name, least=0, most=MAX_STRENGTH) for name, value in strengths.items()},
        **{name: float(value) for name, value in shares.items()},
    }


def _depths(n_genes: int, n_libraries: int, rng: np.random.Generator) -> Depths:
    return Depths(COUNTS_PER_GENE * n_genes * np.exp(LIBRARY_DEPTH_SD * rng.standard_normal(n_libraries)))


def _names(screen: SimulatedScreen) -> list[str]:
    """Return the names of the perturbations: the control, the singles, and the pairs, whose genes are sorted."""
    genes = gene_names(screen.control.shape[1])[screen.targets]
    return [CONTROL, *genes, *(SEPARATOR.join(sorted(pair)) for pair in genes[screen.pairs])]


def _labels(screen: SimulatedScreen, perturbation: NDArray[np.int64], context: NDArray[np.int64]) -> pd.DataFrame:
    n_singles = len(screen.targets)
    lines = [f"line{c + 1}" for c in range(len(screen.control))]
    return pd.DataFrame(
        {
            "perturbation": pd.Categorical.from_codes(perturbation, categories=_names(screen)),
            "n_targets": (perturbation > 0).astype(np.int64) + (perturbation > n_singles),
            "cell_line": pd.Categorical.from_codes(context, categories=lines),
        }
    )


def _with_truth(adata: AnnData, screen: SimulatedScreen) -> AnnData:
    names, n_singles = np.array(_names(screen), dtype=object), len(screen.targets)
    adata.var_names = gene_names(adata.n_vars)
    adata.varm["true_embedding"] = screen.embedding
    adata.uns["truth"] = {
        "perturbations": names,
        "cell_lines": np.array(adata.obs["cell_line"].cat.categories, dtype=object),
        "genes": gene_names(adata.n_vars),
        "pairs": names[1 + n_singles :],
        "profiles": screen.profiles,
        "effects": screen.singles - screen.control[:, None],
        "deviations": screen.doubles - screen.additive,
        "kinds": screen.kinds,
        "kind_names": np.array(KINDS, dtype=object),
    }
    return adata


def _cells(
    screen: SimulatedScreen,
    depths: Depths,
    rng: np.random.Generator,
    response: Response,
    *,
    n_cells: int,
    n_control: int,
    n_guides: int,
) -> AnnData:
    """Draw the cells of each context and perturbation, spread evenly over guides and libraries."""
    names, n_contexts = _names(screen), len(screen.control)
    of_context = np.repeat(np.arange(len(names)), [n_control] + [n_cells] * (len(names) - 1))
    perturbation, context = np.tile(of_context, n_contexts), np.repeat(np.arange(n_contexts), len(of_context))
    library = np.arange(len(perturbation)) % len(depths.of_library)
    obs = _labels(screen, perturbation, context)
    guide = rng.integers(1, n_guides + 1, (len(obs), 2))
    obs["guide"] = pd.Categorical(
        [
            SEPARATOR.join(f"{part}_{k}" for part, k in zip(names[p].split(SEPARATOR), of_cell, strict=False))
            for p, of_cell in zip(perturbation, guide, strict=True)
        ]
    )
    libraries = [f"library{i + 1}" for i in range(len(depths.of_library))]
    obs["library"] = pd.Categorical.from_codes(library, categories=libraries)
    obs.index = [f"cell{i:06d}" for i in range(1, len(obs) + 1)]
    state, obs["n_responding"] = response.draw(screen, perturbation, rng.spawn(1)[0])
    obs["responder"] = (obs["n_responding"] == obs["n_targets"]) & (obs["n_targets"] > 0)
    rates = depths.rate(screen.profiles)
    depth = depths.of_library[library] * rng.lognormal(0, DEPTH_SD, len(obs))
    adata = _with_truth(AnnData(draw_counts(rates, context, state, depth, rng), obs=obs), screen)
    adata.uns["truth"]["responders"] = response.expected(screen)
    return adata

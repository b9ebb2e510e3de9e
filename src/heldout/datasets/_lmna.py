"""A simulated time course of patient and control cells with the library layout of GSE269705."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from heldout._core.checks import check_integer, check_number, check_rng
from heldout._core.rng import Rng, generator

if TYPE_CHECKING:
    from numpy.typing import NDArray

LIBRARIES: tuple[tuple[str, str, int], ...] = (
    ("GSM8325046", "control", 0),
    ("GSM8325047", "control", 2),
    ("GSM8325048", "control", 4),
    ("GSM8325049", "control", 9),
    ("GSM8325050", "control", 9),
    ("GSM8325051", "control", 16),
    ("GSM8325052", "control", 19),
    ("GSM8325053", "control", 30),
    ("GSM8325054", "patient", 0),
    ("GSM8325055", "patient", 9),
    ("GSM8325056", "patient", 16),
    ("GSM8325057", "patient", 19),
)
"""The twelve libraries of GSE269705: accession, genotype, day of differentiation."""

DAYS: tuple[int, ...] = tuple(sorted({day for _, _, day in LIBRARIES}))
"""The seven days, in the order of the columns of ``varm["day_programme"]``."""

MT_GENES: tuple[str, ...] = (
    *("MT-ND1", "MT-ND2", "MT-CO1", "MT-CO2", "MT-ATP8", "MT-ATP6", "MT-CO3"),
    *("MT-ND3", "MT-ND4L", "MT-ND4", "MT-ND5", "MT-ND6", "MT-CYB"),
)
"""The protein-coding genes of the mitochondrial genome. They are always the last genes of the simulation."""

# The strengths multiply these values. Logarithms are natural; a share is a fraction of the genes.
BASELINE_SD = 1.2  # of the log-mean over genes
MT_FRACTION = 0.05  # of the counts of an average cell
COUNTS_PER_GENE = 0.38  # of a cell of median depth, averaged over genes
CELL_DEPTH_SD = 0.35
DAY_SHARE, DAY_SD, DAY_LENGTH = 0.3, 1.25, 0.9  # length scale of the smooth programme, in steps of the seven days
GENOTYPE_SHARE, GENOTYPE_SIZE = 0.05, 0.85
SHIFT_SD, SOUP_SD, AMBIENT_MAX, LIBRARY_DEPTH_SD = 0.25, 1.0, 0.1, 0.25
N_STATES, STATE_SD, STRESS_SD = 2, 0.25, 0.35
DISPERSION_MEDIAN, DISPERSION_SD = 0.3, 0.3

CELLS_PER_BLOCK = 1024
MIN_GENES = 100
MAX_STRENGTH = 10


@dataclass(frozen=True)
class _Truth:
    """Parameters from which the cells are drawn. The first axis of most arrays is the genes."""

    baseline: NDArray[np.float64]  # log-proportion of each gene
    day_programme: NDArray[np.float64]  # n_genes × 7
    genotype_effect: NDArray[np.float64]  # n_genes
    shift: NDArray[np.float64]  # n_genes × 12, log shift of the library
    soup: NDArray[np.float64]  # n_genes × 12, further log shift of its ambient profile
    state: NDArray[np.float64]  # n_genes × N_STATES, loadings of the cell states
    stress: NDArray[np.float64]  # n_genes, 1 for a mitochondrial gene
    dispersion: NDArray[np.float64]  # n_genes
    ambient: NDArray[np.float64]  # 12, share of ambient counts
    depth: NDArray[np.float64]  # 12, median counts of a cell


def lmna_simulated(
    *,
    n_cells: int = 300,
    n_genes: int = 2000,
    genotype_strength: float = 1.0,
    day_strength: float = 1.0,
    fingerprint_strength: float = 1.0,
    rng: Rng = 0,
) -> AnnData:
    """Simulate counts of patient and control cells over a differentiation, with every effect known.

    Twelve libraries, four of a patient and eight of a control, cover seven days. Genotype, day and library are partly
    confounded, as in GSE269705 :cite:p:`gse269705`. The data show how a careless split of cells misleads a classifier
    of the genotype, and what a careful split gives.

    Parameters
    ----------
    n_cells
        Number of cells in each of the twelve libraries.
    n_genes
        Number of genes, at least 100. The last 13 are mitochondrial.
    genotype_strength
        Factor for the log fold changes between patient and control. 0 switches them off. No strength can exceed 10.
    day_strength
        Factor for the log shifts of the day programme. 0 switches it off.
    fingerprint_strength
        Factor for the effects of a library: the log shift of each gene, its ambient RNA, and its sequencing depth. With
        0, libraries of one genotype and day are exchangeable. The share of ambient RNA is at most one half, and depth
        changes by at most a factor of e.
    rng
        A seed, a :class:`numpy.random.Generator`, or None for a random seed.

    Returns
    -------
    A new :class:`~anndata.AnnData` (12 · n_cells × n_genes) with

    `X` : :class:`scipy.sparse.csr_matrix` (dtype `float32`)
        Counts; all values are integers.
    `obs['library']` : :class:`pandas.Series` (dtype `category`)
        The accession, GSM8325046 to GSM8325057.
    `obs['genotype']` : :class:`pandas.Series` (dtype `category`)
        `control` or `patient`.
    `obs['day']` : :class:`pandas.Series` (dtype `int64`)
        The day of differentiation.
    `obs['total_counts']` : :class:`pandas.Series` (dtype `float32`)
        Counts of the cell.
    `obs['n_genes_by_counts']` : :class:`pandas.Series` (dtype `int64`)
        Number of genes with a count.
    `obs['pct_counts_mt']` : :class:`pandas.Series` (dtype `float32`)
        Percentage of counts in mitochondrial genes.
    `var['genotype_effect']` : :class:`pandas.Series` (dtype `float64`)
        Truth: natural log fold change of patient over control, the same on all days.
    `var['mt']` : :class:`pandas.Series` (dtype `bool`)
        Whether the gene is mitochondrial.
    `varm['day_programme']` : :class:`numpy.ndarray` (n_genes × 7, dtype `float64`)
        Truth: log shift on each day, with mean zero over the days.
    `varm['fingerprint']` : :class:`numpy.ndarray` (n_genes × 12, dtype `float64`)
        Truth: change of the log-profile of the average cell by the shift of the library and its ambient RNA together.
    `uns['lmna_simulated']` : :class:`dict`
        The arguments, and the names of the columns in `varm`: `libraries` (a string) and `days` (an array).

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    The layout is that of the real libraries. The classifier study that this simulation follows prints six of them
    (control: 46 on day 0, 49 on day 9, 52 on day 19; patient: 54 on day 0, 56 on day 16, 57 on day 19). The other six
    (control: 47 on day 2, 48 on day 4, 50 on day 9, 51 on day 16, 53 on day 30; patient: 55 on day 9) are listed in the
    public preparation script of the study. Genes, effects, depths and noise are chosen.

    The log-profile of a cell is baseline + day + genotype + library shift + two latent cell states + mitochondrial
    stress. A share of its counts comes from the ambient profile of its library instead. Counts are negative binomial
    around this profile times a log-normal depth. The baseline is log-normal. 30 % of the genes follow a smooth day
    programme, 5 % have a genotype effect, and all have a library shift. A strength multiplies effects that were drawn
    without it. For this reason simulations with one seed and different strengths share their truth.

    The default strengths reproduce the pattern of the study. A classifier of single cells trained on mixed days ranks
    the cells of libraries 52 and 56 in the wrong order, because among its training libraries day 19 is a patient and
    day 16 a control. If it is tested on both genotypes of a held-out day, it ranks them well. AUC over cells, mean and
    range over ten seeds, with the preprocessing of the study:

    ========================  =========  ===================  ===================
    test / validation         published  multilayer           logistic regression
                                         perceptron
    ========================  =========  ===================  ===================
    52, 56 / 49, 54           0.239      0.07 (0.00 to 0.16)  0.21 (0.06 to 0.35)
    day 19 / day 0            0.871      0.88 (0.80 to 0.96)  0.91 (0.83 to 0.97)
    day 16 / day 0            0.944      0.89 (0.80 to 0.96)  0.93 (0.84 to 0.98)
    day 0 / day 16            0.820      0.89 (0.78 to 0.96)  0.92 (0.80 to 0.98)
    ========================  =========  ===================  ===================

    Examples
    --------
    >>> import heldout as ho
    >>> adata = ho.datasets.lmna_simulated(n_cells=50, n_genes=200)
    >>> adata.shape
    (600, 200)
    >>> adata.obs.groupby("day", observed=True)["library"].nunique().to_dict()
    {0: 2, 2: 1, 4: 1, 9: 3, 16: 2, 19: 2, 30: 1}
    """
    check_integer(n_cells, "n_cells", least=1)
    check_integer(n_genes, "n_genes", least=MIN_GENES)
    strengths = {
        "genotype_strength": check_number(genotype_strength, "genotype_strength", least=0, most=MAX_STRENGTH),
        "day_strength": check_number(day_strength, "day_strength", least=0, most=MAX_STRENGTH),
        "fingerprint_strength": check_number(fingerprint_strength, "fingerprint_strength", least=0, most=MAX_STRENGTH),
    }
    check_rng(rng)

    entropy = int(generator(rng).integers(2**63))
    truth_seed, *library_seeds = np.random.SeedSequence(entropy).spawn(1 + len(LIBRARIES))
    truth = _draw_truth(n_genes, np.random.default_rng(truth_seed), **strengths)
    libraries = [_draw_library(truth, i, n_cells, np.random.default_rng(s)) for i, s in enumerate(library_seeds)]
    adata = _annotate(sparse.vstack(libraries, format="csr"), truth)
    adata.uns["lmna_simulated"] = {
        "n_cells": int(n_cells),
        "n_genes": int(n_genes),
        **strengths,
        "rng": str(rng),
        "libraries": ", ".join(library for library, _, _ in LIBRARIES),
        "days": np.array(DAYS, dtype=np.int64),
    }
    return adata


def _draw_truth(
    n_genes: int,
    rng: np.random.Generator,
    *,
    genotype_strength: float,
    day_strength: float,
    fingerprint_strength: float,
) -> _Truth:
    """Draw every parameter once. A strength only multiplies what was drawn, so the other parameters stay the same."""
    n_libraries, n_mt = len(LIBRARIES), len(MT_GENES)
    n_nuclear = n_genes - n_mt
    nuclear = np.arange(n_genes) < n_nuclear

    proportion = rng.lognormal(0, BASELINE_SD, n_genes)
    proportion[nuclear] *= (1 - MT_FRACTION) / proportion[nuclear].sum()
    proportion[~nuclear] *= MT_FRACTION / proportion[~nuclear].sum()

    curves = rng.standard_normal((n_genes, len(DAYS))) @ _smooth_root(len(DAYS), DAY_LENGTH).T
    curves = DAY_SD * (curves - curves.mean(axis=1, keepdims=True))
    curves[~_some(proportion, DAY_SHARE, rng) | ~nuclear] = 0
    genotype = GENOTYPE_SIZE * rng.uniform(0.5, 1.5, n_genes) * rng.choice([-1.0, 1.0], n_genes)
    genotype[~_some(proportion, GENOTYPE_SHARE, rng) | ~nuclear] = 0

    shift = SHIFT_SD * rng.standard_normal((n_genes, n_libraries))
    soup = SOUP_SD * rng.standard_normal((n_genes, n_libraries))
    ambient = AMBIENT_MAX * rng.uniform(size=n_libraries)
    log_depth = LIBRARY_DEPTH_SD * rng.standard_normal(n_libraries)
    return _Truth(
        baseline=np.log(proportion),
        day_programme=day_strength * curves,
        genotype_effect=genotype_strength * genotype,
        shift=fingerprint_strength * shift,
        soup=fingerprint_strength * soup,
        state=STATE_SD * rng.standard_normal((n_genes, N_STATES)) * nuclear[:, None],
        stress=(~nuclear).astype(np.float64),
        dispersion=rng.lognormal(np.log(DISPERSION_MEDIAN), DISPERSION_SD, n_genes),
        ambient=np.minimum(fingerprint_strength * ambient, 0.5),
        depth=COUNTS_PER_GENE * n_genes * np.exp(np.clip(fingerprint_strength * log_depth, -1, 1)),
    )


def _some(expression: NDArray[np.float64], share: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Choose a share of the genes, one from each equal stratum of expression, so every draw covers all strata."""
    chosen = np.zeros(expression.size, dtype=bool)
    strata = np.array_split(np.argsort(expression), round(share * expression.size))
    chosen[[rng.choice(stratum) for stratum in strata]] = True
    return chosen


def _smooth_root(n_steps: int, length: float) -> NDArray[np.float64]:
    """Return the root of a squared-exponential covariance between equidistant steps."""
    step = np.arange(n_steps)
    covariance = np.exp(-0.5 * ((step[:, None] - step[None, :]) / length) ** 2)
    return np.linalg.cholesky(covariance + 1e-9 * np.eye(n_steps)).astype(np.float64)


def _profiles(truth: _Truth, i: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the log-profile of library ``i`` without a fingerprint, with its shift, and of its ambient RNA."""
    _, genotype, day = LIBRARIES[i]
    plain = truth.baseline + truth.day_programme[:, DAYS.index(day)]
    if genotype == "patient":
        plain = plain + truth.genotype_effect
    shifted = plain + truth.shift[:, i]
    return plain, shifted, shifted + truth.soup[:, i]


def softmax(x: NDArray[np.float64]) -> NDArray[np.float64]:
    x = np.exp(x - x.max(axis=-1, keepdims=True))
    return x / x.sum(axis=-1, keepdims=True)


def _fingerprint(truth: _Truth) -> NDArray[np.float64]:
    """Return the change of the average log-profile by the shift and the ambient RNA of each library."""
    columns = []
    for i, share in enumerate(truth.ambient):
        plain, shifted, soup = (softmax(profile) for profile in _profiles(truth, i))
        columns.append(np.log((1 - share) * shifted + share * soup) - np.log(plain))
    return np.stack(columns, axis=1)


def _draw_library(truth: _Truth, i: int, n_cells: int, rng: np.random.Generator) -> sparse.csr_matrix:
    """Draw the counts of one library, a block of cells at a time."""
    _, shifted, soup = _profiles(truth, i)
    ambient = truth.ambient[i] * softmax(soup)
    loadings = np.column_stack([truth.state, STRESS_SD * truth.stress]).T
    shape = 1 / truth.dispersion
    blocks = []
    for start in range(0, n_cells, CELLS_PER_BLOCK):
        n = min(CELLS_PER_BLOCK, n_cells - start)
        mean = softmax(shifted + rng.standard_normal((n, loadings.shape[0])) @ loadings)
        mean *= 1 - truth.ambient[i]
        mean += ambient
        mean *= truth.depth[i] * rng.lognormal(0, CELL_DEPTH_SD, (n, 1))
        mean *= rng.standard_gamma(shape, size=mean.shape) * truth.dispersion
        blocks.append(sparse.csr_matrix(rng.poisson(mean).astype(np.float32)))
    return sparse.vstack(blocks, format="csr")


def _annotate(counts: sparse.csr_matrix, truth: _Truth) -> AnnData:
    """Combine counts, labels, quality measures and truth."""
    mt = truth.stress.astype(bool)
    n_cells = counts.shape[0] // len(LIBRARIES)
    libraries = [library for library, _, _ in LIBRARIES]
    genotypes = [genotype for _, genotype, _ in LIBRARIES]
    days = np.array([day for _, _, day in LIBRARIES], dtype=np.int64)
    total = np.asarray(counts.sum(axis=1)).ravel()
    total_mt = np.asarray(counts[:, mt].sum(axis=1)).ravel()
    obs = pd.DataFrame(
        {
            "library": pd.Categorical(np.repeat(libraries, n_cells), categories=libraries),
            "genotype": pd.Categorical(np.repeat(genotypes, n_cells), categories=["control", "patient"]),
            "day": np.repeat(days, n_cells),
            "total_counts": total.astype(np.float32),
            "n_genes_by_counts": np.diff(counts.indptr).astype(np.int64),
            "pct_counts_mt": (100 * total_mt / np.maximum(total, 1)).astype(np.float32),
        },
        index=[f"{library}_{i:06d}" for library in libraries for i in range(1, n_cells + 1)],
    )
    genes = [f"GENE{i:05d}" for i in range(1, mt.size - mt.sum() + 1)] + list(MT_GENES)
    var = pd.DataFrame({"genotype_effect": truth.genotype_effect, "mt": mt}, index=genes)
    varm = {"day_programme": truth.day_programme, "fingerprint": _fingerprint(truth)}
    return AnnData(counts, obs=obs, var=var, varm=varm)

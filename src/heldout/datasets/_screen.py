"""The truth of a simulated screen: mean log-normalised expression of each perturbation, and the matching rates."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
from scipy import sparse
from scipy.interpolate import PchipInterpolator
from scipy.stats import nbinom, norm

from heldout._core.rng import Rng, generator

TARGET_SUM = 1e4
"""Total counts to which a cell is normalised before the logarithm."""

KINDS = ("additive", "buffering", "synergistic", "opposite")
"""Effects of a pair of perturbations on a gene, in the order of their codes."""

N_MODULES = 8
SECOND_SHARE = 0.2  # genes that belong to a second module
SPECIFIC_SHARE = 0.06  # genes that a perturbation changes independently of its modules
EFFECT_RMS, SHIFT_SHARE, SHIFT_SD, ON_TARGET = 0.18, 0.3, 0.3, -0.5
BASELINE_SD, CONTEXT_SD = 0.9, 0.4
MOST_DOWN, MOST_UP, MOST_RATE = -0.45, 1.2, 0.02  # share of the expression, log units, and share of all counts
INTERACTING_GENES, LEAST_ADDITIVE = 0.05, 0.3
FLOOR = 0.02
DISPERSION, COUNTS_PER_GENE, DEPTH_SD = 0.1, 3.0, 0.25
MIN_GENES = 50
_CELLS_PER_BLOCK = 2048


def generators(rng: Rng) -> list[np.random.Generator]:
    """Return a generator of the truth and one of the data, so that the truth does not depend on the number of cells."""
    return np.random.default_rng(int(generator(rng).integers(2**63))).spawn(2)


def gene_names(n_genes: int) -> np.ndarray:
    """Return the names of the genes, (n_genes,)."""
    return np.array([f"GENE{i:05d}" for i in range(1, n_genes + 1)], dtype=object)


def check_targets(n: int, name: str, n_genes: int) -> None:
    """Refuse more perturbed genes than there are genes that are expressed enough."""
    if n > 3 * n_genes // 4:
        msg = (
            f"{name}={n} must be at most three quarters of n_genes={n_genes}. Pass a larger n_genes or a smaller "
            f"{name}."
        )
        raise ValueError(msg)


def draw_counts(
    rates: np.ndarray, context: np.ndarray, state: np.ndarray, depth: np.ndarray, rng: np.random.Generator
) -> sparse.csr_matrix:
    """Draw negative binomial counts, (n × G); few dense rows are in memory at a time.

    Parameters
    ----------
    rates
        Share of all counts of each gene, (C × states × G).
    context, state
        Context and state of each cell, (n,).
    depth
        Expected counts of each cell, (n,).
    rng
        Generator of the draws.
    """
    blocks = []
    for first in range(0, len(depth), _CELLS_PER_BLOCK):
        rows = slice(first, first + _CELLS_PER_BLOCK)
        mean = (rates[context[rows], state[rows]] * depth[rows, None]).astype(np.float32)
        mean *= rng.standard_gamma(1 / DISPERSION, size=mean.shape, dtype=np.float32) * np.float32(DISPERSION)
        blocks.append(sparse.csr_matrix(rng.poisson(mean).astype(np.float32)))
    return sparse.vstack(blocks, format="csr")


@dataclass(frozen=True)
class Depths:
    """Depth of the cells: expected counts of an average cell, (n_libraries,). Cells are log-normal around it."""

    of_library: np.ndarray

    @cached_property
    def _table(self) -> tuple[np.ndarray, np.ndarray]:
        """Rates, and the mean of log1p of normalised counts at each rate."""
        rates = np.geomspace(1e-9, 0.5, 160)
        quantiles = norm.ppf((np.arange(9) + 0.5) / 9) * DEPTH_SD
        depths = (self.of_library[:, None] * np.exp(quantiles)).ravel()
        means = np.zeros(len(rates))
        for depth in depths:
            for i, mu in enumerate(rates * depth):
                spread = np.sqrt(mu + DISPERSION * mu**2)
                counts = np.arange(1, int(mu + 12 * spread) + 12)
                chance = nbinom.pmf(counts, 1 / DISPERSION, 1 / (1 + DISPERSION * mu))
                means[i] += chance @ np.log1p(TARGET_SUM * counts / depth) / len(depths)
        return np.log(rates), np.log(means)

    @cached_property
    def _curves(self) -> tuple[PchipInterpolator, PchipInterpolator]:
        rates, means = self._table
        return PchipInterpolator(rates, means), PchipInterpolator(means, rates)

    def level(self, rate: np.ndarray) -> np.ndarray:
        """Return the expected log-normalised expression of a gene that has this share of all counts."""
        return np.exp(self._curves[0](np.log(rate)))

    def rate(self, level: np.ndarray) -> np.ndarray:
        """Return the share of all counts that gives this expression."""
        return np.exp(self._curves[1](np.log(level)))


@dataclass(frozen=True)
class SimulatedScreen:
    """Truth from which cells are drawn: expected log-normalised expression, contexts × perturbations × genes.

    ``pairs`` has the numbers of two singles. ``kinds`` has the code of a pair in each context and gene.
    """

    embedding: np.ndarray  # genes × modules
    targets: np.ndarray  # numbers of the perturbed genes
    pairs: np.ndarray  # D × 2
    control: np.ndarray  # C × G
    singles: np.ndarray  # C × S × G
    doubles: np.ndarray  # C × D × G
    kinds: np.ndarray  # C × D × G

    @property
    def profiles(self) -> np.ndarray:
        """Expected expression of the control, the singles and the pairs, C × (1 + S + D) × G."""
        return np.concatenate([self.control[:, None], self.singles, self.doubles], axis=1)

    @property
    def additive(self) -> np.ndarray:
        """Expected expression of each pair if effects added up, C × D × G."""
        return self.singles[:, self.pairs[:, 0]] + self.singles[:, self.pairs[:, 1]] - self.control[:, None]


def draw_screen(
    depths: Depths,
    rng: np.random.Generator,
    *,
    n_singles: int,
    n_doubles: int,
    n_genes: int,
    n_contexts: int,
    effect_strength: float,
    interaction_strength: float,
    shift_strength: float,
    interacting: float,
    embedding_share: float,
    context_share: float,
) -> SimulatedScreen:
    """Draw every parameter once. Strengths and shares only scale what was drawn."""
    log_rate = BASELINE_SD * rng.standard_normal(n_genes)
    of_context = CONTEXT_SD * rng.standard_normal((n_contexts, n_genes))
    of_context[0] = 0
    rates = np.exp(log_rate + of_context)
    rates /= rates.sum(axis=1, keepdims=True)
    control = depths.level(rates)
    expressed = np.argsort(log_rate, kind="stable")[n_genes // 4 :]
    targets = rng.permutation(expressed)[:n_singles]
    embedding = _memberships(n_genes, rng)
    parts = [_effects(embedding, targets, embedding_share, rng) for _ in range(n_contexts + 1)]
    shift = SHIFT_SD * rng.standard_normal(n_genes) * (rng.random(n_genes) < SHIFT_SHARE)
    pairs = _pairs(n_singles, n_doubles, rng)
    seeds = rng.integers(2**63, size=n_contexts)
    shared = context_share if n_contexts > 1 else 1.0
    singles, doubles, kinds = [], [], []
    of_pair = None
    for c in range(n_contexts):
        effects = EFFECT_RMS * (np.sqrt(shared) * parts[-1] + np.sqrt(1 - shared) * parts[c])
        effects = effect_strength * effects + shift_strength * shift
        up = np.minimum(MOST_UP, depths.level(rates[c] + MOST_RATE) - control[c])
        effects = np.clip(effects, MOST_DOWN * control[c], up)
        effects[np.arange(n_singles), targets] = ON_TARGET * min(effect_strength, 1) * control[c][targets]
        single = _composed(depths, control[c] + _balanced(depths, effects, control[c]))
        effects, random = single - control[c], np.random.default_rng(seeds[c])
        a, b = effects[pairs[:, 0]], effects[pairs[:, 1]]
        able = (a * b > 0) & (np.abs(a + b) >= LEAST_ADDITIVE)
        if of_pair is None:
            of_pair = _kinds_of_pairs(able, interacting, random)
        change, kind = _interactions(depths, a + b, control[c], able, of_pair, interaction_strength, random)
        singles.append(single)
        doubles.append(_composed(depths, np.maximum(control[c] + a + b + change, FLOOR * control[c])))
        kinds.append(kind)
    return SimulatedScreen(embedding, targets, pairs, control, np.stack(singles), np.stack(doubles), np.stack(kinds))


def _memberships(n_genes: int, rng: np.random.Generator) -> np.ndarray:
    """Draw the weight of each gene in each module, (n_genes × modules). Some genes belong to a second module."""
    main = rng.permutation(np.arange(n_genes) % N_MODULES)
    second = (main + rng.integers(1, N_MODULES, n_genes)) % N_MODULES
    weights = np.zeros((n_genes, N_MODULES))
    weights[np.arange(n_genes), second] = rng.uniform(0.2, 0.6, n_genes) * (rng.random(n_genes) < SECOND_SHARE)
    weights[np.arange(n_genes), main] = rng.uniform(0.5, 1.5, n_genes)
    return weights


def _effects(embedding: np.ndarray, targets: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Draw the effects of the singles, (S × n_genes), with mean square 1.

    A share of the variance comes from effects of modules on modules. The rest is specific to the single.
    """
    acts = np.zeros((N_MODULES, N_MODULES))
    for row in acts:  # one module up and one module down
        row[rng.permutation(N_MODULES)[:2]] = rng.uniform(0.5, 1, 2) * np.array([1, -1])
    of_modules = embedding[targets] @ acts @ embedding.T
    specific = rng.standard_normal(of_modules.shape) * (rng.random(of_modules.shape) < SPECIFIC_SHARE)
    return np.sqrt(share) * _unit(of_modules) + np.sqrt(1 - share) * _unit(specific)


def _unit(x: np.ndarray) -> np.ndarray:
    size = np.sqrt(np.mean(x**2)) if x.size else 0
    return x / size if size > 0 else x


def _pairs(n_singles: int, n_doubles: int, rng: np.random.Generator) -> np.ndarray:
    every = np.array(list(combinations(range(n_singles), 2)), dtype=np.int64).reshape(-1, 2)
    return every[np.sort(rng.permutation(len(every))[:n_doubles])]


def _composed(depths: Depths, levels: np.ndarray) -> np.ndarray:
    """Return the expression after the counts are divided among the genes, whose rates must sum to 1."""
    rates = depths.rate(levels)
    return depths.level(rates / rates.sum(axis=-1, keepdims=True))


def _balanced(depths: Depths, effects: np.ndarray, control: np.ndarray) -> np.ndarray:
    """Weaken the increases or the decreases until the counts of all other genes stay the same."""
    too_many = depths.rate(control + effects).sum(axis=1, keepdims=True) > 1
    weakened = too_many == (effects > 0)
    low, high = np.zeros((len(effects), 1)), np.ones((len(effects), 1))
    for _ in range(20):
        middle = (low + high) / 2
        total = depths.rate(control + np.where(weakened, middle * effects, effects)).sum(axis=1, keepdims=True)
        strong = (total > 1) == too_many
        low, high = np.where(strong, low, middle), np.where(strong, middle, high)
    return np.where(weakened, low * effects, effects)


def _kinds_of_pairs(able: np.ndarray, interacting: float, rng: np.random.Generator) -> np.ndarray:
    """Choose the kind of each pair, (D,). A share of the pairs interacts, first those with enough suitable genes."""
    order = rng.permutation(len(able))
    enough = able.sum(axis=1)[order] >= INTERACTING_GENES * able.shape[1]
    chosen = order[np.argsort(~enough, kind="stable")][: round(interacting * len(able))]
    of_pair = np.zeros(len(able), dtype=np.int8)
    of_pair[chosen] = 1 + np.arange(len(chosen)) % (len(KINDS) - 1)
    return of_pair


def _interactions(
    depths: Depths,
    total: np.ndarray,
    control: np.ndarray,
    able: np.ndarray,
    of_pair: np.ndarray,
    strength: float,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the deviation from additivity of each pair and gene, (D × n_genes), and its kind.

    A gene takes part where it is ``able``, that is, both singles change it in the same direction by enough, and where
    its expression stays within the limits.
    """
    change, kinds = np.zeros(total.shape), np.zeros(total.shape, dtype=np.int8)
    n_wanted = max(1, round(INTERACTING_GENES * total.shape[1]))
    for pair, kind in enumerate(of_pair):
        size, rank = rng.random(total.shape[1]), rng.permutation(total.shape[1])
        if kind == 0 or strength == 0:
            continue
        effect = total[pair]
        wanted = strength * (
            -(0.6 + 0.4 * size) * effect
            if KINDS[kind] == "buffering"
            else np.sign(effect) * (0.5 + 0.5 * size)
            if KINDS[kind] == "synergistic"
            else -effect - np.sign(effect) * (0.3 + 0.3 * size)
        )
        level = control + effect + wanted
        most = depths.level(depths.rate(np.maximum(control + effect, FLOOR * control)) + MOST_RATE)
        possible = able[pair] & (level > 0.1 * control) & (level < most)
        genes = rank[possible[rank]][:n_wanted]
        change[pair, genes] = wanted[genes]
        kinds[pair, genes] = kind
    return change, kinds

"""The truth of a simulated screen: mean log-normalised expression of each perturbation, and the rates that give it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.stats import nbinom, norm

TARGET_SUM = 1e4
"""Counts that a cell is normalised to before the logarithm."""

KINDS = ("additive", "buffering", "synergistic", "opposite")
"""What a pair of perturbations does to a gene, in the order of the codes."""

N_MODULES = 8
SECOND_SHARE = 0.2  # genes that have a foot in another module
OWN_SHARE = 0.06  # genes that a perturbation changes beside its modules
EFFECT_RMS, SHIFT_SHARE, SHIFT_SD, ON_TARGET = 0.18, 0.3, 0.3, -0.5
BASELINE_SD, CONTEXT_SD = 0.9, 0.4
MOST_DOWN, MOST_UP, MOST_RATE = -0.45, 1.2, 0.02  # share of the level, log units, and share of all counts
INTERACTING_GENES, LEAST_ADDITIVE = 0.05, 0.3
FLOOR = 0.02
DISPERSION, COUNTS_PER_GENE, DEPTH_SD = 0.1, 3.0, 0.25


@dataclass(frozen=True)
class Depths:
    """Depth of the cells: counts expected of an average cell, (n_libraries,), log-normal around it."""

    of_library: np.ndarray

    @cached_property
    def _table(self) -> tuple[np.ndarray, np.ndarray]:
        """Rates, and the mean of log1p of normalised counts at each of them."""
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
        """Expected log-normalised expression of a gene that has this share of all counts."""
        return np.exp(self._curves[0](np.log(rate)))

    def rate(self, level: np.ndarray) -> np.ndarray:
        """Share of all counts that gives this level."""
        return np.exp(self._curves[1](np.log(level)))


@dataclass(frozen=True)
class SimulatedScreen:
    """What the cells are drawn from; levels are expected log-normalised expression, C contexts × perturbations × genes.

    ``pairs`` are numbers of two singles, ``kinds`` the code of a pair in each context and gene.
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
        """Levels of the control, the singles and the pairs, C × (1 + S + D) × G."""
        return np.concatenate([self.control[:, None], self.singles, self.doubles], axis=1)

    @property
    def additive(self) -> np.ndarray:
        """Level of each pair if effects added up, C × D × G."""
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
    """Draw every parameter once; strengths and shares only scale what was drawn."""
    log_rate = BASELINE_SD * rng.standard_normal(n_genes)
    own = CONTEXT_SD * rng.standard_normal((n_contexts, n_genes))
    own[0] = 0
    rates = np.exp(log_rate + own)
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
    """How far each gene belongs to each module, (n_genes × modules): one of its own, and for some a second."""
    own = rng.permutation(np.arange(n_genes) % N_MODULES)
    second = (own + rng.integers(1, N_MODULES, n_genes)) % N_MODULES
    weights = np.zeros((n_genes, N_MODULES))
    weights[np.arange(n_genes), second] = rng.uniform(0.2, 0.6, n_genes) * (rng.random(n_genes) < SECOND_SHARE)
    weights[np.arange(n_genes), own] = rng.uniform(0.5, 1.5, n_genes)
    return weights


def _effects(embedding: np.ndarray, targets: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Effects of the singles, (S × n_genes), mean square 1, of which a share is of modules on modules, and the rest own."""
    acts = np.zeros((N_MODULES, N_MODULES))
    for row in acts:  # one up and one down
        row[rng.permutation(N_MODULES)[:2]] = rng.uniform(0.5, 1, 2) * np.array([1, -1])
    of_modules = embedding[targets] @ acts @ embedding.T
    own = rng.standard_normal(of_modules.shape) * (rng.random(of_modules.shape) < OWN_SHARE)
    return np.sqrt(share) * _unit(of_modules) + np.sqrt(1 - share) * _unit(own)


def _unit(x: np.ndarray) -> np.ndarray:
    size = np.sqrt(np.mean(x**2)) if x.size else 0
    return x / size if size > 0 else x


def _pairs(n_singles: int, n_doubles: int, rng: np.random.Generator) -> np.ndarray:
    every = np.array(list(combinations(range(n_singles), 2)), dtype=np.int64).reshape(-1, 2)
    return every[np.sort(rng.permutation(len(every))[:n_doubles])]


def _composed(depths: Depths, levels: np.ndarray) -> np.ndarray:
    """Levels after counts are shared out among the genes: their rates must sum to 1."""
    rates = depths.rate(levels)
    return depths.level(rates / rates.sum(axis=-1, keepdims=True))


def _balanced(depths: Depths, effects: np.ndarray, control: np.ndarray) -> np.ndarray:
    """Weaken what goes up, or what goes down, until the counts of all other genes stay as they are."""
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
    """Code of the kind of each pair, (D,): a share interacts, first those with enough genes that are able to."""
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
    """Deviation from additivity of each pair and gene, (D × n_genes), and its kind.

    A gene takes part where it is ``able``: both singles move it one way, by enough, and its level stays possible.
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

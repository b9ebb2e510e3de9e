"""Find a unit that has one name in test and another name in train."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from heldout._core.words import counted, first_few
from heldout.auditing._finding import Finding, NotRun
from heldout.auditing._known import kind
from heldout.auditing._profiles import UnitProfiles, profiles_of
from heldout.auditing._sums import gene_symbols
from heldout.auditing._words import numbered, unit_in_words, units_in_words

if TYPE_CHECKING:
    from heldout.auditing._case import Case

ALPHA, SURE = 0.05, 0.001
"""Level of the item, and the p-value at which it fails."""
FEWEST = 6
MOST = 3000
REACHED = 0.9
"""A pair must be as similar as this share of the units would be with a second sample of themselves."""
DISTINCT = 3
"""The halves of a unit must be this many standard deviations more similar than two units."""
MARGIN = 0.05
"""The spread of pairs is enlarged by this share and by its standard error, because it is an estimate."""
EXPECTED, OFF = 20, 1 / 20
"""A gene differs if 20 detections are expected in the second unit, and fewer than 5 % of them are found."""


@dataclass(frozen=True)
class Similarities:
    """How similar pairs of units are: cosines of their profiles.

    ``test`` and ``train`` are unit numbers. ``pairs`` are the cosines of each test and train unit (t × r). ``halves``
    are those of the two halves of each unit, empty if no unit has two cells. ``middle`` and ``spread`` are the median
    and the standard deviation of pairs of different units, the latter from the interquartile range. ``expected`` is the
    least cosine of two samples of one unit, (t × r), zero if there are no halves.
    """

    test: np.ndarray
    train: np.ndarray
    pairs: np.ndarray
    halves: np.ndarray
    middle: float
    spread: float
    expected: np.ndarray

    def p_value(self, cosine: np.ndarray) -> np.ndarray:
        """P-value of a cosine of random directions, corrected for the number of pairs.

        Cosines with this spread are those of directions in 1 / spread² dimensions. Their p-value is that of a
        correlation, from Student's t distribution.
        """
        from scipy.stats import t

        freedom = max(1 / self.spread**2 - 1, 1.0)
        r = np.clip(cosine - self.middle, -1 + 1e-12, 1 - 1e-12)
        return np.asarray(np.minimum(1.0, t.sf(r * np.sqrt(freedom / (1 - r**2)), freedom) * self.pairs.size))

    @property
    def power(self) -> float:
        """Share of the units whose halves would be found. NaN without halves."""
        return float((self.p_value(self.halves) <= ALPHA).mean()) if len(self.halves) else np.nan


def same_unit(case: Case) -> list[Finding]:
    """Compare each test unit with its most similar train unit: are they two samples of one unit?

    The profile of a unit is the mean of its log-normalised cells, without the components that vary most between the
    cells of a unit. The null hypothesis is that test and train units are different units, so that the pair is as
    similar as other pairs of units. The median and the interquartile range of all pairs give the number of dimensions,
    and Student's t the p-value of a pair, with Bonferroni's correction for all pairs of a test and a train unit. A pair
    that is found must also be as similar as two samples of one unit, which the halves of the units tell, and must have
    the same sex and the same genes with common deletions. The power is the share of units whose halves would be found.
    """
    compared = np.isin(np.arange(len(case.units.names)), np.flatnonzero(~case.crossing))
    test, train = case.units.within("test") & compared, case.units.within("train", "val") & compared
    if not test.any() or not train.any():
        msg = f"Test or train has no {unit_in_words(case)} that is on one side only."
        raise NotRun(msg)
    if not FEWEST <= int(compared.sum()) <= MOST:
        msg = f"The item needs {FEWEST} to {MOST:,} {units_in_words(case)} on one side, and there are {compared.sum()}."
        raise NotRun(msg)
    profiles = profiles_of(case, exclude=_marker_genes(case))
    found = similarities(profiles, case.units.groups, test, train)
    return [_finding(case, found, profiles)]


def similarities(profiles: UnitProfiles, groups: np.ndarray, test: np.ndarray, train: np.ndarray) -> Similarities:
    """Similarities between test and train units, and between the halves of the units."""
    used = np.flatnonzero(test | train)
    every = profiles.whole[used] @ profiles.whole[used].T
    first, second = np.triu_indices(len(used), 1)
    different = groups[used][first] != groups[used][second]
    null = every[first[different], second[different]]
    low, middle, high = np.quantile(null, [0.25, 0.5, 0.75])
    spread = (high - low) / 1.349 * (1 + MARGIN + 1 / np.sqrt(len(null)))
    if not spread > 0:
        msg = "All pairs of units are equally similar, so that no pair can be called the same unit."
        raise NotRun(msg)
    pairs = every[np.ix_(test[used], train[used])]
    known = np.isfinite(profiles.halves[used])
    halves = profiles.halves[used][known]
    if len(halves) and np.median(halves) < middle + DISTINCT * spread:
        msg = "Two halves of a unit are not clearly more similar than two units, so that no pair can be judged."
        raise NotRun(msg)
    expected = np.zeros(pairs.shape)
    if len(halves):
        reliable = _reliability(halves, profiles.n[used][known], profiles.n)
        expected = np.sqrt(np.outer(reliable[test], reliable[train]))
    return Similarities(
        np.flatnonzero(test), np.flatnonzero(train), pairs, halves, float(middle), float(spread), expected
    )


def _reliability(halves: np.ndarray, n: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Least squared cosine between a profile of this many cells and the true profile of its unit.

    The reliability of m cells is m / (m + k). Each unit of n cells gives a k from its halves, and the k that is large
    enough for most units is used.
    """
    k = np.quantile(n / 2 * (1 / np.clip(halves, 1e-3, 1) - 1), REACHED)
    return sizes / (sizes + k)


def _marker_genes(case: Case) -> np.ndarray:
    return np.array([kind(symbol) in {"the sex", "the genome of the donor"} for symbol in gene_symbols(case)])


def _finding(case: Case, found: Similarities, profiles: UnitProfiles) -> Finding:
    p = found.p_value(found.pairs)
    alike = (p <= ALPHA) & (found.pairs >= found.expected)
    hits = []
    for t, r in zip(*np.nonzero(alike), strict=True):
        if not _contradicts(profiles, found.test[t], found.train[r]):
            hits.append((float(p[t, r]), int(t), int(r)))
    hits.sort()
    units = sorted({t for _, t, _ in hits})
    least = float(p.min()) if not hits else hits[0][0]
    about = Finding.about("", "smallest p-value of a pair", least, ALPHA)
    tells = _power_in_words(case, found)
    if not hits and not np.isnan(found.power) and found.power < 0.5:
        msg = f"Nothing was found, but the item could hardly find anything: {tells}"
        raise NotRun(msg)
    if not hits:
        return about.says("pass", f"{_nothing_in_words(case, found, p)} {tells}")
    names = case.units.names
    pairs = [f"{names[found.test[t]]} in test and {names[found.train[r]]} in train or val" for _, t, r in hits]
    have = "has" if len(units) == 1 else "have"
    text = (
        f"{len(units)} of {numbered(case, len(found.test))} of test {have} a partner in "
        f"train or val that is as similar as two samples of one {unit_in_words(case)}, e.g. "
        f"{first_few(pairs, 2)} (p = {least:.2g} over {counted(p.size, 'pair')}). {tells}"
    )
    advice = (
        "Check whether they are replicates, or one donor under two names. If so, name the donor in group_key and make "
        "a new split: heldout.pp.split_groups."
    )
    return about.says("fail" if least <= SURE else "warn", text, advice)


def _nothing_in_words(case: Case, found: Similarities, p: np.ndarray) -> str:
    unit, pairs = unit_in_words(case), counted(p.size, "pair")
    if p.min() > ALPHA:
        return (
            f"No {unit} of test is more similar to a {unit} of train or val than chance allows (p = {p.min():.2g} over "
            f"{pairs})."
        )
    t, r = np.unravel_index(p.argmin(), p.shape)
    names = case.units.names
    return (
        f"The most similar pair, {names[found.test[t]]} in test and {names[found.train[r]]} in train or val, is more "
        f"similar than chance allows (p = {p.min():.2g} over {pairs}), but not as similar as two samples of one {unit}."
    )


def _power_in_words(case: Case, found: Similarities) -> str:
    if not len(found.halves):
        return f"Each {unit_in_words(case)} is one cell, so the power cannot be measured."
    return (
        f"Two halves of a {unit_in_words(case)} would be found for {found.power:.0%} of "
        f"{numbered(case, len(found.halves))}."
    )


def _contradicts(profiles: UnitProfiles, first: int, second: int) -> bool:
    """Whether a sex gene, or a gene with a common deletion, is on in one unit and off in the other."""
    n, detected = profiles.n[[first, second]], profiles.markers[[first, second]]
    rate = detected / np.maximum(n, 1)[:, None]
    for on, off in ((0, 1), (1, 0)):
        expected = rate[on] * n[off]
        if ((expected >= EXPECTED) & (detected[off] < OFF * expected)).any():
            return True
    return False

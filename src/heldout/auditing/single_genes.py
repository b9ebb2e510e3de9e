"""Find genes that reveal the label alone: sex genes, reporters, transgenes, knocked-out genes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heldout._core.words import first_few
from heldout.auditing._exchange import blocks_of
from heldout.auditing._finding import Finding, NotRun
from heldout.auditing._known import FEMALE, MALE, kind
from heldout.auditing._sums import gene_symbols, unit_sums
from heldout.auditing._words import numbered, unit_in_words, units_in_words
from heldout.metrics.labellings import count_labellings

if TYPE_CHECKING:
    from heldout.auditing._case import Case
    from heldout.auditing._sums import UnitSums

ALPHA = 0.05
ON, OFF = 0.1, 1 / 20
FOLD = 2
EXPECTED = 20
"""A gene is called off in a class only if at least this many detections would be expected there."""
MIN_CELLS = 10


def single_genes(case: Case) -> list[Finding]:
    """Find genes that are on in every unit of one class and off in every unit of the other classes.

    The item fails if a known gene (sex gene, reporter, transgene, common deletion) separates the classes in every unit
    by at least a factor of two, and this is unlikely by chance for this number of units. It only warns for any other
    gene that is on in one class and off in the others, because such a gene can be the biology of the label.

    Mitochondrial haplotypes cannot be read from gene counts and are not checked.
    """
    labels = case.need_labels()
    sums = unit_sums(case, "train", "val", "test")
    large = sums.n >= MIN_CELLS
    classes, counts = np.unique(labels[large], return_counts=True)
    if len(classes) < 2 or counts.min() < 2:
        msg = f"A class of {case.label_key} has fewer than two {units_in_words(case)} with {MIN_CELLS} cells."
        raise NotRun(msg)
    sums = type(sums)(*(part[large] for part in (sums.n, sums.detected, sums.total, sums.squares)))
    codes = np.searchsorted(classes, labels[large])
    symbols = gene_symbols(case)
    chance = 2 / count_labellings(codes, blocks_of(case.units)[large])
    findings, known = _known(case, sums, codes, classes, symbols, chance)
    found: dict[str, list[str]] = {}
    for number, name in enumerate(classes):
        genes = [symbols[g] for g in _switched(sums, codes == number) if symbols[g] not in known]
        if genes:
            found[str(name)] = genes
    if found:
        findings.append(_switches(case, found, two=len(classes) == 2))
    if not findings:
        text = f"No gene is on in every {unit_in_words(case)} of one class of {case.label_key} and off in all others."
        findings.append(Finding("pass", text, measure="genes", value=0, threshold=1))
    return findings


def _switched(sums: UnitSums, inside: np.ndarray) -> np.ndarray:
    """Genes that are on in all units of the class and off in all others, the most frequently detected gene first."""
    on, off = sums.rate[inside].min(axis=0), sums.rate[~inside].max(axis=0)
    expected = on * sums.n[~inside].sum()
    genes = np.flatnonzero((on >= ON) & (off < OFF * on) & (expected >= EXPECTED))
    return genes[np.argsort(-on[genes], kind="stable")]


def _switches(case: Case, found: dict[str, list[str]], *, two: bool) -> Finding:
    text = " ".join(
        f"{first_few(genes, 8)} {'is' if len(genes) == 1 else 'are'} on in every {unit_in_words(case)} of {name} and "
        f"off in the other {'class' if two else 'classes'}."
        for name, genes in found.items()
    )
    return Finding(
        "warn",
        text,
        subject=first_few([gene for genes in found.values() for gene in genes]),
        measure="genes",
        value=sum(map(len, found.values())),
        threshold=1,
        advice=(
            "If the gene is a reporter, transgene, knocked-out gene or sex gene, remove it from the features and "
            "evaluate again. If it is the biology of interest, report that this gene alone separates the classes."
        ),
    )


def _known(
    case: Case, sums: UnitSums, codes: np.ndarray, classes: np.ndarray, symbols: np.ndarray, chance: float
) -> tuple[list[Finding], set[str]]:
    """Findings on known genes, and the genes that they name."""
    kinds = {g: what for g, symbol in enumerate(symbols) if (what := kind(symbol)) and sums.detected[:, g].any()}
    findings, named = [], set()
    by_kind: dict[str, list[str]] = {}
    p = min(1.0, chance * len(kinds))
    for g, what in kinds.items():
        if p <= ALPHA and any(_apart(sums.mean[:, g], codes == c) for c in range(len(classes))):
            by_kind.setdefault(what, []).append(symbols[g])
    sex, sex_p = _sex(case, sums, codes, classes, symbols)
    for what, genes in by_kind.items():
        named |= set(genes)
        more = f" {sex}" if what == "the sex" and sex else ""
        separated = f"the classes of {case.label_key}" if len(classes) == 2 else f"a class of {case.label_key}"
        findings.append(
            Finding(
                "fail",
                f"{first_few(genes, 8)} {'reveals' if len(genes) == 1 else 'reveal'} {what}. "
                f"{'This gene' if len(genes) == 1 else 'Each of these genes'} alone separates {separated} in all "
                f"{numbered(case, len(codes))} (p = {p:.2g}).{more}",
                subject=first_few(genes),
                measure="genes",
                value=len(genes),
                threshold=1,
                advice=(
                    f"A model can predict {case.label_key} from {what}. Balance the design. Removing these genes helps "
                    "only if no other gene is correlated with them."
                ),
            )
        )
    if "the sex" not in by_kind and sex_p <= ALPHA:
        advice = f"Add samples so that each class of {case.label_key} has both sexes, or compare within one sex."
        findings.append(Finding("warn", sex, "sex", "p over units", sex_p, ALPHA, advice))
    return findings, named


def _apart(values: np.ndarray, inside: np.ndarray) -> bool:
    """Whether all units of the class are at least twofold above, or at least twofold below, all others."""
    low, high = values[inside], values[~inside]
    low, high = (low, high) if low.mean() < high.mean() else (high, low)
    return bool(high.min() > 0 and high.min() >= FOLD * low.max())


def _sex(case: Case, sums: UnitSums, codes: np.ndarray, classes: np.ndarray, symbols: np.ndarray) -> tuple[str, float]:
    """Association of the label with the sex of the units, read from XIST and Y genes, and its exact p-value."""
    from scipy.stats import fisher_exact

    upper = np.array([symbol.upper() for symbol in symbols])
    female, male = (sums.mean[:, np.isin(upper, sorted(names))].sum(axis=1) for names in (FEMALE, MALE))
    known = female + male > 0
    if not (np.isin(upper, sorted(FEMALE)).any() and np.isin(upper, sorted(MALE)).any()) or not known.all():
        return "", 1.0
    is_female = female > male
    parts, p = [], 1.0
    for number, name in enumerate(classes):
        inside = codes == number
        parts.append(f"{int(is_female[inside].sum())} of {numbered(case, int(inside.sum()))} of {name}")
        table = [[int((is_female & side).sum()), int((~is_female & side).sum())] for side in (inside, ~inside)]
        p = min(p, float(fisher_exact(table).pvalue))
    p = min(1.0, p * (1 if len(classes) == 2 else len(classes)))
    return f"Based on XIST and Y genes, {' and '.join(parts)} are female (p = {p:.2g}).", p

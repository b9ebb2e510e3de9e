"""Labels that are no names of perturbations: text for missing values, and names of guides."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING

from heldout._core.store import logger, some

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

_MISSING = frozenset({"", "nan", "none", "<na>", "nat", "null"})
"""Text that stands for a missing value, in lower case."""

_GUIDES = (
    re.compile(r"^(?P<target>.+?)[_\-.](?:gRNA|sgRNA|guide|sg|gr)[_\-.]?\d+$", re.IGNORECASE),
    re.compile(r"^(?P<target>.+?)[_\-.][ACGT]{17,}$"),
    re.compile(r"^(?P<target>[^_]+)_[+-]_\d+(?:\.\d+)?-P\d.*$"),
    re.compile(r"^\d+_(?P<target>[^_]+)_P\d(?:P\d)?_ENSG\d+$"),
)
"""Forms of names of guides: a numbered guide, a protospacer, a position in a library, a row of a library."""

_NUMBERED = re.compile(r"^(?P<target>.+)[_.](?P<number>\d{1,2})$")
"""A numbered name, which is a guide only if another name has the same target."""


def is_missing(label: str) -> bool:
    """Whether a label is the text of a missing value, such as "nan"."""
    return label.strip().lower() in _MISSING


def check_missing(labels: Sequence[str], key: str, *, known: Collection[str] = ()) -> None:
    """Refuse labels that are the text of a missing value, except ``known`` ones.

    Raises
    ------
    ValueError
        If there is one; the message says how to drop these cells.
    """
    found = [label for label in dict.fromkeys(labels) if is_missing(label) and label not in known]
    if found:
        msg = (
            f"adata.obs[{key!r}] has the label {found[0]!r}, which stands for a missing value. "
            f"Drop these cells: adata = adata[adata.obs[{key!r}].astype(str) != {found[0]!r}].copy(), or name their "
            f"target, e.g. targets={{{found[0]!r}: 'control'}}."
        )
        raise ValueError(msg)


def guides_of(labels: Sequence[str]) -> dict[str, str]:
    """Target of each label that is the name of a guide, ``{label: target}``; other labels are left out.

    A name with a number at its end, such as ``"KLF1_2"``, is a guide if another label has the same beginning.
    """
    found: dict[str, str] = {}
    numbered: dict[str, list[str]] = defaultdict(list)
    for label in dict.fromkeys(labels):
        match = next((match for form in _GUIDES if (match := form.match(label))), None)
        if match is not None:
            found[label] = match["target"]
        elif (match := _NUMBERED.match(label)) is not None:
            numbered[match["target"]].append(label)
    for target, names in numbered.items():
        if len(names) > 1:
            found |= dict.fromkeys(names, target)
    return found


def warn_of_guides(labels: Sequence[str], key: str) -> None:
    """Warn if most labels are names of guides, which hides that guides share a target."""
    guides = guides_of(labels)
    if 2 * len(guides) > len(labels):
        logger.warning("%s", guides_in_words(guides, key))


def guides_in_words(guides: dict[str, str], key: str) -> str:
    """What is wrong with names of guides, and what to do, in words."""
    label, target = next(iter(guides.items()))
    return (
        f"{len(guides)} labels of adata.obs[{key!r}] look like names of guides (e.g. {some(guides)}). Two guides of "
        "the same gene then count as different perturbations, and one can be in train while the other is in test. Pass "
        f"targets=, a mapping from guides to genes such as {{{label!r}: {target!r}}}, or a column of obs with the "
        "genes."
    )

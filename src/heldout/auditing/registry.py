"""The items of the audit, in the order they are reported."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Literal

from heldout._core.store import suggest
from heldout.auditing._finding import Finding, NotRun

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from heldout.auditing._case import Case


@dataclass(frozen=True)
class Item:
    """One item: the function of the same name in the file of the same name; ``leak`` is the kind of leak it looks for.

    The codes are those of Kapoor and Narayanan :cite:p:`kapoor2023`.
    """

    name: str
    cost: Literal["cheap", "costly"]
    leak: str
    summary: str

    def run(self, case: Case) -> list[Finding]:
        """Findings of this item; one that cannot run says why."""
        function: Callable[[Case], Iterable[Finding]] = getattr(
            import_module(f"heldout.auditing.{self.name}"), self.name
        )
        try:
            return list(function(case))
        except NotRun as reason:
            return [Finding("not run", str(reason))]


_DEPENDENCE = "L3.2 non-independence"
_DESIGN = "L3.3 test set not of the population"
_PREPARATION = "L1.2 preparation on test"
_FEATURES = "L2 illegitimate features"
_DUPLICATES = "L1.4 duplicates"

_ALL = (
    Item(
        "integrity",
        "cheap",
        "L1.1 no clean test set",
        "the split is what its record says; each cell is in one partition",
    ),
    Item("group_overlap", "cheap", _DEPENDENCE, "no library, donor, lane or the like is on both sides"),
    Item("class_coverage", "cheap", _DESIGN, "each class is in train and in test"),
    Item("power", "cheap", "none: too few groups", "smallest p-value that the test set can reach"),
    Item("confounding", "cheap", _FEATURES, "the label against each covariate, over groups"),
    Item(
        "covariate_prediction", "cheap", _FEATURES, "what a covariate alone, learnt on train, says of the test groups"
    ),
    Item("temporal_order", "cheap", "L3.1 temporal", "a forecast is tested after what it was trained on"),
    Item("perturbations", "cheap", _DEPENDENCE, "no test perturbation was seen in train under another name or context"),
    Item("test_looks", "cheap", "L1.1 no clean test set", "how often the test set was looked at"),
    Item("provenance", "cheap", _PREPARATION, "genes, scaling, components and models were fitted on train only"),
    Item("duplicates", "cheap", _DUPLICATES, "the same cell on both sides, under any name"),
    Item("single_genes", "cheap", _FEATURES, "genes that give the label away alone: sex, reporters"),
    Item("nuisance", "cheap", _FEATURES, "what depth and quality alone say of the label"),
    Item("effective_size", "cheap", _DEPENDENCE, "how many independent cells the groups are worth"),
    Item("near_duplicates", "costly", _DUPLICATES, "cells that share their counting noise across partitions"),
    Item("fingerprint", "costly", _DEPENDENCE, "how well a cell names its library"),
    Item("random_labels", "costly", _DEPENDENCE, "what can be predicted of a label that means nothing"),
    Item("leakage_gap", "costly", _DEPENDENCE, "AUC of cells split at random, by group, by group and match"),
    Item(
        "shift",
        "costly",
        _DESIGN,
        "whether the test groups differ from train more than train groups do from each other",
    ),
)

ITEMS = {item.name: item for item in _ALL}


def chosen(items: str | Sequence[str]) -> list[Item]:
    """The items that are asked for: ``"cheap"``, ``"all"`` or names."""
    if items == "all":
        return list(_ALL)
    if items == "cheap":
        return [item for item in _ALL if item.cost == "cheap"]
    names = [items] if isinstance(items, str) else list(items)
    for name in names:
        if name not in ITEMS:
            msg = f"items names {name!r}, which is no item of the audit. {suggest(name, [*ITEMS, 'cheap', 'all'])}"
            raise ValueError(msg)
    return [item for item in _ALL if item.name in names]

"""The items of the audit, in the order of the report."""

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
    """One item of the audit. Its function has the same name and is in the file of the same name.

    ``leak`` is the kind of leak that the item looks for. The codes are those of Kapoor and Narayanan
    :cite:p:`kapoor2023`.
    """

    name: str
    cost: Literal["cheap", "costly"]
    leak: str
    summary: str

    def run(self, case: Case) -> list[Finding]:
        """Findings of this item. If it cannot run, the finding is the reason."""
        function: Callable[[Case], Iterable[Finding]] = getattr(
            import_module(f"heldout.auditing.{self.name}"), self.name
        )
        try:
            return list(function(case))
        except NotRun as reason:
            return [Finding("not run", str(reason))]


_DEPENDENCE = "L3.2 non-independence"
_DESIGN = "L3.3 test set not from the population"
_PREPARATION = "L1.2 preparation on test"
_FEATURES = "L2 illegitimate features"
_PRETRAINING = "L1.1 no clean test set"
_DUPLICATES = "L1.4 duplicates"

_ALL = (
    Item(
        "integrity",
        "cheap",
        "L1.1 no clean test set",
        "the split matches its record; each cell is in one partition",
    ),
    Item("group_overlap", "cheap", _DEPENDENCE, "no library, donor or lane has cells on both sides"),
    Item("aliases", "cheap", _DEPENDENCE, "no group has two spellings, and none is a placeholder"),
    Item("same_unit", "cheap", _DEPENDENCE, "no test unit is in train under another name"),
    Item("class_coverage", "cheap", _DESIGN, "train and test have each class"),
    Item("power", "cheap", "none: too few groups", "smallest p-value that the test set can reach"),
    Item("confounding", "cheap", _FEATURES, "association of the label with each covariate over groups"),
    Item("covariate_prediction", "cheap", _FEATURES, "prediction of the test groups from one covariate alone"),
    Item("temporal_order", "cheap", "L3.1 temporal", "a forecast is tested on later times than it was trained on"),
    Item("perturbations", "cheap", _DEPENDENCE, "no test perturbation is in train, and none has a relative there"),
    Item("test_looks", "cheap", "L1.1 no clean test set", "number of looks at the test set"),
    Item("provenance", "cheap", _PREPARATION, "genes, scaling, components and models were fitted on train only"),
    Item("label_selection", "cheap", _FEATURES, "genes were not chosen by the label on test cells"),
    Item("unit_variation", "cheap", _FEATURES, "the units of a class vary at least as much as samples of cells"),
    Item("disguised_label", "cheap", _FEATURES, "no column of obs or obsm is the label under another name"),
    Item("pretraining", "cheap", _PRETRAINING, "no parent of a fit has seen test cells or test perturbations"),
    Item("duplicates", "cheap", _DUPLICATES, "the same cell on both sides under any name"),
    Item("single_genes", "cheap", _FEATURES, "genes that reveal the label alone: sex genes, reporters"),
    Item("nuisance", "cheap", _FEATURES, "prediction of the label from depth and quality alone"),
    Item("too_good", "cheap", _DESIGN, "test units are not easier than train units, and lack no wrong cells"),
    Item("effective_size", "cheap", _DEPENDENCE, "number of independent cells that the groups are worth"),
    Item("near_duplicates", "costly", _DUPLICATES, "cells that share their counting noise across partitions"),
    Item("fingerprint", "costly", _DEPENDENCE, "prediction of the library of a cell"),
    Item("random_labels", "costly", _DEPENDENCE, "prediction of a random label"),
    Item("leakage_gap", "costly", _DEPENDENCE, "AUC with held-out cells, groups, and groups and match values"),
    Item(
        "shift",
        "costly",
        _DESIGN,
        "difference between the test groups and the train groups",
    ),
)

ITEMS = {item.name: item for item in _ALL}


def chosen(items: str | Sequence[str]) -> list[Item]:
    """Items for ``"cheap"``, ``"all"`` or names of items."""
    if items == "all":
        return list(_ALL)
    if items == "cheap":
        return [item for item in _ALL if item.cost == "cheap"]
    names = [items] if isinstance(items, str) else list(items)
    for name in names:
        if name not in ITEMS:
            msg = f"items={name!r} is not an item of the audit. {suggest(name, [*ITEMS, 'cheap', 'all'])}"
            raise ValueError(msg)
    return [item for item in _ALL if item.name in names]

"""The prepared cells of one fold, and what all fits on them share: the split, the task, its matrices and groups."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from heldout._core import store
from heldout._core.partition import read_partition
from heldout.tasks.genotype.task import Task, group_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from anndata import AnnData

    from heldout._core.partition import Partition


@dataclass(frozen=True)
class Question:
    """What all fits of a comparison share.

    Build it from the arguments of a function with :meth:`of`.
    """

    label_key: str
    group_key: tuple[str, ...] | None
    covariate_keys: tuple[str, ...]
    cell_type_key: str | None
    n_top_genes: int | None
    max_value: float | None
    layer: str | None

    @classmethod
    def of(
        cls,
        label_key: str,
        *,
        group_key: str | Sequence[str] | None,
        covariate_keys: str | Sequence[str],
        cell_type_key: str | None,
        n_top_genes: int | None,
        max_value: float | None,
        layer: str | None,
    ) -> Question:
        """One column may stand for a sequence of columns."""
        return cls(
            label_key,
            None if group_key is None else _columns(group_key),
            _columns(covariate_keys),
            cell_type_key,
            n_top_genes,
            max_value,
            layer,
        )

    def task(self, adata: AnnData, partition: Partition, auxiliary_key: str | None) -> Task:
        """The task on prepared cells."""
        return Task.of(
            adata,
            partition,
            label_key=self.label_key,
            auxiliary_key=auxiliary_key,
            group_key=None if self.group_key is None else list(self.group_key),
            covariate_keys=list(self.covariate_keys),
            cell_type_key=self.cell_type_key,
            mask_var=None if self.n_top_genes is None else "highly_variable",
            layer=self.layer,
        )


def _columns(names: str | Sequence[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


@dataclass(frozen=True)
class Fold:
    """Cells that were prepared on one split, and a question. Its parts are computed once, for all methods and seeds.

    Build it with :meth:`of`.
    """

    adata: AnnData
    question: Question
    split: Partition
    _tasks: dict[str | None, Task] = field(default_factory=dict, repr=False, compare=False)
    _groups: dict[str, np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, adata: AnnData, question: Question, split_key: str) -> Fold:
        """Read the split of cells that were prepared on it."""
        return cls(adata, question, read_partition(adata, split_key))

    def task(self, auxiliary_key: str | None) -> Task:
        """The task with an auxiliary column. It keeps the features that its methods read."""
        if auxiliary_key not in self._tasks:
            self._tasks[auxiliary_key] = self.question.task(self.adata, self.split, auxiliary_key)
        return self._tasks[auxiliary_key]

    @property
    def groups(self) -> np.ndarray:
        """Name of the group of each cell, (n_obs,)."""
        if "names" not in self._groups:
            group_key = self.task(None).group_key
            assert group_key is not None
            self._groups["names"] = group_names(self.adata, group_key)
        return self._groups["names"]

    def groups_in(self, partition: str) -> tuple[np.ndarray, np.ndarray]:
        """Names of the groups of a partition, and the group number of each of its cells."""
        return store.factorize(self.groups[self.split.rows(partition)])

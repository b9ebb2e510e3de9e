"""What a perturbation method is: what it may see, and what it answers with.

A method reads pseudobulks (``reads = "profiles"``) or cells (``reads = "cells"``) of the train perturbations. It
answers with a :class:`heldout.tasks.perturbation.predictions.Prediction`: the mean change of each perturbation, and
predicted cells.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import numpy as np

from heldout._core.alignment import NameIndex

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from heldout._core.method import Fitted
    from heldout.splitting._perturbations import Targets
    from heldout.tasks.perturbation.observed import Cells
    from heldout.tasks.perturbation.pairs import Pairs
    from heldout.tasks.perturbation.predictions import Controls, Prediction


@dataclass(frozen=True)
class Vectors:
    """Vectors of targets or of genes: the rows of an embedding.

    Parameters
    ----------
    names
        Names of the rows, (n,).
    values
        The rows, (n × d).
    aliases
        Other names of the rows, ``{other: name}``.
    what
        What has these names, for error messages.
    separator
        Text between the targets in the name of a combination.
    """

    names: np.ndarray
    values: np.ndarray
    aliases: dict[str, str] = field(default_factory=dict)
    what: str = "genes of the data"
    separator: str = "+"

    def of(self, targets: Sequence[Targets]) -> np.ndarray:
        """Vector of each perturbation, (m × d): its own row, or the sum over its targets; NaN if a target has no row.

        Names are matched regardless of case and of the version of an Ensembl id, where only one row matches.
        """
        whole = [self.separator.join(members) for members in targets]
        distinct = sorted({*whole, *(target for members in targets for target in members)})
        row = dict(zip(distinct, NameIndex(self.names, self.aliases).match(distinct).rows.tolist(), strict=True))
        result = np.zeros((len(targets), self.values.shape[1]))
        for i, members in enumerate(targets):
            at = [row[whole[i]]] if row[whole[i]] >= 0 else [row[target] for target in members]
            result[i] = self.values[at].sum(axis=0, dtype=np.float64) if min(at) >= 0 else np.nan
        return result

    def to_json(self) -> dict[str, Any]:
        """Everything but the rows, as JSON values."""
        rest = {"aliases": self.aliases, "what": self.what, "separator": self.separator}
        return {"names": [str(name) for name in self.names], **rest}

    @classmethod
    def load(cls, stored: dict[str, Any], values: np.ndarray) -> Vectors:
        """Inverse of :meth:`to_json`."""
        return cls(**{**stored, "names": np.array(stored["names"], dtype=object), "values": values})


@dataclass(frozen=True)
class Profiles:
    """Pseudobulks of the train perturbations, float64.

    Parameters
    ----------
    pairs
        The train perturbations, in each context where train has cells of them.
    change
        Mean of each perturbation minus the mean of the train controls of its context, (m × G).
    n_cells
        Number of cells behind each row, (m,).
    control
        Mean of the train controls of each context, (C × G); NaN where train has none.
    half_difference
        Function that returns the difference of the means of two random halves of the cells of each row, (m × G), NaN
        for a single cell: the noise of a row, in any direction. It reads the matrix when it is first called.
    control_n
        Number of train controls of each context, (C,), or None if it is not known.
    """

    pairs: Pairs
    change: np.ndarray
    n_cells: np.ndarray
    control: np.ndarray
    half_difference: Callable[[], np.ndarray]
    control_n: np.ndarray | None = None

    @property
    def n_contexts(self) -> int:
        """Number of contexts, including those where train has only controls."""
        return len(self.control)


@dataclass(frozen=True)
class Data:
    """Everything that a method may see.

    Parameters
    ----------
    genes
        Names of the genes, (G,).
    profiles
        Pseudobulks of train.
    cells
        Function that returns the cells of train and val. For methods that read profiles it raises a TypeError.
    gene_vectors
        Vectors of the genes, (G × d), or None. A gene without a vector has NaN.
    target_vectors
        Vectors of targets, or None.
    contexts
        Values of the covariates of each context, by number, (C,).
    """

    genes: np.ndarray
    profiles: Profiles
    cells: Callable[[], Cells]
    gene_vectors: np.ndarray | None = None
    target_vectors: Vectors | None = None
    contexts: Sequence[tuple[str, ...]] = ()


class PerturbationMethod(Protocol):
    """The two verbs of a perturbation method."""

    default_config: ClassVar[Any]
    """Options if the user passes none; the user's options must be of its class."""

    stochastic: ClassVar[bool]
    """Whether another seed gives another fit."""

    reads: ClassVar[Literal["profiles", "cells"]]
    """What the method learns from. A method that reads cells is generative: its predicted cells are more than moved
    controls."""

    def fit(self, data: Data, config: Any, *, seed: int, start: Fitted | None = None) -> Fitted:
        """Fit on the train perturbations; ``start`` is an earlier fit of the same method to continue from.

        A method that can continue has ``gene_axes``: names of its arrays with an axis of genes, and that axis. Its
        arrays then come with the genes of the new fit. Other methods get None.
        """

    def predict(self, fitted: Fitted, pairs: Pairs, controls: Controls, *, seed: int) -> Prediction:
        """Predict each perturbation in its context.

        A method that chooses something on held-out perturbations of train also has ``chosen(fitted)``, a few words on
        what it chose, which the table of an evaluation shows.
        """

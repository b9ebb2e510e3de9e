"""What a perturbation method is: it fits on pseudobulks of train and predicts the change of any perturbation.

Baselines and networks alike.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
import pandas as pd

from heldout._core.alignment import Names

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from heldout.splitting._perturbations import Targets


@dataclass(frozen=True)
class Pairs:
    """Perturbations in contexts, one a row.

    Parameters
    ----------
    targets
        Sorted targets of each, (m,).
    context
        Number of its context, (m,).
    """

    targets: Sequence[Targets]
    context: np.ndarray

    def __len__(self) -> int:
        return len(self.targets)

    def rows_of(self) -> dict[tuple[Targets, int], int]:
        """Row of each perturbation and context."""
        return {(t, int(c)): i for i, (t, c) in enumerate(zip(self.targets, self.context, strict=True))}


@dataclass(frozen=True)
class Vectors:
    """Numbers that say what a target, or a gene, is: the rows of an embedding.

    Parameters
    ----------
    names
        Names of the rows, (n,).
    values
        The rows, (n × d).
    aliases
        Other names of the rows, ``{other: name}``.
    what
        What has these names, for a message.
    separator
        Text between the targets in the name of a combination.
    """

    names: np.ndarray
    values: np.ndarray
    aliases: dict[str, str] = field(default_factory=dict)
    what: str = "genes at hand"
    separator: str = "+"

    def of(self, targets: Sequence[Targets]) -> np.ndarray:
        """Vector of each perturbation, (m × d): a row of its own, or the sum over its targets; NaN where one has none.

        Names are found regardless of case and of the version of an Ensembl id, where that leaves one.
        """
        whole = [self.separator.join(members) for members in targets]
        distinct = sorted({*whole, *(target for members in targets for target in members)})
        row = dict(zip(distinct, Names(self.names, self.aliases).match(distinct).rows.tolist(), strict=True))
        result = np.zeros((len(targets), self.values.shape[1]))
        for i, members in enumerate(targets):
            at = [row[whole[i]]] if row[whole[i]] >= 0 else [row[target] for target in members]
            result[i] = self.values[at].sum(axis=0, dtype=np.float64) if min(at) >= 0 else np.nan
        return result

    def to_json(self) -> dict[str, Any]:
        """All but the rows, as JSON values."""
        rest = {"aliases": self.aliases, "what": self.what, "separator": self.separator}
        return {"names": [str(name) for name in self.names], **rest}

    @classmethod
    def load(cls, stored: dict[str, Any], values: np.ndarray) -> Vectors:
        """Inverse of :meth:`to_json`."""
        return cls(**{**stored, "names": np.array(stored["names"], dtype=object), "values": values})


@dataclass(frozen=True)
class Data:
    """What a method may see: pseudobulks of train, all numbers float64.

    Parameters
    ----------
    genes
        Names of the genes, (G,).
    pairs
        The perturbations of train, in each context where train has cells of them.
    change
        Mean of each minus the mean of the train controls of its context, (m × G).
    n_cells
        Number of cells behind each row, (m,).
    control
        Mean of the train controls of each context, (C × G).
    half_difference
        Function that gives the difference of the means of two random halves of the cells behind each row, (m × G), NaN for a
        single cell: how noisy a row is, in any direction. It reads the matrix when it is first called.
    gene_vectors
        Vectors of the genes, (G × d), or None; a gene without one has NaN.
    target_vectors
        Vectors of targets, or None.
    """

    genes: np.ndarray
    pairs: Pairs
    change: np.ndarray
    n_cells: np.ndarray
    control: np.ndarray
    half_difference: Callable[[], np.ndarray]
    gene_vectors: np.ndarray | None = None
    target_vectors: Vectors | None = None

    @property
    def n_contexts(self) -> int:
        """Number of contexts, with those that train has controls of only."""
        return len(self.control)


@dataclass(frozen=True)
class Fitted:
    """Result of a fit: numbers, JSON values, and a table with one row an epoch."""

    arrays: dict[str, np.ndarray]
    info: dict[str, Any] = field(default_factory=dict)
    history: pd.DataFrame = field(default_factory=pd.DataFrame)


@dataclass(frozen=True)
class Prediction:
    """Predicted changes.

    Parameters
    ----------
    change
        Change from the controls of the context, (m × G); a row of NaN where the method cannot say anything.
    fallback
        Whether a row rests on a stand-in, as the mean effect for a target that train has not seen, (m,).
    """

    change: np.ndarray
    fallback: np.ndarray

    @classmethod
    def sure(cls, change: np.ndarray) -> Prediction:
        """A prediction without stand-ins."""
        return cls(change, np.zeros(len(change), dtype=bool))


class PerturbationMethod(Protocol):
    """The two verbs of a perturbation method."""

    default_config: ClassVar[Any]
    """Options if none are given; those given must be of its class."""

    def fit(self, data: Data, config: Any, *, seed: int) -> Fitted:
        """Fit on the perturbations of train."""

    def predict(self, fitted: Fitted, pairs: Pairs) -> Prediction:
        """Change of each perturbation in its context."""

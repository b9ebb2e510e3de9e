"""What a network knows of a perturbation: its targets, their vectors, the context and the dose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from heldout.tasks.perturbation.interface import Vectors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from heldout._core.blocks import Batch
    from heldout._core.method import Fitted
    from heldout.splitting._perturbations import Targets
    from heldout.tasks.perturbation.interface import Data
    from heldout.tasks.perturbation.pairs import Pairs

VECTORS = "condition_vectors"
"""Name of the fixed vectors among the arrays of a fit."""


@dataclass(frozen=True)
class Conditions:
    """Targets, contexts and doses that a network can be asked for, and how they become tensors.

    Parameters
    ----------
    targets
        Targets with a learned vector, (T,): those of train, without those that have a fixed vector.
    contexts
        Values of the covariates of each context, by number, (C,).
    seen
        Whether train has cells of each context, (C,).
    vectors
        Fixed vectors of targets from an embedding, or None.
    typical_dose
        Median of the train doses, by which doses are divided, so that their unit does not matter; 0 if the screen has
        no doses.
    """

    targets: tuple[str, ...]
    contexts: tuple[tuple[str, ...], ...]
    seen: np.ndarray
    vectors: Vectors | None = None
    typical_dose: float = 0.0

    @classmethod
    def of(cls, data: Data, start: Fitted | None = None) -> Conditions:
        """Conditions of the train perturbations, and the targets of the fit that is continued."""
        profiles = data.profiles
        pairs = profiles.pairs
        earlier = [] if start is None else start.info["conditions"]["targets"]
        names = sorted({*earlier, *(target for targets in pairs.targets for target in targets)})
        vectors = None if data.target_vectors is None else _standardised(data.target_vectors)
        if vectors is not None:
            lacking = np.isnan(vectors.of([(name,) for name in names])).any(axis=1)
            names = [name for name, lacks in zip(names, lacking, strict=True) if lacks]
        contexts = tuple(tuple(context) for context in data.contexts) or tuple(
            (str(number),) for number in range(profiles.n_contexts)
        )
        typical = 0.0 if pairs.dose is None else float(np.median(pairs.dose))
        return cls(tuple(names), contexts, np.isfinite(profiles.control).all(axis=1), vectors, typical)

    @property
    def n_vector_dims(self) -> int:
        """Length of a fixed vector; 0 without fixed vectors."""
        return 0 if self.vectors is None else self.vectors.values.shape[1]

    def encode(self, pairs: Pairs) -> tuple[Batch, np.ndarray]:
        """Tensors of some perturbations in contexts, and whether each row is a fallback, (m,).

        A target without a learned and without a fixed vector adds nothing to the condition, and an unknown context has
        the mean of the known ones. Both make a row a fallback.
        """
        of_targets, missing = self.encode_targets(pairs.targets)
        context, unknown = self.encode_context(pairs.context)
        dose = pairs.dose
        of_dose = self.encode_dose(np.zeros(len(pairs)) if dose is None else dose)
        tensors = {**of_targets, "context": torch.from_numpy(context), "dose": torch.from_numpy(of_dose)}
        return tensors, missing | unknown

    def encode_targets(self, targets: Sequence[Targets]) -> tuple[Batch, np.ndarray]:
        """Numbers of the learned vectors of each row, (m × K), and its fixed vector, (m × d); rows that lack one, (m,).

        The number T stands for no vector. Controls have no targets, and so no vectors. ``unseen`` is the number of
        targets of each row without any vector, (m,).
        """
        number = {name: i for i, name in enumerate(self.targets)}
        numbers = np.full((len(targets), max(1, max(map(len, targets), default=1))), len(number), dtype=np.int64)
        fixed = np.zeros((len(targets), self.n_vector_dims), dtype=np.float32)
        unseen = np.zeros(len(targets), dtype=np.float32)
        known = self._fixed({target for members in targets for target in members}, targets)
        for i, members in enumerate(targets):
            whole = known.get(members)
            parts = [members] if whole is not None else [(target,) for target in members]
            for place, part in enumerate(parts):
                if (vector := known.get(part)) is not None:
                    fixed[i] += vector
                elif part[0] in number:
                    numbers[i, place] = number[part[0]]
                else:
                    unseen[i] += 1
        arrays = {"targets": numbers, "vectors": fixed, "unseen": unseen}
        return {name: torch.from_numpy(values) for name, values in arrays.items()}, unseen > 0

    def _fixed(self, single: set[str], whole: Sequence[Targets]) -> dict[Targets, np.ndarray]:
        """Fixed vectors of targets, and of combinations that have a vector of all their members."""
        if self.vectors is None:
            return {}
        asked = list(dict.fromkeys([*((target,) for target in sorted(single)), *(w for w in whole if len(w) > 1)]))
        values = self.vectors.of(asked) if asked else np.empty((0, self.n_vector_dims))
        return {key: value for key, value in zip(asked, values, strict=True) if np.isfinite(value).all()}

    def encode_context(self, context: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Number of each context, (m,) int64, where C stands for an unknown one; and whether it is unknown, (m,)."""
        C = len(self.contexts)
        known = (context >= 0) & (context < C)
        known &= self.seen[np.where(known, context, 0)]
        return np.where(known, context, C).astype(np.int64), ~known

    def encode_dose(self, dose: np.ndarray) -> np.ndarray:
        """log1p(dose / typical dose), (m,) float32; 0 for controls and in a screen without doses."""
        if self.typical_dose == 0:
            return np.zeros(len(dose), dtype=np.float32)
        return np.log1p(np.nan_to_num(dose) / self.typical_dose).astype(np.float32)

    def arrays(self) -> dict[str, np.ndarray]:
        """What :meth:`load` needs, as arrays."""
        return {} if self.vectors is None else {VECTORS: self.vectors.values.astype(np.float32)}

    def to_json(self) -> dict[str, Any]:
        """Everything else that :meth:`load` needs, as JSON values."""
        return {
            "targets": list(self.targets),
            "contexts": [list(context) for context in self.contexts],
            "seen": [bool(seen) for seen in self.seen],
            "vectors": None if self.vectors is None else self.vectors.to_json(),
            "typical_dose": self.typical_dose,
        }

    @classmethod
    def load(cls, stored: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Conditions:
        """Inverse of :meth:`arrays` and :meth:`to_json`."""
        vectors = None if stored["vectors"] is None else Vectors.load(stored["vectors"], arrays[VECTORS])
        contexts = tuple(tuple(context) for context in stored["contexts"])
        seen = np.array(stored["seen"], dtype=bool)
        return cls(tuple(stored["targets"]), contexts, seen, vectors, float(stored["typical_dose"]))


def _standardised(vectors: Vectors) -> Vectors:
    """Centre and scale to a variance of 1 on average, in float32, so that a stored fit has the same bits."""
    values = vectors.values.astype(np.float64)
    values = values - values.mean(axis=0)
    spread = float(np.sqrt((values**2).mean()))
    values = (values / spread if spread > 0 else values).astype(np.float32)
    return Vectors(vectors.names, values, vectors.aliases, vectors.what, vectors.separator)


class TargetEncoder(nn.Module):
    """Vectors of perturbations and of contexts, for the networks to combine.

    The vector of a perturbation is the sum of the vectors of its targets: learned vectors, and a function of the sum of
    the fixed vectors. The dose scales and shifts this sum.

    Parameters
    ----------
    conditions
        The targets, contexts and vectors.
    width
        Length of the vectors.
    fixed
        Function of the fixed vectors that maps zero to zero, (batch × d) to (batch × width).
    """

    seen: torch.Tensor

    def __init__(self, conditions: Conditions, width: int, fixed: nn.Module | None) -> None:
        super().__init__()
        n_targets, n_contexts = len(conditions.targets), len(conditions.contexts)
        self.targets = nn.Embedding(n_targets + 1, width, padding_idx=n_targets)
        self.contexts = nn.Embedding(n_contexts, width)
        self.fixed = fixed if conditions.n_vector_dims else None
        self.dose = nn.Linear(1, 2 * width, bias=False) if conditions.typical_dose else None
        self.register_buffer("seen", torch.from_numpy(conditions.seen.astype(np.float32)), persistent=False)

    def context(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Vector of the context, (batch × width); the mean of those of train for an unknown context."""
        mean = self.seen @ self.contexts.weight / self.seen.sum()
        return torch.cat([self.contexts.weight, mean[None]])[batch["context"]]

    def perturbation(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Sum of the vectors of the targets, scaled and shifted by the dose, (batch × width); 0 for controls."""
        total = self.targets_of(batch)
        if self.dose is not None:
            scale, shift = self.dose(batch["dose"][:, None]).chunk(2, dim=1)
            total = total * (1 + scale) + shift
        return total

    def targets_of(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Sum of the vectors of the targets, (batch × width)."""
        total: torch.Tensor = self.targets(batch["targets"]).sum(dim=1)
        return total if self.fixed is None else total + self.fixed(batch["vectors"])


class ConditionEncoder(TargetEncoder):
    """One vector for each perturbation in its context, (batch × width).

    The vector of the context is added to that of the perturbation, and a small network of the result lets targets
    interact.

    Parameters
    ----------
    conditions
        The targets, contexts and vectors.
    width
        Length of the result.
    """

    def __init__(self, conditions: Conditions, width: int) -> None:
        fixed = _without_bias(conditions.n_vector_dims, width) if conditions.n_vector_dims else None
        super().__init__(conditions, width, fixed)
        self.dropped = nn.Parameter(torch.zeros(width))
        self.mix = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, batch: Mapping[str, torch.Tensor], drop: torch.Tensor | None = None) -> torch.Tensor:
        """Encode the rows of a batch.

        Parameters
        ----------
        batch
            Tensors of :meth:`Conditions.encode`, by name.
        drop
            Rows whose perturbation and dose are hidden, (batch,) bool; the context stays. If None, no row.
        """
        perturbation = self.perturbation(batch)
        if drop is not None:
            perturbation = torch.where(drop[:, None], self.dropped, perturbation)
        encoded: torch.Tensor = self.mix(perturbation + self.context(batch))
        return encoded


class AdditiveEncoder(TargetEncoder):
    """Sum of the vectors of the targets, of the dose and of the context, (batch × width); targets do not interact.

    Learned vectors of targets begin at zero. A target without any vector has the mean of the learned vectors, so that
    its prediction is that of a mean target.

    Parameters
    ----------
    conditions
        The targets, contexts and vectors.
    width
        Length of the result.
    """

    def __init__(self, conditions: Conditions, width: int) -> None:
        n = conditions.n_vector_dims
        super().__init__(conditions, width, nn.Linear(n, width, bias=False) if n else None)
        nn.init.zeros_(self.targets.weight)
        nn.init.normal_(self.contexts.weight, std=0.1)

    def forward(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Encode the rows of a batch."""
        return self.perturbation(batch) + self.context(batch)

    def targets_of(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Sum of the vectors of the targets, (batch × width)."""
        learned = self.targets.weight[:-1]
        if not len(learned):
            return super().targets_of(batch)
        return super().targets_of(batch) + batch["unseen"][:, None] * learned.mean(dim=0)


def _without_bias(n_in: int, width: int) -> nn.Module:
    """A network that maps zero to zero, so that controls have no vector."""
    return nn.Sequential(nn.Linear(n_in, width, bias=False), nn.SiLU(), nn.Linear(width, width, bias=False))

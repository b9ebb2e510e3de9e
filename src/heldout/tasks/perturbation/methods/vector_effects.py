"""Effects of targets from their vectors: what ``vector_knn`` and ``vector_lasso`` share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from heldout._core.method import Fitted
from heldout.tasks.perturbation.interface import Vectors
from heldout.tasks.perturbation.methods.latent_additive import Latent, fit_effects, latent_change
from heldout.tasks.perturbation.methods.vectors import no_vectors, vectors_of_targets
from heldout.tasks.perturbation.predictions import Controls, Shifted

if TYPE_CHECKING:
    from collections.abc import Callable

    from heldout.splitting._perturbations import Targets
    from heldout.tasks.perturbation.interface import Data
    from heldout.tasks.perturbation.pairs import Pairs

_MOST_COMPS = 50
_EXPLAINED = 0.99


@dataclass(frozen=True)
class TargetEffects:
    """Effects of the train targets that have a vector. The common template, the mean effect of a target, is removed.

    Parameters
    ----------
    latent
        Components and template of the train changes.
    effects
        Effects of all train targets as in ``latent_additive``, (T × K).
    vectors
        Vectors of targets.
    names
        Train targets with a vector, (N,).
    P, Y
        Vectors (N × d) of these targets and their effects (N × Q), measured alone where train has them alone and not
        shrunk. The effects are in their own leading components.
    directions
        These components, (Q × K).
    """

    latent: Latent
    effects: np.ndarray
    vectors: Vectors
    names: list[str]
    P: np.ndarray
    Y: np.ndarray
    directions: np.ndarray

    @classmethod
    def of(cls, data: Data, method: str, n_comps: int) -> TargetEffects:
        """Estimate the effects, and find the vectors.

        Raises
        ------
        ValueError
            If no train target has a vector.
        """
        latent = Latent.of(data.profiles, None)
        effects = fit_effects(latent, latent.rest, data.profiles, None)
        vectors = vectors_of_targets(data, n_comps)
        P = vectors.of([(target,) for target in latent.targets])
        known = np.isfinite(P).all(axis=1) & (np.abs(np.nan_to_num(P)).sum(axis=1) > 0)
        if not known.any():
            raise ValueError(no_vectors(method, vectors))
        names = [target for target, has in zip(latent.targets, known, strict=True) if has]
        responses = _responses(latent, effects, data.profiles.n_cells)[known]
        directions = _directions(responses)
        return cls(latent, effects, vectors, names, P[known], responses @ directions.T, directions)

    def fitted(self, arrays: dict[str, np.ndarray], info: dict[str, Any]) -> Fitted:
        """A fit with further arrays and values."""
        shared = {**self.latent.arrays(self.effects), "vectors": self.vectors.values, "directions": self.directions}
        return Fitted({**shared, **arrays}, {**self.latent.info(), "vectors": self.vectors.to_json(), **info})


def predict_from_vectors(
    fitted: Fitted, pairs: Pairs, controls: Controls, effect_of: Callable[[np.ndarray], np.ndarray]
) -> Shifted:
    """Add up the effects of targets; ``effect_of`` maps vectors of unseen targets, (n × d), to effects, (n × Q).

    An unseen target without a vector has the mean effect as a fallback. So has one in a context without train
    perturbations.
    """
    change, fallback = latent_change(fitted, pairs)
    known, lacking = set(fitted.info["targets"]), fitted.arrays["lacking"]
    vectors = Vectors.load(fitted.info["vectors"], fitted.arrays["vectors"])
    to_genes = fitted.arrays["directions"] @ fitted.arrays["basis"]
    unseen: list[Targets] = [tuple(t for t in targets if t not in known) for targets in pairs.targets]
    for i in (i for i, targets in enumerate(unseen) if targets):
        P = vectors.of([(target,) for target in unseen[i]])
        has = np.isfinite(P).all(axis=1)
        if has.any():
            change[i] += effect_of(P[has]).sum(axis=0) @ to_genes
        here = pairs.context[i] < len(lacking) - 1 and not lacking[pairs.context[i]]
        fallback[i] = not has.all() or not here
    return Shifted.of(pairs, controls, change, fallback)


def _responses(latent: Latent, effects: np.ndarray, n_cells: np.ndarray) -> np.ndarray:
    """Mean difference of each target alone from the template, weighted by cells, (T × K); else its estimated effect."""
    alone = latent.design * ((latent.design.sum(axis=1) == 1) * n_cells)[:, None]
    total = alone.sum(axis=0)[:, None]
    return np.where(
        total > 0, np.divide(alone.T @ latent.rest, total, where=total > 0, out=np.zeros_like(effects)), effects
    )


def _directions(effects: np.ndarray) -> np.ndarray:
    """Leading principal directions of the effects, not centred, (Q × K)."""
    _, S, Vt = np.linalg.svd(effects, full_matrices=False)
    if not S[0] > 0:
        return np.asarray(Vt[:1])
    explained = np.cumsum(S**2) / (S**2).sum()
    return np.asarray(Vt[: min(_MOST_COMPS, int(np.searchsorted(explained, _EXPLAINED)) + 1)])

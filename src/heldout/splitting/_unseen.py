"""Draw the perturbations that are held out in all contexts: unseen targets, or combinations of targets."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from heldout.splitting._allocate import allocate
from heldout.splitting._groups import CODE
from heldout.splitting._perturbations import seen_in_train

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scipy import sparse

_RESTARTS = 30
_HELD = ("val", "test")


def shared_out(n: int, fractions: Mapping[str, float], *, what: str) -> dict[str, int]:
    """Return how many of ``n`` go to each partition with a positive share, at least one each."""
    wanted = [name for name, share in fractions.items() if share > 0]
    if n < len(wanted):
        msg = (
            f"There are {n} {what}, fewer than the partitions to fill ({', '.join(wanted)}). Ask for fewer "
            "partitions (for example val=0), or use another hold_out."
        )
        raise ValueError(msg)
    shares = np.array([fractions[name] for name in wanted])
    return dict(zip(wanted, allocate(np.array([n]), shares)[0].tolist(), strict=True))


def draw_singles(members: sparse.csr_array, fractions: Mapping[str, float], rng: np.random.Generator) -> np.ndarray:
    """Return the partition code of each perturbation, (P,), with whole targets held out.

    Targets that are perturbed alone in some cells are drawn. A combination with a test target is test. Any other
    combination with a val target is val.
    """
    sizes = np.diff(members.indptr)
    singles = np.flatnonzero(sizes == 1)
    drawn = _draw(len(singles), shared_out(len(singles), fractions, what="perturbations of a single target"), rng)
    of_target = np.full(members.shape[1], CODE["train"], dtype=np.int8)
    of_target[members.indices[members.indptr[singles]]] = drawn
    codes = np.full(len(sizes), CODE["train"], dtype=np.int8)
    for name in _HELD:  # test comes last, so that it overwrites val
        codes[_has(members, of_target == CODE[name])] = CODE[name]
    return codes


def draw_combinations(
    members: sparse.csr_array, fractions: Mapping[str, float], rng: np.random.Generator
) -> np.ndarray:
    """Return the partition code of each perturbation, (P,), with combinations held out.

    All perturbations of a single target are train. Combinations are drawn.
    """
    combinations = np.flatnonzero(np.diff(members.indptr) > 1)
    counts = shared_out(len(combinations), fractions, what="combinations of two or more targets")
    codes = np.full(members.shape[0], CODE["train"], dtype=np.int8)
    codes[combinations] = _draw(len(combinations), counts, rng)
    return codes


def draw_seen(
    members: sparse.csr_array, fractions: Mapping[str, float], n_seen: int, rng: np.random.Generator
) -> np.ndarray:
    """Return the code of each perturbation, (P,), with ``n_seen`` targets of each held-out combination in train.

    If there are combinations of exactly ``n_seen`` targets (two or more), these are drawn, while each of their targets
    stays in train with another perturbation. Otherwise targets leave train. Then the held-out combinations are those
    whose other targets all left train, and any other perturbation with such a target is unused. A target that left
    train for test is not in val.
    """
    sizes = np.diff(members.indptr)
    complete = n_seen > 1 and (sizes == n_seen).any()
    candidates = (sizes == n_seen) if complete else (sizes > max(n_seen, 1))
    order = "exactly" if complete else "more than"
    what = f"combinations of {order} {max(n_seen, 1)} targets"
    counts = shared_out(int(candidates.sum()), fractions, what=what)
    held = {name: counts.get(name, 0) for name in _HELD}
    best = 0
    for _ in range(_RESTARTS):
        draw = _complete if complete else _incomplete
        codes = draw(members, candidates, held, n_seen, rng)
        reached = {name: int((codes == CODE[name]).sum()) for name in _HELD}
        if reached == held and (codes == CODE["train"]).any():
            return codes
        best = max(best, sum(min(reached[name], n) for name, n in held.items()))
    msg = (
        f"n_seen={n_seen} is not possible for {sum(held.values())} of the {int(candidates.sum())} {what}, as "
        f"val={fractions['val']:g} and test={fractions['test']:g} ask, while train keeps perturbations to fit on. "
        f"The largest number that was found is {best}. Ask for smaller shares, or use n_seen=None and read the "
        "numbers in heldout.get.perturbations."
    )
    raise ValueError(msg)


def _draw(n: int, counts: Mapping[str, int], rng: np.random.Generator) -> np.ndarray:
    return rng.permutation(np.repeat([CODE[name] for name in counts], list(counts.values())).astype(np.int8))


def _has(members: sparse.csr_array, targets: np.ndarray) -> np.ndarray:
    """Return the mask (P,) of the perturbations that have any of the targets (T,)."""
    return (members @ targets.astype(np.int64)) > 0


def _complete(
    members: sparse.csr_array, candidates: np.ndarray, held: Mapping[str, int], n_seen: int, rng: np.random.Generator
) -> np.ndarray:
    """Hold out combinations in turn, while every target keeps a perturbation in train."""
    codes = np.full(members.shape[0], CODE["train"], dtype=np.int8)
    left = np.bincount(members.indices, minlength=members.shape[1])
    turns = [CODE[name] for name, n in held.items() for _ in range(n)][::-1]
    for p in rng.permutation(np.flatnonzero(candidates)):
        targets = members.indices[members.indptr[p] : members.indptr[p + 1]]
        if turns and (left[targets] > 1).all():
            left[targets] -= 1
            codes[p] = turns.pop()
    return codes


@dataclass
class _Search:
    """A search that takes targets out of train until enough combinations have exactly ``n_seen`` targets in train."""

    members: sparse.csr_array
    candidates: np.ndarray
    held: Mapping[str, int]
    n_seen: int
    of_target: np.ndarray

    def eligible(self, of_target: np.ndarray) -> dict[str, np.ndarray]:
        sizes = np.diff(self.members.indptr)
        known, _ = seen_in_train(self.members, ~_has(self.members, of_target != CODE["train"]))
        fits = self.candidates & (known == self.n_seen)
        out = {name: self.members @ (of_target == CODE[name]).astype(np.int64) for name in self.held}
        return {name: fits & (n == sizes - self.n_seen) for name, n in out.items()}

    def score(self, of_target: np.ndarray) -> int:
        found = self.eligible(of_target)
        return sum(min(int(mask.sum()), self.held[name]) for name, mask in found.items())

    def lacking(self) -> str | None:
        """Return the partition that is furthest from its wanted number, or None."""
        found = self.eligible(self.of_target)
        gaps = {name: 1 - found[name].sum() / n for name, n in self.held.items() if n}
        name = max(gaps, key=lambda name: gaps[name])
        return name if gaps[name] > 0 else None

    def extend(self, targets: np.ndarray, name: str, rng: np.random.Generator) -> bool:
        """Take the targets of one combination out of train if this brings the numbers closer. Return whether it did."""
        n_out = len(targets) - self.n_seen - int((self.of_target[targets] == CODE[name]).sum())
        free = targets[self.of_target[targets] == CODE["train"]]
        if not 0 <= n_out <= len(free) or (~np.isin(self.of_target[targets], [CODE["train"], CODE[name]])).any():
            return False
        before = self.score(self.of_target)
        choices = list(itertools.combinations(free.tolist(), n_out))
        for at in rng.permutation(len(choices)):
            tried = self.of_target.copy()
            tried[list(choices[at])] = CODE[name]
            if self.score(tried) > before:
                self.of_target = tried
                return True
        return False


def _incomplete(
    members: sparse.csr_array, candidates: np.ndarray, held: Mapping[str, int], n_seen: int, rng: np.random.Generator
) -> np.ndarray:
    """Take targets out of train, then draw among the combinations that qualify.

    The combinations are visited in a random order.
    """
    start = np.full(members.shape[1], CODE["train"], dtype=np.int8)
    search = _Search(members, candidates, held, n_seen, start)
    for p in rng.permutation(np.flatnonzero(candidates)):
        name = search.lacking()
        if name is None:
            break
        search.extend(members.indices[members.indptr[p] : members.indptr[p + 1]], name, rng)
    codes = np.full(members.shape[0], CODE["train"], dtype=np.int8)
    codes[_has(members, search.of_target != CODE["train"])] = CODE["unused"]
    for name, mask in search.eligible(search.of_target).items():
        codes[rng.permutation(np.flatnonzero(mask))[: held[name]]] = CODE[name]
    return codes

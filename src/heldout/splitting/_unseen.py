"""Which perturbations are held out in all contexts: unseen targets, or combinations of targets that were seen or not."""

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
    """Number of the ``n`` for each partition with a share: nearest to the shares, at least one each."""
    wanted = [name for name, share in fractions.items() if share > 0]
    if n < len(wanted):
        msg = (
            f"There are {n} {what}, fewer than the partitions to fill ({', '.join(wanted)}). Ask for fewer partitions "
            "(e.g. val=0), or for another hold_out."
        )
        raise ValueError(msg)
    shares = np.array([fractions[name] for name in wanted])
    return dict(zip(wanted, allocate(np.array([n]), shares)[0].tolist(), strict=True))


def draw_singles(members: sparse.csr_array, fractions: Mapping[str, float], rng: np.random.Generator) -> np.ndarray:
    """Codes of the perturbations, (P,): targets are drawn, and every combination with a held-out target follows it.

    Drawn are the targets that are perturbed alone in some cells. A combination with a test target is test, another
    one with a val target is val.
    """
    sizes = np.diff(members.indptr)
    singles = np.flatnonzero(sizes == 1)
    drawn = _draw(len(singles), shared_out(len(singles), fractions, what="perturbations of a single target"), rng)
    of_target = np.full(members.shape[1], CODE["train"], dtype=np.int8)
    of_target[members.indices[members.indptr[singles]]] = drawn
    codes = np.full(len(sizes), CODE["train"], dtype=np.int8)
    for name in _HELD:  # test last: it has the last word
        codes[_has(members, of_target == CODE[name])] = CODE[name]
    return codes


def draw_combinations(
    members: sparse.csr_array, fractions: Mapping[str, float], rng: np.random.Generator
) -> np.ndarray:
    """Codes of the perturbations, (P,): single ones are train, combinations are drawn."""
    combinations = np.flatnonzero(np.diff(members.indptr) > 1)
    counts = shared_out(len(combinations), fractions, what="combinations of two or more targets")
    codes = np.full(members.shape[0], CODE["train"], dtype=np.int8)
    codes[combinations] = _draw(len(combinations), counts, rng)
    return codes


def draw_seen(
    members: sparse.csr_array, fractions: Mapping[str, float], n_seen: int, rng: np.random.Generator
) -> np.ndarray:
    """Codes of the perturbations, (P,): held-out combinations have exactly ``n_seen`` members in train.

    Where there are combinations of exactly ``n_seen`` targets (two or more), those are drawn, as long as each member
    stays in train with another perturbation. Otherwise targets leave train: combinations are held out whose other
    members are all among them, and whatever else has such a target is unused. No such target of test is in val.
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
        f"n_seen={n_seen} cannot be had for {sum(held.values())} of the {int(candidates.sum())} {what}, as "
        f"val={fractions['val']:g} and test={fractions['test']:g} ask: with train left to fit on, the most that was found is "
        f"{best}. Ask for smaller shares, or for n_seen=None and look at the numbers in heldout.get.perturbations."
    )
    raise ValueError(msg)


def _draw(n: int, counts: Mapping[str, int], rng: np.random.Generator) -> np.ndarray:
    return rng.permutation(np.repeat([CODE[name] for name in counts], list(counts.values())).astype(np.int8))


def _has(members: sparse.csr_array, targets: np.ndarray) -> np.ndarray:
    """Mask (P,) of the perturbations with any of the targets (T,)."""
    return (members @ targets.astype(np.int64)) > 0


def _complete(
    members: sparse.csr_array, candidates: np.ndarray, held: Mapping[str, int], n_seen: int, rng: np.random.Generator
) -> np.ndarray:
    """Hold out combinations one by one, as long as every member keeps a perturbation in train."""
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
    """Targets taken out of train, for val or test, until enough combinations have exactly ``n_seen`` left in it."""

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
        """Partition that is furthest from its number."""
        found = self.eligible(self.of_target)
        gaps = {name: 1 - found[name].sum() / n for name, n in self.held.items() if n}
        name = max(gaps, key=lambda name: gaps[name])
        return name if gaps[name] > 0 else None

    def extend(self, targets: np.ndarray, name: str, rng: np.random.Generator) -> bool:
        """Take out of train what one combination needs, if that brings the numbers nearer."""
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
    """Take targets out of train, combination by combination in a drawn order, and draw among those that then qualify."""
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

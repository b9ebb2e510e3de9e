"""Draw the perturbations that are held out in each context, and the pools of control cells of the contexts."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from heldout.splitting._allocate import allocate
from heldout.splitting._groups import CODE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_RESTARTS = 100

_WASTE = 1e-3
"""Cost of control cells that a group has in a context where they cannot be used. It is small and only breaks ties."""


def draw_pairs(
    perturbation: np.ndarray,
    context: np.ndarray,
    *,
    perturbation_cap: np.ndarray,
    context_cap: np.ndarray,
    n: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return the mask of the held-out pairs, (m,). It has ``n`` pairs, or the largest number that the caps allow.

    Pairs are first taken in a random order until the caps are reached. If pairs are missing, augmenting paths exchange
    pairs until the number is the largest possible.

    Parameters
    ----------
    perturbation, context
        Perturbation number and context number of each pair, (m,) each. Each pair occurs once. The order of the pairs
        must not depend on the rows of the data.
    perturbation_cap, context_cap
        Largest number of pairs to take from each perturbation, (P,), and from each context, (C,).
    n
        Number of pairs to hold out.
    rng
        Generator of the draw.
    """
    taken = np.zeros(len(perturbation), dtype=bool)
    left = perturbation_cap.copy(), context_cap.copy()
    order = rng.permutation(len(perturbation))
    n_taken = 0
    for pair in order:
        p, c = perturbation[pair], context[pair]
        if n_taken < n and left[0][p] > 0 and left[1][c] > 0:
            taken[pair] = True
            left[0][p] -= 1
            left[1][c] -= 1
            n_taken += 1
    by_perturbation: list[list[int]] = [[] for _ in perturbation_cap]
    by_context: list[list[int]] = [[] for _ in context_cap]
    for pair in order.tolist():
        by_perturbation[perturbation[pair]].append(pair)
        by_context[context[pair]].append(pair)
    while n_taken < n:
        path = _augmenting(perturbation, context, taken, left, by_perturbation, by_context)
        if not path:
            break
        taken[path] = ~taken[path]
        left[0][perturbation[path[-1]]] -= 1
        left[1][context[path[0]]] -= 1
        n_taken += 1
    return taken


def _augmenting(
    perturbation: np.ndarray,
    context: np.ndarray,
    taken: np.ndarray,
    left: tuple[np.ndarray, np.ndarray],
    by_perturbation: Sequence[Sequence[int]],
    by_context: Sequence[Sequence[int]],
) -> list[int]:
    """Return the pairs to exchange, or an empty list if there is no augmenting path.

    The path leads from a context with room back to a perturbation with room.
    """
    queue = deque(np.flatnonzero(left[0] > 0).tolist())
    came_to_p: dict[int, int | None] = dict.fromkeys(queue)
    came_to_c: dict[int, int] = {}
    while queue:
        for pair in by_perturbation[queue.popleft()]:
            c = int(context[pair])
            if taken[pair] or c in came_to_c:
                continue
            came_to_c[c] = pair
            if left[1][c] > 0:
                return _traced(pair, perturbation, context, came_to_p, came_to_c)
            for other in by_context[c]:
                p = int(perturbation[other])
                if taken[other] and p not in came_to_p:
                    came_to_p[p] = other
                    queue.append(p)
    return []


def _traced(
    pair: int,
    perturbation: np.ndarray,
    context: np.ndarray,
    came_to_p: Mapping[int, int | None],
    came_to_c: Mapping[int, int],
) -> list[int]:
    path = [pair]
    while (before := came_to_p[int(perturbation[path[-1]])]) is not None:
        path += [before, came_to_c[int(context[before])]]
    return path


def divide_pairs(context: np.ndarray, counts: Mapping[str, int], rng: np.random.Generator) -> np.ndarray:
    """Return the partition code of each held-out pair, (m,).

    The pairs are drawn at random with the given numbers. Each context has equal shares, up to rounding.
    """
    names = [name for name, n in counts.items() if n]
    drawn = rng.permutation(len(context))
    rank = rng.permutation(context.max() + 1)
    order = drawn[np.argsort(rank[context[drawn]], kind="stable")]
    edges = np.arange(1, len(context) + 1) * counts[names[-1]] // len(context)
    codes = np.full(len(context), CODE[names[0]], dtype=np.int8)
    codes[order[np.diff(edges, prepend=0) > 0]] = CODE[names[-1]]
    return codes


def control_counts(n: int, needed: np.ndarray, share: float) -> np.ndarray | None:
    """Return how many of the ``n`` controls of a context go to train, val and test, (3,).

    Return None if there are fewer controls than partitions that need them.

    Parameters
    ----------
    n
        Number of controls of the context.
    needed
        Mask (3,) of the partitions that need controls, in the order train, val, test.
    share
        Share of val, and of test.
    """
    if n < needed.sum():
        return None
    shares = np.where(needed, [0.0, share, share], 0.0)
    shares[0] = 1 - shares.sum()
    counts = np.zeros(3, dtype=np.int64)
    counts[needed] = allocate(np.array([n]), shares[needed])[0]
    return counts


def pools_of_cells(context: np.ndarray, counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the partition code of each control cell, (n,), drawn with these numbers in each context.

    Parameters
    ----------
    context
        Context number of each control cell. The order of the cells must not depend on the rows of the data.
    counts
        Number of cells for train, val and test in each context, (C × 3).
    rng
        Generator of the draw.
    """
    shuffled = rng.permutation(len(context))
    order = shuffled[np.argsort(context[shuffled], kind="stable")]
    codes = np.empty(len(context), dtype=np.int8)
    codes[order] = np.repeat(np.tile([CODE["train"], CODE["val"], CODE["test"]], len(counts)), counts.ravel())
    return codes


def pools_of_groups(inside: np.ndarray, counts: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, list[int]]:
    """Return the partition code of each group, (G,), and the contexts in which a partition lacks a group.

    The groups are taken in a random order. Each group goes to the partition that its contexts lack most. If a context
    then lacks a group for a partition, because groups are in several contexts, the groups are drawn again.

    Parameters
    ----------
    inside
        Whether each group has control cells in each context, (G × C) bool. The order of the groups must not depend on
        the rows of the data.
    counts
        Number of groups for train, val and test in each context, (C × 3).
    rng
        Generator of the draw.
    """
    best: tuple[np.ndarray, list[int]] | None = None
    for _ in range(_RESTARTS):
        codes = _draw_pools(inside, counts, rng)
        got = np.stack([(inside & (codes == code)[:, None]).sum(axis=0) for code in range(3)], axis=1)
        short = np.flatnonzero(((counts > 0) & (got == 0)).any(axis=1)).tolist()
        if best is None or len(short) < len(best[1]):
            best = codes, short
        if not short:
            break
    assert best is not None
    return best


def _draw_pools(inside: np.ndarray, counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    codes = np.empty(len(inside), dtype=np.int8)
    left = counts.astype(np.float64)
    weight = np.where(counts > 0, 1 / np.maximum(counts, 1), 0)
    for group in rng.permutation(len(inside)):
        at = inside[group]
        gain = np.where(counts[at] > 0, np.maximum(left[at], 0) * weight[at], -_WASTE).sum(axis=0)
        codes[group] = np.argmax(gain)
        left[at, codes[group]] -= 1
    return codes

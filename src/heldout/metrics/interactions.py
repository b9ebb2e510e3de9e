"""Genetic interactions: the additive expectation of a combination, and the kinds of deviation from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heldout.metrics._checks import as_numbers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

CLASSES = ("additive", "buffering", "synergistic", "opposite", "other")
"""Kinds of combinations, in the order of the numbers that :func:`class_codes` returns."""


def additive_expectation(
    single_a: ArrayLike, single_b: ArrayLike, control: ArrayLike, *, further: Sequence[ArrayLike] = ()
) -> np.ndarray:
    """Compute the profile of a combination whose members add up, ``y_A + y_B - y_0``.

    For k members it is their sum minus k - 1 times the control.

    Parameters
    ----------
    single_a, single_b
        Mean expression under each member alone, log-normalised, (n_genes,) or (n_pairs × n_genes).
    control
        Mean expression of control cells, of a shape that broadcasts to the shape of ``single_a``.
    further
        Mean expression under each further member, for combinations of three and more.

    Returns
    -------
    Expected mean expression, in the unit of the input. It is below 0 if both members reduce a gene strongly.

    Raises
    ------
    ValueError
        If there are NaN or infinite values, or shapes that do not broadcast.

    Examples
    --------
    >>> import heldout as ho
    >>> ho.metrics.additive_expectation([1.5, 2.0], [1.0, 3.0], [1.0, 2.0]).tolist()
    [1.5, 3.0]
    """
    named = {"single_a": single_a, "single_b": single_b}
    named |= {f"further[{i}]": values for i, values in enumerate(further)}
    shape = "(n_genes,) or (n_pairs × n_genes)"
    singles = [as_numbers(values, name, shape=shape, ndims=(1, 2)) for name, values in named.items()]
    base = as_numbers(control, "control", shape=shape, ndims=(1, 2))
    return np.sum(np.broadcast_arrays(*singles), axis=0) - (len(singles) - 1) * base


def interaction_classes(
    single_a: ArrayLike,
    single_b: ArrayLike,
    double: ArrayLike,
    *,
    called: ArrayLike,
    further: Sequence[ArrayLike] = (),
) -> np.ndarray:
    """Classify each interaction from the changes under the members alone and under the combination.

    Parameters
    ----------
    single_a, single_b
        Change from control under each member alone (difference of log expression), both of the same shape.
    double
        Change from control under the combination.
    called
        Mask of the same shape: True where the combination deviates from additivity.
    further
        Change under each further member, for combinations of three and more.

    Returns
    -------
    Text of the same shape:

    ``additive``
        Not called.
    ``buffering``
        The members change the gene in the same direction. Together they change it by less than their sum, or not at
        all.
    ``synergistic``
        The members change the gene in the same direction. Together they change it by more than their sum.
    ``opposite``
        The members change the gene in the same direction. Together they change it in the other direction.
    ``other``
        The members change the gene in different directions, so less and more are not defined. Also if one member does
        not change the gene at all, because exactly 0 has no direction.

    Raises
    ------
    ValueError
        If shapes differ, or there are NaN or infinite values.

    Notes
    -----
    Directions are those of the measured means. If the members hardly change a gene, the directions and the class are
    noise. The call itself is not affected.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> a, b = np.array([1.0, 1.0, 1.0, 1.0, -1.0]), np.array([0.5, 0.5, 0.5, 0.5, 0.5])
    >>> both = np.array([1.5, 0.9, 2.5, -0.4, 0.8])
    >>> ho.metrics.interaction_classes(a, b, both, called=np.array([False, True, True, True, True])).tolist()
    ['additive', 'buffering', 'synergistic', 'opposite', 'other']
    """
    named = {"single_a": single_a, "single_b": single_b, "double": double}
    named |= {f"further[{i}]": values for i, values in enumerate(further)}
    arrays = {
        name: as_numbers(values, name, shape="(n_genes,) or (n_pairs × n_genes)", ndims=(1, 2))
        for name, values in named.items()
    }
    mask = np.asarray(called)
    different = [name for name, values in arrays.items() if values.shape != mask.shape]
    if mask.dtype != bool or different:
        name = different[0] if different else "single_a"
        msg = (
            f"called is {mask.dtype} of shape {mask.shape} and {name} has {arrays[name].shape}; "
            "called must be bool and have the same shape."
        )
        raise ValueError(msg)
    both = arrays.pop("double")
    return np.array(CLASSES)[class_codes(np.stack(list(arrays.values())), both, mask)]


def class_codes(singles: np.ndarray, together: np.ndarray, called: np.ndarray) -> np.ndarray:
    """Return the number of each value's class in :data:`CLASSES`, int8.

    ``singles`` has one change for each member, (k × …).
    """
    agree = (singles > 0).all(axis=0) | (singles < 0).all(axis=0)
    expected = singles.sum(axis=0)
    kinds = [
        ~called,
        ~agree,
        together * expected < 0,
        np.abs(together) <= np.abs(expected),
    ]
    return np.select(kinds, [0, 4, 3, 1], default=2).astype(np.int8)

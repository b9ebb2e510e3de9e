"""Distances between two sets of cells. Rows are cells, and rows of the two sets are not paired."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heldout._core.checks import check_integer
from heldout.metrics._checks import as_numbers, as_pair, as_samples
from heldout.metrics._pairs import draw_rows, mean_over_pairs
from heldout.metrics.coexpression import correlations

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

_MEDIAN_ROWS = 2000


def energy_distance(X: ArrayLike, Y: ArrayLike, *, block: int = 1024) -> float:
    """Return the energy distance, 2 E‖x - y‖ - E‖x - x'‖ - E‖y - y'‖, in the unit of the values; lower is better.

    It is the first choice among the distances here :cite:p:`szekely2013`. It is zero only for equal distributions, and
    a predictor that gives every cell the mean scores worse than a sample of the truth.

    Parameters
    ----------
    X
        Cells, (n × d), n at least 2.
    Y
        Cells in the same space, (m × d), m at least 2.
    block
        Pairs are processed in blocks of ``block`` × ``block`` rows, which need about 25 · block² bytes.

    Returns
    -------
    The U-statistic with Euclidean distances, in which a cell is not paired with itself. Its mean is 0 for two samples
    of one distribution, so it can be below 0.

    Raises
    ------
    ValueError
        If there are fewer than 2 rows, NaN, or different numbers of columns.

    Notes
    -----
    Other codes differ in three ways. Some take the square root (``scipy.stats.energy_distance``). Some use squared
    distances, which depend on the means only. Some pair a cell with itself (V-statistic), which adds E‖x - x'‖ / n +
    E‖y - y'‖ / m, a penalty on small groups. Noise genes hide differences, so compute the distance in 20 to 50
    components of a PCA, and report this. Fit the PCA on train cells, but not on cells that are compared: components
    follow the noise of the cells that they are fitted on, which with many genes and few cells are then far from all
    others though nothing changed. It mostly compares means; show :func:`variance_error` next to it.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> ho.metrics.energy_distance(np.array([[0.0], [1.0]]), np.array([[2.0], [3.0]]))
    2.0
    """
    first, second = _centred(X, Y)
    check_integer(block, "block", least=1)

    def root(squared: np.ndarray) -> np.ndarray:
        return np.sqrt(squared, out=squared)

    between = mean_over_pairs(first, second, root, block=block)
    within = [mean_over_pairs(cells, None, root, block=block) for cells in (first, second)]
    return 2 * between - sum(within)


def mmd(X: ArrayLike, Y: ArrayLike, *, bandwidths: ArrayLike | None = None, block: int = 1024) -> float:
    """Return the squared maximum mean discrepancy, E k(x, x') + E k(y, y') - 2 E k(x, y); no unit, lower is better.

    k is the mean of Gaussian kernels exp(-‖x - y‖² / (2 b²)) over the bandwidths b :cite:p:`gretton2012`.

    Parameters
    ----------
    X
        Cells, (n × d), n at least 2.
    Y
        Cells in the same space, (m × d), m at least 2.
    bandwidths
        In the unit of the values. If None, :func:`median_bandwidths` of the rows of ``X`` and ``Y`` together.
    block
        As in :func:`energy_distance`.

    Returns
    -------
    The unbiased U-statistic of the square, between -2 and 2. Its mean is 0 for two samples of one distribution.

    Raises
    ------
    ValueError
        If there are fewer than 2 rows, NaN, different numbers of columns, or a bandwidth that is not above 0.

    Notes
    -----
    If a bandwidth is far from the distances in the data, all kernels are 0 or 1, and all predictions score the same.
    The default depends on ``Y``, so a prediction that is far off makes its own kernel wider. To rank predictions, use
    the bandwidths of the truth for all of them: ``bandwidths=ho.metrics.median_bandwidths(truth)``.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> X, Y = np.array([[0.0], [1.0]]), np.array([[2.0], [3.0]])
    >>> round(ho.metrics.mmd(X, Y, bandwidths=[1.0]), 3)
    0.769
    """
    first, second = _centred(X, Y)
    check_integer(block, "block", least=1)
    if bandwidths is None:
        widths = median_bandwidths(np.concatenate([first, second]))
    else:
        widths = np.atleast_1d(
            as_numbers(bandwidths, "bandwidths", shape="(n_bandwidths,) or one number", ndims=(0, 1))
        )
    if (widths <= 0).any():
        msg = f"bandwidths={widths.tolist()} must all be > 0."
        raise ValueError(msg)

    def kernel(squared: np.ndarray) -> np.ndarray:
        total = np.zeros_like(squared)
        for width in widths:
            total += np.exp(squared / (-2 * width**2))
        total /= len(widths)
        return total

    between = mean_over_pairs(first, second, kernel, block=block)
    within = [mean_over_pairs(cells, None, kernel, block=block) for cells in (first, second)]
    return sum(within) - 2 * between


def median_bandwidths(X: ArrayLike, *, factors: tuple[float, ...] = (0.5, 1.0, 2.0)) -> np.ndarray:
    """Compute bandwidths for :func:`mmd`: the median distance of two cells times each factor.

    The unit is that of the values.

    Parameters
    ----------
    X
        Cells, (n × d). If there are more than 2,000, a fixed random sample of 2,000 is used. It does not depend on the
        order of the rows.
    factors
        Factors by which the median is multiplied.

    Returns
    -------
    (n_factors,).

    Raises
    ------
    ValueError
        If more than half of all pairs of cells coincide, so that the median is 0.

    Notes
    -----
    The median depends on the largest group of cells. All of these kernels blur a rare state with smaller distances.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> ho.metrics.median_bandwidths(np.array([[0.0], [1.0], [3.0]])).tolist()
    [1.0, 2.0, 4.0]
    """
    from scipy.spatial.distance import pdist  # slow to import

    cells = draw_rows(as_samples(X, "X"), _MEDIAN_ROWS, np.random.default_rng(0))
    median = float(np.median(pdist(cells)))
    if median == 0:
        msg = "X has a median distance of 0: more than half of all pairs of cells coincide. Pass bandwidths to mmd."
        raise ValueError(msg)
    return median * np.asarray(factors, dtype=np.float64)


def variance_error(X: ArrayLike, Y: ArrayLike) -> float:
    """Return the L2 distance of the standard deviations of the genes, ‖sd(X) - sd(Y)‖; lower is better.

    Parameters
    ----------
    X
        Cells, (n × n_genes), n at least 2.
    Y
        Cells with the same genes, (m × n_genes), m at least 2.

    Returns
    -------
    A number in the unit of the values. 0 if each gene varies equally in both sets (with n - 1 in the denominator).

    Raises
    ------
    ValueError
        If there are fewer than 2 rows, NaN, or different numbers of columns.

    Notes
    -----
    The score grows with the root of the number of genes, so compare it on the same genes only. It treats each gene
    separately: cells in which each gene was shuffled score 0; see :func:`correlation_error`. It ignores the means.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> X = np.array([[0.0, 1.0], [2.0, 3.0]])
    >>> round(ho.metrics.variance_error(X, ho.metrics.collapse(X)), 3)
    2.0
    """
    first, second = as_pair(X, Y)
    return float(np.linalg.norm(first.std(axis=0, ddof=1) - second.std(axis=0, ddof=1)))


def correlation_error(X: ArrayLike, Y: ArrayLike) -> float:
    """Return the root mean squared difference of the gene-gene correlations; no unit, 0 to 2, lower is better.

    Parameters
    ----------
    X
        Cells of the truth, (n × n_genes), n at least 2.
    Y
        Predicted cells with the same genes, (m × n_genes), m at least 2.

    Returns
    -------
    A number, computed over pairs of different genes that vary in ``X``. NaN if fewer than 2 genes vary. A gene that
    does not vary in ``Y`` has correlation 0 there.

    Raises
    ------
    ValueError
        If there are fewer than 2 rows, NaN, or different numbers of columns.

    Notes
    -----
    With n cells, correlations have an error of about 1 / √n even for a perfect sample; compare with :func:`split_half`.
    Where most pairs of genes are uncorrelated, independent or constant genes are hard to improve on. For this reason
    the score is not part of :func:`distribution_scores`. :func:`coexpression_error` removes the noise. Memory use
    grows with the square of the number of genes.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> X, Y = np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([[0.0, 1.0], [1.0, 0.0]])
    >>> round(ho.metrics.correlation_error(X, Y), 3)
    2.0
    """
    first, second = as_pair(X, Y)
    varies = np.ptp(first, axis=0) > 0
    if varies.sum() < 2:
        return float("nan")
    difference = correlations(first[:, varies]) - correlations(second[:, varies])
    np.fill_diagonal(difference, 0)
    n_genes = len(difference)
    return float(np.sqrt(np.sum(difference**2) / (n_genes * (n_genes - 1))))


def collapse(X: ArrayLike) -> np.ndarray:
    """Return the collapsed prediction, in which every cell equals the mean, (n × d).

    It has the exact mean and nothing else. If it scores better than real cells of the truth, the score cannot tell a
    forecast of cells from a forecast of their mean. Show it next to every prediction.

    Parameters
    ----------
    X
        Cells of the truth, (n × d).

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> ho.metrics.collapse(np.array([[0.0, 1.0], [2.0, 3.0]])).tolist()
    [[1.0, 2.0], [1.0, 2.0]]
    """
    cells = as_samples(X, "X")
    return np.broadcast_to(cells.mean(axis=0), cells.shape).copy()


def distribution_scores(truth: ArrayLike, prediction: ArrayLike, *, block: int = 1024) -> dict[str, float]:
    """Compute the default distances between true and predicted cells; lower is better for all.

    By all of them :func:`collapse` scores worse than a sample of the truth.

    Parameters
    ----------
    truth
        Cells of the truth, (n × d), in components of a PCA fitted on the training cells.
    prediction
        Predicted cells in the same space, (m × d).
    block
        As in :func:`energy_distance`.

    Returns
    -------
    ``energy_distance`` and ``variance_error`` in the unit of the values, and ``mmd`` (squared, no unit). ``mmd`` uses
    the bandwidths of the truth, so predictions can be ranked by it.

    Raises
    ------
    ValueError
        If there are fewer than 2 rows, NaN, or different numbers of columns.

    Notes
    -----
    :func:`wasserstein` and :func:`correlation_error` are not included, because the collapsed prediction can win by
    them.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> rng = np.random.default_rng(0)
    >>> truth, sample = rng.normal(size=(2, 300, 10))
    >>> sampled = ho.metrics.distribution_scores(truth, sample)
    >>> collapsed = ho.metrics.distribution_scores(truth, ho.metrics.collapse(truth))
    >>> [name for name in sampled if sampled[name] < collapsed[name]]
    ['energy_distance', 'mmd', 'variance_error']
    """
    true, predicted = as_pair(truth, prediction)
    return {
        "energy_distance": energy_distance(true, predicted, block=block),
        "mmd": mmd(true, predicted, bandwidths=median_bandwidths(true), block=block),
        "variance_error": variance_error(true, predicted),
    }


def _centred(X: ArrayLike, Y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Subtract the common mean from both sets. Distances stay the same, and large offsets cost no digits."""
    first, second = as_pair(X, Y)
    middle = (first.mean(axis=0) + second.mean(axis=0)) / 2
    return first - middle, second - middle

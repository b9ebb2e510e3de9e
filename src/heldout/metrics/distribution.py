"""Distances between two sets of cells. Rows are cells, and nothing pairs a row of one with a row of the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heldout._core.checks import check_integer
from heldout.metrics._checks import as_numbers, as_pair, as_samples
from heldout.metrics._pairs import draw_rows, mean_over_pairs

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

_MEDIAN_ROWS = 2000


def energy_distance(X: ArrayLike, Y: ArrayLike, *, block: int = 1024) -> float:
    """Energy distance, 2 E‖x - y‖ - E‖x - x'‖ - E‖y - y'‖, in the unit of the values; lower is better.

    The first choice among the distances here :cite:p:`szekely2013`: it is zero for equal distributions only, and a
    predictor that gives every cell the mean loses to a sampler of the truth.

    Parameters
    ----------
    X
        Cells, (n × d), n at least 2.
    Y
        Cells in the same space, (m × d), m at least 2.
    block
        Pairs are taken in blocks of so many rows by so many, about 25 · block² bytes at a time.

    Returns
    -------
    The U-statistic with Euclidean distances: pairs of a cell with itself are left out. Its mean is 0 for two samples of
    one distribution, so that it can be below 0.

    Raises
    ------
    ValueError
        If there are fewer than 2 rows, NaN, or different numbers of columns.

    Notes
    -----
    Codes differ in the square root (``scipy.stats.energy_distance`` takes it), in the ground distance (some use the
    squared one, which sees nothing but the means), and in counting a cell with itself (V-statistic): that adds
    E‖x - x'‖ / n + E‖y - y'‖ / m, a penalty on small groups. Noise genes drown it: compute it in 20 to 50 components of a
    PCA fitted on the training cells, and say which. It compares means mostly; show :func:`variance_error` beside it.

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
    """Squared maximum mean discrepancy, E k(x, x') + E k(y, y') - 2 E k(x, y); no unit, lower is better.

    k is the mean of Gaussian kernels exp(-‖x - y‖² / (2 b²)) over the bandwidths b :cite:p:`gretton2012`.

    Parameters
    ----------
    X
        Cells, (n × d), n at least 2.
    Y
        Cells in the same space, (m × d), m at least 2.
    bandwidths
        In the unit of the values. By default :func:`median_bandwidths` of the rows of ``X`` and ``Y`` together.
    block
        As in :func:`energy_distance`.

    Returns
    -------
    The unbiased U-statistic of the square, between -2 and 2; its mean is 0 for two samples of one distribution.

    Raises
    ------
    ValueError
        If there are fewer than 2 rows, NaN, different numbers of columns, or a bandwidth that is not above 0.

    Notes
    -----
    A bandwidth far from the distances of the data makes every kernel 0 or 1, and all predictions alike. The default depends on
    ``Y``: a prediction that is far off widens its own kernel. To rank predictions give all of them the bandwidths of the
    truth, ``bandwidths=ho.metrics.median_bandwidths(truth)``.

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
        widths = np.atleast_1d(as_numbers(bandwidths, "bandwidths", shape="numbers above 0", ndims=(0, 1)))
    if (widths <= 0).any():
        msg = f"bandwidths={widths.tolist()} must all be above 0."
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
    """Bandwidths for :func:`mmd`: the median distance of two cells times each factor, in the unit of the values.

    Parameters
    ----------
    X
        Cells, (n × d). Of more than 2,000, a fixed random 2,000 are used, whatever the order of the rows.
    factors
        What the median is multiplied by.

    Returns
    -------
    (n_factors,).

    Raises
    ------
    ValueError
        If more than half of all pairs of cells coincide, so that the median is 0.

    Notes
    -----
    The median follows the largest group of cells; a rare state at a smaller scale is blurred by all of these kernels.

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
        msg = "X: more than half of all pairs of cells coincide, so the median distance is 0. Give mmd its bandwidths."
        raise ValueError(msg)
    return median * np.asarray(factors, dtype=np.float64)


def variance_error(X: ArrayLike, Y: ArrayLike) -> float:
    """L2 distance of the standard deviations of the genes, ‖sd(X) - sd(Y)‖, in the unit of the values; lower is better.

    Parameters
    ----------
    X
        Cells, (n × n_genes), n at least 2.
    Y
        Cells with the same genes, (m × n_genes), m at least 2.

    Returns
    -------
    0 if each gene varies as much in either (n - 1 in the denominator).

    Raises
    ------
    ValueError
        If there are fewer than 2 rows, NaN, or different numbers of columns.

    Notes
    -----
    It grows with the root of the number of genes, so compare it on the same genes only. It sees each gene alone: cells
    that had each gene shuffled score 0, see :func:`correlation_error`. It does not see means at all.

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
    """Root mean squared difference of the gene-gene correlations, over pairs of genes; no unit, 0 to 2, lower is better.

    Parameters
    ----------
    X
        Cells of the truth, (n × n_genes), n at least 2.
    Y
        Predicted cells with the same genes, (m × n_genes), m at least 2.

    Returns
    -------
    Over pairs of different genes that vary in ``X``; NaN if fewer than 2 do. A gene that does not vary in ``Y`` has
    correlation 0 there.

    Raises
    ------
    ValueError
        If there are fewer than 2 rows, NaN, or different numbers of columns.

    Notes
    -----
    Correlations of n cells are off by about 1 / √n even for a perfect sampler: compare with :func:`split_half`. Where most
    pairs are uncorrelated, independent or constant genes are hard to beat, which is why it is no part of
    :func:`distribution_scores`. Memory grows with the square of the number of genes.

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
    difference = _correlations(first[:, varies]) - _correlations(second[:, varies])
    np.fill_diagonal(difference, 0)
    n_genes = len(difference)
    return float(np.sqrt(np.sum(difference**2) / (n_genes * (n_genes - 1))))


def _correlations(cells: np.ndarray) -> np.ndarray:
    centred = cells - cells.mean(axis=0)
    length = np.linalg.norm(centred, axis=0)
    scaled = np.divide(centred, length, out=np.zeros_like(centred), where=np.ptp(cells, axis=0) > 0)
    return scaled.T @ scaled


def collapse(X: ArrayLike) -> np.ndarray:
    """The collapsed predictor: every cell equals the mean, (n × d).

    It knows the mean exactly and nothing else. A score by which it beats real cells of the truth cannot tell a forecast of
    the cells from one of their mean; put its row beside every prediction.

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
    """The distances that are shown by default, all lower is better, by all of which :func:`collapse` loses to a sampler.

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
    ``energy_distance`` and ``variance_error`` in the unit of the values, and ``mmd`` (squared, no unit) with the bandwidths
    of the truth, so that predictions can be ranked by it.

    Raises
    ------
    ValueError
        If there are fewer than 2 rows, NaN, or different numbers of columns.

    Notes
    -----
    Neither :func:`wasserstein` nor :func:`correlation_error` is in it: the collapsed predictor can win by them.

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
    """Two sets of cells less their common mean: distances are the same, and large offsets cost no digits."""
    first, second = as_pair(X, Y)
    middle = (first.mean(axis=0) + second.mean(axis=0)) / 2
    return first - middle, second - middle

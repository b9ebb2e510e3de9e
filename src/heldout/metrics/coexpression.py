"""How genes vary together in two sets of cells, without the noise of estimated correlations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heldout._core.checks import check_integer
from heldout.metrics._checks import as_pair

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike

_FEWEST = 4


def coexpression_error(X: ArrayLike, Y: ArrayLike, *, n_halvings: int = 5) -> float:
    """Return the mean squared difference of the gene-gene correlations, without its noise; lower is better.

    Parameters
    ----------
    X
        Cells of the truth, (n × n_genes), n at least 4.
    Y
        Predicted cells with the same genes, (m × n_genes), m at least 4.
    n_halvings
        Number of random halvings of the cells. More halvings make the score less noisy. The halvings are always the
        same and do not depend on the order of the cells.

    Returns
    -------
    A number without unit. Its mean is 0 for two samples of one distribution, so it can be below 0. NaN if fewer than 2
    genes vary in ``X``, or with fewer than 4 cells. A gene that does not vary in ``Y`` has correlation 0 there.

    Raises
    ------
    ValueError
        If there are fewer than 2 rows, NaN, or different numbers of columns.

    Notes
    -----
    The difference of the Pearson correlations is computed twice, from two halves of the cells of both sets. The score
    is the product of the two differences, as a mean over pairs of different genes and over halvings. The noise of two
    halves is independent, so it adds nothing to the product on average. This is why :func:`collapse` cannot win by this
    score, as it can by :func:`correlation_error`, which contains the noise. Its score is the mean square of the true
    correlations. A constant that is added to a gene, or a factor above 0, does not change the score.

    With fewer than about 30 cells, or many genes that are rarely expressed, the score is noisy. Compute it on some
    hundred variable genes.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> rng = np.random.default_rng(0)
    >>> cells = rng.normal(size=(400, 3)) @ np.array([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0], [1.0, 0.0, 1.0]])
    >>> shuffled = np.stack([rng.permutation(gene) for gene in cells.T], axis=1)  # all correlations are 0
    >>> round(ho.metrics.coexpression_error(cells, shuffled), 2)
    0.26
    """
    first, second = as_pair(X, Y)
    check_integer(n_halvings, "n_halvings", least=1)
    varies = np.ptp(first, axis=0) > 0
    n_genes = int(varies.sum())
    if n_genes < 2 or min(len(first), len(second)) < _FEWEST:
        return float("nan")
    first, second = first[:, varies], second[:, varies]
    total = 0.0
    for of_truth, predicted in zip(_halves(first, n_halvings), _halves(second, n_halvings), strict=True):
        in_half, in_other = (correlations(a) - correlations(b) for a, b in zip(of_truth, predicted, strict=True))
        np.fill_diagonal(in_half, 0)
        total += float(np.sum(in_half * in_other))
    return total / (n_halvings * n_genes * (n_genes - 1))


def _halves(cells: np.ndarray, n: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Two random halves of the cells, ``n`` times."""
    cells = cells[np.lexsort(cells.T[::-1])]  # the order stays the same if genes are moved or scaled
    rng, middle = np.random.default_rng(0), len(cells) // 2
    for _ in range(n):
        order = rng.permutation(len(cells))
        yield cells[order[:middle]], cells[order[middle:]]


def correlations(cells: np.ndarray) -> np.ndarray:
    """Pearson correlations of the genes, (n_genes × n_genes); 0 for a gene that does not vary."""
    centred = cells - cells.mean(axis=0)
    length = np.linalg.norm(centred, axis=0)
    scaled = np.divide(centred, length, out=np.zeros_like(centred), where=np.ptp(cells, axis=0) > 0)
    return np.asarray(scaled.T @ scaled)

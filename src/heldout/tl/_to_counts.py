"""Turn predicted expression into counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from heldout._core import store
from heldout._core.checks import check_choice, check_integer, check_rng
from heldout._core.partition import read_partition
from heldout._core.threads import thread_policy
from heldout.tasks.perturbation.counts.predicted import NOISE, Columns, predicted_counts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from heldout._core.rng import Rng


@thread_policy()
def to_counts(
    adata: AnnData,
    predicted: AnnData,
    perturbation_key: str | None = None,
    *,
    covariate_keys: str | Sequence[str] | None = None,
    dose_key: str | None = None,
    split_key: str = "split",
    counts_layer: str = "counts",
    layer: str | None = None,
    noise: Literal["auto", "rounding", "negative_binomial"] = "auto",
    n_cells: int | None = None,
    rng: Rng = 0,
) -> AnnData:
    """Turn predicted log-normalised cells or profiles into counts, and return them as a new AnnData.

    The size factors (library sizes) and the dispersion of each gene are learnt on the train cells of ``adata``. If the
    counts of a cell are divided by its size factor and logged, their mean is the predicted expression.

    Parameters
    ----------
    adata
        AnnData with the split, log-normalised expression and counts, (n_obs × n_vars).
    predicted
        Predicted cells of :func:`predict_cells`, profiles of :func:`predict_profiles`, or those of another tool on the
        same scale. Its genes must be genes of ``adata``.
    perturbation_key, covariate_keys
        Columns of ``obs`` of both AnnData with the perturbation and the context. A split of perturbations knows them.
    dose_key
        Column of ``obs`` of both AnnData with the dose. If None, it is that of the split, or of the fit that made
        ``predicted``.
    split_key
        The split. Only its train cells are used.
    counts_layer
        Layer of ``adata`` with counts.
    layer
        Layer of ``adata`` with log-normalised expression. If None, ``X`` is used. It must be ``log1p`` of these counts,
        normalised to any total; the genes can be a part of all genes.
    noise
        ``"negative_binomial"`` draws negative binomial counts around each value. ``"rounding"`` draws one of the two
        counts next to each value, because predicted cells already vary as cells do. ``"auto"`` is
        ``"negative_binomial"`` for profiles and ``"rounding"`` for cells.
    n_cells
        Number of cells that are drawn for each profile. If None, 200. Not for predicted cells.
    rng
        Seed or Generator of the draws. The counts of a perturbation do not depend on which others are in
        ``predicted``.

    Returns
    -------
    A new AnnData with counts in ``X`` (csr, float32 with integer values, as scanpy reads counts), ``obs`` of
    ``predicted`` with ``obs["size_factor"]``, and in ``uns["heldout"]["counts"]`` the noise and the number of predicted
    values below 0. Rows of NaN are left out.

    Raises
    ------
    ValueError
        If ``adata`` has no counts, its expression was made from other counts, ``predicted`` holds counts already, has
        other genes or only NaN, or ``n_cells`` is given for cells.

    Notes
    -----
    Predicted values below 0, which occur where controls are moved by a negative change, are 0 counts. The gene is
    lowered in the other cells of the perturbation, so that its mean stays; a gene with a mean below 0 has no counts.

    The mean of log-normalised counts is not the logarithm of their mean: with 0.1 counts per cell it can be half of it.
    For negative binomial counts, the rate with the wanted mean is therefore searched for. The counts of a whole cell
    are not fixed to a total, so values change a little if they are normalised again to their total.

    The dispersion is estimated by the method of moments within perturbations and contexts, and shrunk towards that of
    a typical gene where a gene has few counts.

    Examples
    --------
    >>> import heldout as ho, scanpy as sc
    >>> adata = ho.datasets.perturbations_simulated(n_singles=12, n_doubles=8, n_genes=100, n_cells=20)
    >>> adata.layers["counts"] = adata.X.copy()
    >>> sc.pp.normalize_total(adata, target_sum=1e4)
    >>> sc.pp.log1p(adata)
    >>> ho.pp.split_perturbations(adata, "perturbation", hold_out="combination", val=0, test=0.5)
    >>> ho.tl.perturbation(adata, method="moved_cells")
    >>> counts = ho.tl.to_counts(adata, ho.tl.predict_cells(adata, n_cells=50))
    >>> counts.X.dtype, bool((counts.X.data % 1 == 0).all())
    (dtype('float32'), True)
    """
    store.check_adata(adata)
    check_choice(noise, "noise", NOISE)
    if n_cells is not None:
        check_integer(n_cells, "n_cells", least=1)
    check_rng(rng)
    partition = read_partition(adata, split_key)
    partition.require("train", purpose="learn size factors and dispersions")
    columns = Columns.of(partition, perturbation_key, covariate_keys, dose_key)
    return predicted_counts(
        adata,
        predicted,
        partition,
        columns,
        counts_layer=counts_layer,
        layer=layer,
        noise=noise,
        n_cells=n_cells,
        rng=rng,
    )

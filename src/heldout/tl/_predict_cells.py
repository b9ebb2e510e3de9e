"""Predicted cells as a new AnnData."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heldout._core.fits import check_split
from heldout._core.partition import read_partition
from heldout.tl._forecast import predicted_cells
from heldout.tl._predict import fit_to_predict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData


def predict_cells(
    adata: AnnData,
    key: str | None = None,
    *,
    at: float | Sequence[float] | None = None,
    reference: AnnData | None = None,
    layer: str | None = None,
) -> AnnData:
    """Predict the cells of another time with a fit of :func:`forecast`, and return them as a new AnnData.

    ``adata`` is not changed. A warning says if the time is further ahead than 1.5 times the longest step between
    train times.

    Parameters
    ----------
    adata
        AnnData with the start cells, (n_obs × n_vars). Prepare new cells as those of the fit, see
        :func:`heldout.pp.replay`.
    key
        Name of the fit. If None, the forecast that was stored last is used.
    at
        Time or times to predict; a forecast needs it. The start cells are the train cells of the latest train time
        before it. With ``reference``, they are all cells of ``adata`` at that time.
    reference
        AnnData that holds the fit. If None, it is ``adata``.
    layer
        Layer to use instead of the one that the fit was made on.

    Returns
    -------
    A new AnnData of predicted cells: expression in ``X`` (float32); coordinates in ``obsm``; the time, ``start_time``
    and ``start_cell`` (empty for a method that keeps no cell) in ``obs``; and the hash of the fit in ``uns``.

    Raises
    ------
    ValueError
        If there is no such fit or another function predicts with it, a time cannot be predicted, genes are missing,
        the cells were prepared in another way, or ``adata`` has another split than that of the fit.

    Examples
    --------
    >>> import heldout as ho, scanpy as sc
    >>> adata = ho.datasets.branching_simulated(n_cells=40, n_genes=100)
    >>> ho.pp.split_time(adata, "time", test=96)
    >>> sc.pp.normalize_total(adata, target_sum=1e4)
    >>> sc.pp.log1p(adata)
    >>> ho.tl.forecast(adata, "time", method="reversion")
    >>> cells = ho.tl.predict_cells(adata, at=96)
    >>> cells.obs["time"].unique().tolist()
    [96.0]
    """
    key, fit = fit_to_predict(adata, key, "predict_cells", reference=reference)
    if at is None:
        msg = (
            f"Fit {key!r} predicts cells at other times. Pass at=, for example "
            f"heldout.tl.predict_cells(adata, {key!r}, at=96)."
        )
        raise ValueError(msg)
    if reference is None:
        check_split(adata, fit, read_partition(adata, fit.split_key), key=key)
    return predicted_cells(adata, fit, key=key, at=at, reference=reference, layer=layer)

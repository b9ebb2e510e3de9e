"""Measured interactions of a screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from heldout._core import keys, store
from heldout._core.checks import check_choice, check_integer, check_number
from heldout._core.keys import check_key
from heldout._core.threads import thread_policy
from heldout.tasks.interactions.task import measured_interactions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData


@thread_policy()
def interactions(
    adata: AnnData,
    perturbation_key: str,
    *,
    control: str | Sequence[str] = "control",
    separator: str | None = "+",
    targets: str | Mapping[str, str | Sequence[str]] | None = None,
    covariate_keys: str | Sequence[str] = (),
    split_key: str | None = None,
    partition: str | Sequence[str] = "train",
    layer: str | None = None,
    n_top_genes: int | None = 1000,
    fdr: float = 0.05,
    scale: Literal["se", "none"] = "se",
    min_cells: int = 10,
    df: int = 7,
    key_added: str = "interactions",
    copy: bool = False,
) -> AnnData | None:
    """Find genes in which a combination deviates from the sum of the effects of its members.

    A combination A+B is measured if the same context has cells of A+B, of A alone, of B alone and of a control. The
    deviation of a gene is ``y_AB - (y_A + y_B - y_0)``, where ``y`` is the mean of log-normalised expression. For k
    members it is ``y - sum(y_single) + (k - 1) y_0``. All deviations together give an empirical null
    (:func:`heldout.metrics.empirical_null`). Deviations with a local false discovery rate of at most ``fdr`` are called
    and classed (:func:`heldout.metrics.interaction_classes`), as in Ahlmann-Eltze et al. :cite:p:`ahlmanneltze2025`.
    Unlike there, deviations are first divided by their standard errors. ``scale="none"`` is the published method.

    Parameters
    ----------
    adata
        Annotated data, (n_obs × n_vars), log-normalised; dense, csr, csc, or dask.
    perturbation_key
        Column of ``obs`` with the name of the perturbation (or guide). ``"B+A"`` is ``"A+B"``.
    control
        Name(s) of the controls.
    separator
        Text between the targets of a combination.
    targets
        Targets of names that do not contain them; see :func:`heldout.pp.split_perturbations`.
    covariate_keys
        Column(s) of ``obs`` that make up the context (cell line, treatment). Each context has its own combinations,
        members and controls. All contexts share one null.
    split_key
        A split. If None, all cells are used: interactions are measurements, against which methods are scored. To *fit*
        a method on interactions, pass the split, so that no test cells are used.
    partition
        Partition(s) with the combinations, if ``split_key`` is given. Their members and controls may be in train as
        well. Use ``"train"`` to fit a method and ``"test"`` to score it.
    layer
        Layer to use instead of ``X``. If None, ``X`` is used.
    n_top_genes
        Number of genes, those with the highest mean over controls. If None, all genes.
    fdr
        Local false discovery rate of the calls.
    scale
        ``"se"`` divides each deviation by its standard error, from the variance between cells. ``"none"`` compares the
        deviations themselves with one null, as published. Its rate is valid only if all genes and combinations were
        measured about equally well.
    min_cells
        Smallest number of cells of the combination, each member and the control; at least 2 for ``scale="se"``. With
        fewer than 10 cells the standard errors are too uncertain, and hardly any interaction is found.
    df
        Degrees of freedom of the density of the deviations.
    key_added
        Name of the result.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    ``None``, or the AnnData if ``copy=True``. Writes:

    ``uns["heldout"]["interactions"][key_added]``
        Profiles of the combinations, members and controls, standard errors and the null, as arrays and JSON. Read it
        with :func:`heldout.get.interactions` and :func:`heldout.get.interaction_pairs`, plot it with
        :func:`heldout.pl.interactions`.

    Raises
    ------
    ValueError
        If a column or a control is missing, values are raw counts or scaled, no combination has all of its members and
        a control, or there are too few values for a null.

    Notes
    -----
    With ``scale="none"``, combinations with few cells and genes that vary much between cells are called too often. A
    warning is logged if their standard errors could explain more than a tenth of the calls, and ``n_doubtful`` of
    :func:`heldout.get.interaction_pairs` counts them. Standard errors do not include differences between libraries; the
    null includes noise that the cells of a perturbation share only if it is normal. The control is part of every
    deviation: with few control cells, its noise looks like an interaction of all combinations in one gene.

    In simulated screens of counts (``benchmarks/bench_interactions.py``: 100 singles, 124 pairs × 500 genes), 7 %, 3 %
    and 0.4 % of the calls at ``fdr=0.05`` were false with 10, 25 and 100 cells of each perturbation; with
    ``scale="none"`` 41 %, 12 % and 4 %.

    Examples
    --------
    >>> import numpy as np, anndata as ad, heldout as ho
    >>> names = np.repeat(["control", "A", "B", "C", "A+B", "B+C"], 40)
    >>> X = np.random.default_rng(0).normal(2, 0.3, (240, 200)).clip(0)
    >>> X[names == "A+B", :4] += 1.5
    >>> adata = ad.AnnData(X, obs={"guide": names})
    >>> ho.tl.interactions(adata, "guide")
    >>> ho.get.interactions(adata).query("called")["gene"].tolist()
    ['0', '1', '2', '3']
    """
    check_key("key_added", key_added)
    adata = store.start(adata, copy=copy)
    check_choice(scale, "scale", ("se", "none"))
    check_number(fdr, "fdr", above=0, below=1)
    least = max(check_integer(min_cells, "min_cells", least=1), 2 if scale == "se" else 1)
    if n_top_genes is not None:
        check_integer(n_top_genes, "n_top_genes", least=1)
    result = measured_interactions(
        adata,
        perturbation_key,
        reading={"control": control, "separator": separator, "targets": targets},
        covariate_keys=covariate_keys,
        split_key=split_key,
        partitions=[partition] if isinstance(partition, str) else list(partition),
        layer=layer,
        n_top_genes=n_top_genes,
        fdr=fdr,
        scale=scale,
        min_cells=least,
        df=df,
    )
    section = {**store.section(adata, keys.INTERACTIONS), key_added: result.stored()}
    store.commit(adata, heldout={keys.INTERACTIONS: section})
    return store.finish(adata, copy=copy)

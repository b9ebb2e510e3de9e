"""Results of a forecast of genes, for each module of genes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heldout._core import store
from heldout._core.evaluations import latest_evaluation, read_evaluation, read_scores
from heldout._core.leaks import leak_of, without_inference
from heldout._core.tables import prints_whole
from heldout._core.words import counted
from heldout.tasks.forecast_genes.modules import by_module, module_names, sentence

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


@prints_whole
def modules(adata: AnnData, key: str | None = None, *, module_key: str | None = None) -> pd.DataFrame:
    """Split an evaluation of held-out genes by modules of genes.

    Modules are those of a split by module, or were found by :func:`heldout.tl.evaluate` from the times before the
    target: branches of Ward's tree over the correlations of the evaluated genes in the cells of the past. There is
    about one for each 15 genes, and there are 2 to 8.

    Parameters
    ----------
    adata
        AnnData with the evaluation of a fit of :func:`heldout.tl.forecast_genes`, (n_obs × n_vars).
    key
        Name of the fit. If None, the last evaluation is used.
    module_key
        Column of ``var`` with other groups of genes, for example pathways. Genes without a value are left out. If None,
        the modules of the evaluation.

    Returns
    -------
    One row for each module, the largest first: ``module``; ``method``; ``n`` (evaluated genes); ``genes`` (the three
    that change most); ``change`` (root mean square of the true change, in the unit of the matrix); ``rmse``; ``skill``
    and ``skill_corrected`` as in :func:`heldout.tl.evaluate_forecast_genes`; ``ci_low`` and ``ci_high`` of the
    corrected skill (95 %, bootstrap over genes; NaN with fewer than 10 genes); ``verdict`` on the method against
    persistence; ``baseline`` (of those apart from persistence, the best over all genes) and ``of_baseline``, its
    corrected skill. The corrected skill is NaN if the genes change less than the noise of the target cells.
    ``attrs["summary"]`` says where the forecast is good and where it is not.

    Raises
    ------
    ValueError
        If the fit was not evaluated, is no forecast of genes, or was evaluated by an older version without the noise of
        each gene; if there is no such column, it has no value for any evaluated gene, or such a gene is not in
        ``adata``.

    Notes
    -----
    The table describes one evaluation. One module is the best and one is the worst also by chance, so their scores are
    too extreme. The verdict over all genes is that of :func:`heldout.get.evaluation`.

    Examples
    --------
    >>> import heldout as ho, scanpy as sc
    >>> adata = ho.datasets.branching_simulated(n_cells=40, n_genes=200)
    >>> sc.pp.normalize_total(adata, target_sum=1e4)
    >>> sc.pp.log1p(adata)
    >>> ho.pp.split_genes(adata)
    >>> ho.tl.forecast_genes(adata, "time", method="ridge")
    >>> _ = ho.tl.evaluate(adata)
    >>> int(ho.get.modules(adata)["n"].sum())
    30
    """
    key = latest_evaluation(adata) if key is None else key
    about, scores = read_evaluation(adata, key).attrs["about"], read_scores(adata, key)
    if about["task"] != "forecast_genes":
        msg = f"The evaluation {key!r} is of the task {about['task']!r}, which has no modules of genes."
        raise ValueError(msg)
    if "floor" not in scores:
        msg = f"The evaluation {key!r} was made by an older version without the noise of each gene. Evaluate again."
        raise ValueError(msg)
    if module_key is None:
        names = module_names(scores)
    else:
        if module_key not in adata.var.columns:
            msg = f"module_key={module_key!r} must be a column of adata.var. {store.suggest(module_key, adata.var)}"
            raise ValueError(msg)
        names = _names(adata, scores["gene"], module_key)
    table = by_module(scores, names)
    summary = sentence(table, module_key)
    if leak_of(about):
        table, summary = without_inference(table), ""
    table.attrs["summary"] = summary
    return table


def _names(adata: AnnData, genes: pd.Series, module_key: str) -> list[str | None]:
    """Value of a column of ``var`` for each gene, None if it is missing or empty."""
    rows = adata.var_names.astype(str).get_indexer(genes)
    if absent := sorted(set(genes[rows < 0])):
        msg = (
            f"{counted(len(absent), 'evaluated gene')} (e.g. {store.some(absent)}) cannot be found in adata.var_names, "
            f"so module_key={module_key!r} has no value for such genes. Pass the AnnData that was evaluated."
        )
        raise ValueError(msg)
    values = adata.var[module_key].iloc[rows]
    there = values.notna().to_numpy()
    names = [name if known and name else None for name, known in zip(store.as_names(values), there, strict=True)]
    if not any(names):
        msg = (
            f"module_key={module_key!r} has no value for any of the evaluated genes, e.g. {store.some(genes.unique())}."
        )
        raise ValueError(msg)
    return names

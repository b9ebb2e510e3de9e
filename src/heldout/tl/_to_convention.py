"""Write measured or predicted cells in the form of another tool, as a new AnnData."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from heldout._core import store
from heldout._core.arrays import describe, get_matrix
from heldout.splitting._conventions import Convention, convention_of
from heldout.splitting._labels import check_missing
from heldout.splitting._perturbations import Parser
from heldout.splitting._screen import as_list

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from heldout.splitting._perturbations import Targets

_WANTED = {
    "counts": "raw counts. Turn predicted expression into counts first: heldout.tl.to_counts(adata, predicted)",
    "log": "log-normalised expression. Normalise and log first: scanpy.pp.normalize_total(adata), "
    "scanpy.pp.log1p(adata)",
}


def to_convention(
    adata: AnnData,
    convention: str,
    perturbation_key: str = "perturbation",
    *,
    control: str | Sequence[str] = "control",
    separator: str | None = "+",
    context_key: str | None = None,
    dose_key: str | None = None,
) -> AnnData:
    """Write the labels of perturbations in the form of another tool, and return a new AnnData.

    ``adata`` is not changed. It can have predicted cells of :func:`predict_cells` or measured cells.

    Parameters
    ----------
    adata
        AnnData with the perturbation of each cell in ``obs``, (n_obs × n_vars).
    convention
        The other tool: ``"vcc"`` (Virtual Cell Challenge), ``"cell-eval"``, ``"scperteval"``, ``"gears"``,
        ``"scperturb"`` or ``"pertpy"``.
    perturbation_key
        Column of ``obs`` with the perturbation.
    control
        Name or names of controls in this column.
    separator
        Text between the targets of a combination; None if each name is one target.
    context_key
        Column of ``obs`` with the context, such as the cell line. It gets the name of the convention: ``context``
        (vcc), ``cell_type`` (gears) or ``cell_line`` (scperturb, pertpy).
    dose_key
        Column of ``obs`` with the dose. It gets the name ``dose_value`` (scperturb, pertpy).

    Returns
    -------
    A new AnnData with the same ``X``, and in ``obs`` the columns of the convention in place of the given ones. For
    ``gears``, ``var["gene_name"]`` has the names of the genes, by which targets are found. For ``scperturb`` and
    ``pertpy``, ``obs["nperts"]`` has the number of targets. For ``vcc``, control cells are left out.

    Raises
    ------
    ValueError
        If there is no such convention or column, the convention has no column for a context or a dose or lacks it,
        ``X`` holds other values than the tool reads, or a name could not be read back.

    See Also
    --------
    heldout.pp.from_convention : Read the labels of another tool.

    Examples
    --------
    >>> import heldout as ho
    >>> adata = ho.datasets.perturbations_simulated(n_singles=12, n_doubles=8, n_genes=100, n_cells=20)
    >>> other = ho.tl.to_convention(adata, "scperturb", context_key="cell_line")
    >>> adata.obs["perturbation"].iloc[-1].replace("+", "_") == other.obs["perturbation"].iloc[-1]
    True
    >>> int(other.obs["nperts"].iloc[-1])
    2
    """
    rules = convention_of(convention)
    column = _column(adata, perturbation_key, "perturbation_key")
    renamed = _renamed(adata, convention, rules, context_key=context_key, dose_key=dose_key)
    _check_values(adata, convention, rules)
    names, codes = store.factorize(store.as_names(column))
    check_missing(names.tolist(), perturbation_key, known=as_list(control))
    targets = Parser(as_list(control), separator).parse(names.tolist())
    labels = np.array([rules.label(of_name) for of_name in targets], dtype=object)
    obs = adata.obs.drop(columns=[perturbation_key, *renamed.values()])
    clash = sorted(set(obs.columns) & {rules.perturbation_key, *renamed})
    if clash:
        msg = f"adata.obs has a column {clash[0]!r}, which the convention {convention!r} writes. Rename or drop it."
        raise ValueError(msg)
    obs[rules.perturbation_key] = pd.Categorical(labels[codes])
    for name, key in renamed.items():
        obs[name] = adata.obs[key]
    if rules.number_key is not None:
        obs[rules.number_key] = np.array([len(of_name) for of_name in targets], dtype=np.int64)[codes]
    var = adata.var if rules.gene_key is None else _with_gene_names(adata, rules.gene_key, targets)
    kept = np.ones(adata.n_obs, dtype=bool)
    if not rules.with_controls:
        kept = np.array([bool(of_name) for of_name in targets])[codes]
        if not kept.all():
            store.logger.info("%d control cells are left out, because %r takes none", int((~kept).sum()), convention)
    return _new(adata, obs, var, kept)


def _with_gene_names(adata: AnnData, key: str, targets: Sequence[Targets]) -> pd.DataFrame:
    """``var`` with the names of the genes. A column that is there is kept if more targets are found in it."""
    every = {target for of_name in targets for target in of_name}
    names = adata.var_names.astype(str)
    if key in adata.var and len(every.intersection(store.as_names(adata.var[key]))) > len(every.intersection(names)):
        return adata.var
    return adata.var.assign(**{key: names})


def _new(adata: AnnData, obs: pd.DataFrame, var: pd.DataFrame, kept: np.ndarray) -> AnnData:
    from anndata import AnnData

    X = get_matrix(adata, dask=True)
    return AnnData(X[kept] if not kept.all() else X, obs=obs[kept], var=var)


def _column(adata: AnnData, key: str, argument: str) -> pd.Series:
    from anndata import AnnData

    if not isinstance(adata, AnnData):
        msg = f"adata must be an AnnData of measured or predicted cells, got {type(adata).__name__}."
        raise TypeError(msg)
    return store.column(adata, key, argument=argument)


def _renamed(
    adata: AnnData, convention: str, rules: Convention, *, context_key: str | None, dose_key: str | None
) -> dict[str, str]:
    """Columns of the context and of the dose, ``{name in the convention: name in adata}``."""
    renamed = {}
    for argument, key, name in (
        ("context_key", context_key, rules.context_key),
        ("dose_key", dose_key, rules.dose_key),
    ):
        if key is not None and name is None:
            msg = f"{argument}={key!r} is given, but the convention {convention!r} has no column for it. Leave it out."
            raise ValueError(msg)
        found = key if key is not None else name if name in adata.obs else None
        if found is not None and name is not None:
            _column(adata, found, argument)
            renamed[name] = found
    if convention == "vcc" and rules.context_key not in renamed:
        msg = (
            f"context_key=None, but the convention {convention!r} needs the context of each cell. Pass the column with "
            "the cell line, or add obs['context']."
        )
        raise ValueError(msg)
    return renamed


def _check_values(adata: AnnData, convention: str, rules: Convention) -> None:
    """Refuse expression where counts are needed, and the other way round."""
    if rules.values == "any":
        return
    state = describe(get_matrix(adata, dask=True))
    if (state.kind == "counts") != (rules.values == "counts"):
        msg = f"adata.X holds {state}, but the convention {convention!r} needs {_WANTED[rules.values]}."
        raise ValueError(msg)

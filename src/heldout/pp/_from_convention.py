"""Read the perturbation labels of another tool, and write them in the form of this package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from heldout._core import store
from heldout._core.checks import check_integer
from heldout._core.keys import check_key
from heldout.splitting._conventions import Convention, convention_of
from heldout.splitting._labels import check_missing, guides_in_words, guides_of
from heldout.splitting._perturbations import read_mapping

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from heldout.splitting._perturbations import Targets

_CONTROL = "control"


def from_convention(
    adata: AnnData,
    convention: str,
    *,
    perturbation_key: str | None = None,
    targets: str | Mapping[str, str | Sequence[str]] | None = None,
    separator: str = "+",
    key_added: str = "perturbation",
    copy: bool = False,
) -> AnnData | None:
    """Read the perturbation labels of another tool.

    The new column has ``"A"`` for a single perturbation, ``"A+B"`` for a pair, and ``"control"``.

    Parameters
    ----------
    adata
        AnnData with the labels, (n_obs × n_vars).
    convention
        Whose labels they are: ``"vcc"`` (Virtual Cell Challenge), ``"cell-eval"``, ``"scperteval"``, ``"gears"``,
        ``"scperturb"`` or ``"pertpy"``.
    perturbation_key
        Column of ``obs`` with the labels. If None, that of the convention: ``target_gene`` (vcc, cell-eval),
        ``condition`` (gears) or ``perturbation``.
    targets
        Targets of labels that are guides or that cannot be divided: a column of ``obs`` with the targets in the same
        convention, or a mapping such as ``{"KLF1_g1": "KLF1", "A_B_1": ["A", "B_1"]}``. A mapping has priority over the
        convention; labels that it does not list are read as usual.
    separator
        Text between the targets in the new column. It must not be a part of the name of a target.
    key_added
        Name of the new column of ``obs``. If the labels are in the same column, they are kept in
        ``obs[f"{key_added}_original"]``.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    ``None``, or the AnnData if ``copy=True``. The function writes

    ``obs[key_added]``
        Categorical with the sorted targets, joined by ``separator``, or ``control``.
    ``obs[f"{key_added}_original"]``
        The labels of the other tool, only if ``key_added`` is their column.

    A message says which columns have the context and the dose, to pass them as ``covariate_keys`` and ``dose_key``.

    Raises
    ------
    ValueError
        If there is no such convention or column, a label is the text of a missing value such as "nan", most labels are
        names of guides, a label can be divided in several ways, or a target contains ``separator``.

    Notes
    -----
    Labels of scPerturb and pertpy join targets by ``_``, which is also a part of some gene names. The column ``nperts``
    says how many targets a label has. Without it, and where it does not decide, a label is divided if only one division
    gives names of genes of ``adata`` or of single perturbations.

    See Also
    --------
    heldout.tl.to_convention : Write labels in the form of another tool.

    Examples
    --------
    >>> import heldout as ho
    >>> adata = ho.datasets.lmna_simulated(n_cells=20, n_genes=100)
    >>> adata.obs["condition"] = (["ctrl", "KLF1+ctrl", "ctrl+TAL1", "TAL1+KLF1"] * 60)[: adata.n_obs]
    >>> ho.pp.from_convention(adata, "gears")
    >>> adata.obs["perturbation"].cat.categories.tolist()
    ['KLF1', 'KLF1+TAL1', 'TAL1', 'control']
    """
    check_key("key_added", key_added)
    rules = convention_of(convention)
    adata = store.start(adata, copy=copy)
    key = rules.perturbation_key if perturbation_key is None else perturbation_key
    column = store.column(adata, key, argument="perturbation_key")
    mapping = read_mapping(targets, separator=None)[0] if isinstance(targets, Mapping) else {}
    source = targets if isinstance(targets, str) else key
    read = store.column(adata, source, argument="targets") if source != key else column
    labels, codes = store.factorize(store.as_names(read))
    check_missing(labels.tolist(), source, known=mapping)
    guides = {label: of for label, of in guides_of(labels.tolist()).items() if label not in mapping}
    if 2 * len(guides) > len(labels):
        msg = f"{guides_in_words(guides, source)}"
        raise ValueError(msg)
    known = _known(adata, rules, labels.tolist())
    numbers = _numbers(adata, rules, labels, codes)
    parsed = [
        _without_controls(mapping[label], rules)
        if label in mapping
        else rules.targets(label, known=known, n=numbers.get(label))
        for label in labels
    ]
    if () not in parsed:
        msg = (
            f"adata.obs[{source!r}] has no controls, which are {store.some(rules.controls)} in the convention "
            f"{convention!r}. {store.suggest(rules.control, labels)} Add the controls, or name their label with "
            "targets={label: 'control'}."
        )
        raise ValueError(msg)
    names = np.array([_joined(of_label, separator) for of_label in parsed], dtype=object)
    written = {key_added: pd.Categorical(names[codes])}
    if key == key_added and not np.array_equal(names[codes], store.as_names(column)):
        written = {f"{key_added}_original": column.copy(), **written}
    store.commit(adata, obs=written)
    _log_next(adata, rules, parsed)
    return store.finish(adata, copy=copy)


def _without_controls(targets: Targets, rules: Convention) -> Targets:
    return tuple(sorted(set(targets) - {_CONTROL, *rules.controls}))


def _joined(targets: Targets, separator: str) -> str:
    bad = [target for target in targets if separator in target]
    if bad or _CONTROL in targets:
        what = f"contains the separator={separator!r}" if bad else "is the name of controls here"
        msg = (
            f"The target {(bad or [_CONTROL])[0]!r} {what}. Pass another separator, such as ';', here and to "
            "heldout.pp.split_perturbations, or rename the target."
        )
        raise ValueError(msg)
    return separator.join(targets) if targets else _CONTROL


def _known(adata: AnnData, rules: Convention, labels: Sequence[str]) -> set[str]:
    """Names of genes, and of labels that cannot be divided."""
    genes = set(adata.var_names.astype(str))
    if rules.gene_key is not None and rules.gene_key in adata.var:
        genes |= set(store.as_names(adata.var[rules.gene_key]))
    whole = {label for label in labels if rules.separator is None or rules.separator not in label}
    return (genes | whole) - set(rules.controls)


def _numbers(adata: AnnData, rules: Convention, labels: np.ndarray, codes: np.ndarray) -> dict[str, int]:
    """Number of targets of each label, where the column of the convention has it."""
    if rules.number_key is None or rules.number_key not in adata.obs:
        return {}
    found = pd.DataFrame({"code": codes, "n": pd.to_numeric(adata.obs[rules.number_key], errors="coerce").to_numpy()})
    by_label = found.dropna().groupby("code")["n"].agg(["min", "max"])
    several = by_label[by_label["min"] != by_label["max"]]
    if len(several):
        msg = (
            f"adata.obs[{rules.number_key!r}] has different numbers of targets for cells with the label "
            f"{labels[several.index[0]]!r}. Correct the column, or drop it."
        )
        raise ValueError(msg)
    return {labels[code]: check_integer(int(n), rules.number_key) for code, n in by_label["min"].items() if n >= 1}


def _log_next(adata: AnnData, rules: Convention, parsed: Sequence[Targets]) -> None:
    """Say which columns have the context and the dose, and if genes have other names than targets."""
    for key, argument in ((rules.context_key, "covariate_keys"), (rules.dose_key, "dose_key")):
        if key is not None and key in adata.obs and adata.obs[key].nunique() > 1:
            store.logger.info("obs[%r] has %d values: pass %s=%r", key, adata.obs[key].nunique(), argument, key)
    if rules.gene_key is None or rules.gene_key not in adata.var:
        return
    every = {target for targets in parsed for target in targets}
    named = every & set(store.as_names(adata.var[rules.gene_key]))
    if len(named) > len(every & set(adata.var_names.astype(str))):
        store.logger.warning(
            "The targets are named as var[%r], not as var_names. Rename the genes: adata.var_names = "
            "adata.var[%r].astype(str), then adata.var_names_make_unique()",
            rules.gene_key,
            rules.gene_key,
        )

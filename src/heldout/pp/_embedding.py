"""Side information: vectors of genes or perturbations from elsewhere, aligned with the names at hand."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from heldout._core import keys, store
from heldout._core.alignment import NameIndex, fold
from heldout._core.embeddings import Embedding, embedding_sections
from heldout._core.keys import check_key
from heldout._core.store import some
from heldout.reading.embeddings import Format, read_source
from heldout.splitting._perturbations import Parser

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from os import PathLike

    import pandas as pd
    from anndata import AnnData

    from heldout.reading.embeddings.source import EmbeddingSource
    from heldout.splitting._perturbations import Targets

Keep = Literal["used", "all"]

_COUNTED = ("genes", "targets", "perturbations")
_NOTHING = 1e-6
"""Largest entry of a vector, as a share of the largest of all, up to which it counts as zero."""

logger = logging.getLogger("heldout")


def embedding(
    adata: AnnData,
    source: str | PathLike[str] | pd.DataFrame | AnnData,
    *,
    format: Format | None = None,
    names: str | PathLike[str] | Sequence[str] | None = None,
    gene_ids_key: str | None = None,
    perturbation_key: str | None = None,
    control: str | Sequence[str] = "control",
    separator: str | None = "+",
    n_comps: int | None = None,
    keep: Keep = "used",
    key_added: str = "embedding",
    copy: bool = False,
) -> AnnData | None:
    """Add vectors of genes or perturbations that were learnt elsewhere: a pretrained model, a graph, another screen.

    Nothing in a file is run: checkpoints are read as tensors only, dictionaries and arrays as text and numbers only,
    and a file that holds more is refused. Which file of which model is read, and how, stands in the documentation under
    *Side information*.

    A name is looked up as it is, then in ``gene_ids_key``, then regardless of case and of the version of an Ensembl id
    (``"Tp53"``, ``"ENSG00000141510.18"``); if several rows fit only that way, none is taken. How many were found how,
    and which are missing, is logged.

    Parameters
    ----------
    adata
        Annotated data, (n_obs × n_vars).
    source
        A DataFrame with one row a gene or perturbation, named by its index; an AnnData whose observations are
        perturbations, such as pseudobulk of another screen; or the path of a file or folder.
    format
        ``"table"`` (DataFrame, AnnData, csv, tsv), ``"npz"`` (arrays ``names`` and ``values``), ``"graph"`` (an edge list,
        such as GEARS' ``go.csv``) and ``"gene2go"`` (GEARS' ``gene2go.pkl``), of which the spectral embedding is taken,
        or the files of a model: ``"scgpt"`` :cite:p:`cui2024`, ``"scfoundation"`` :cite:p:`hao2024`, ``"geneformer"``
        :cite:p:`theodoris2023`, ``"scbert"`` :cite:p:`yang2022`, ``"gene2vec"`` :cite:p:`du2019` and ``"uce"``
        :cite:p:`rosen2023`. None tells tables, npz files and edge lists with the columns ``source`` and ``target``.
    names
        Names of the rows where the file of a model has none or they lie elsewhere: their sequence, or the path of the
        model's vocabulary, token dictionary or gene list.
    gene_ids_key
        Column of ``var`` with other names of the genes: Ensembl ids where ``var_names`` are symbols, or symbols.
    perturbation_key
        Column of ``obs``. Its targets are looked up as well: among the names of the source, or as genes of ``adata``.
        A row may also be a whole perturbation, a compound or ``"A+B"``.
    control
        Name(s) of the control cells in that column; as part of a name (``"A+control"``) they perturb nothing.
    separator
        Text between the targets of a combination; None if every name is one target.
    n_comps
        Reduce the vectors to this number of principal components, with all rows of the source as observations, centred
        and not scaled; with another screen these are the coordinates that Ahlmann-Eltze and others
        :cite:p:`ahlmanneltze2025` found best. For a graph the number of eigenvectors, by default 2 as in their code.
    keep
        ``"used"`` stores the rows of genes and perturbations of ``adata``, ``"all"`` every row.
    key_added
        Name of the result.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    ``None``, or the AnnData if ``copy=True``. Written are:

    ``uns["heldout"]["embeddings"][key_added]``
        Names, vectors, and as JSON the origin: files with their checksums, coverage, other names that were used.
    ``varm[key_added]``
        Vector of each gene (n_vars × d), float32, NaN for a gene without one; only if any gene has one.

    Raises
    ------
    FileNotFoundError
        If a file is missing; says which were looked for.
    TypeError
        If the source is of another kind.
    ValueError
        If a file cannot be read safely or is damaged, names and vectors do not belong together, names are there twice,
        values are missing, or nothing in ``adata`` has a vector.

    Examples
    --------
    >>> import heldout as ho, pandas as pd
    >>> adata = ho.datasets.lmna_simulated(n_cells=20, n_genes=100)
    >>> adata.obs["guide"] = (["control", "LMNA", "EMD", "LMNA+EMD"] * 60)[: adata.n_obs]
    >>> vectors = pd.DataFrame([[1.0, 0.0], [0.5, 0.5]], index=["LMNA", "Emd"])
    >>> ho.pp.embedding(adata, vectors, perturbation_key="guide")
    >>> ho.get.embedding(adata)
            0    1
    LMNA  1.0  0.0
    Emd   0.5  0.5
    """
    check_key("key_added", key_added)
    store.check_adata(adata)
    if keep not in get_args(Keep):
        msg = f"keep={keep!r} must be one of {some(get_args(Keep))}."
        raise ValueError(msg)
    hand = _at_hand(
        adata, gene_ids_key, perturbation_key, [control] if isinstance(control, str) else control, separator
    )
    found = read_source(source, format, names=names, n_comps=n_comps, at_hand=hand.every)
    aligned = _align(hand, found)
    if not any(aligned.coverage[counted][0] for counted in _COUNTED if counted in aligned.coverage):
        msg = _no_overlap(hand, found, gene_ids_key)
        raise ValueError(msg)
    kept = np.arange(len(found.names)) if keep == "all" else aligned.rows
    inside = set(found.names[kept])
    info = {
        **found.info,
        "n": len(kept),
        "d": found.values.shape[1],
        "n_source": len(found.names),
        "coverage": aligned.coverage,
        "aliases": {other: name for other, name in aligned.aliases.items() if name in inside},
    }
    stored = Embedding(found.names[kept], found.values[kept], info)
    slots: dict[str, Any] = {}
    if (aligned.gene_rows >= 0).any():
        vectors = np.full((adata.n_vars, found.values.shape[1]), np.nan, dtype=np.float32)
        vectors[aligned.gene_rows >= 0] = found.values[aligned.gene_rows[aligned.gene_rows >= 0]]
        slots["varm"] = {key_added: vectors}
    adata = store.start(adata, copy=copy)
    replaced = key_added in store.section(adata, keys.EMBEDDINGS)
    store.commit(adata, heldout=embedding_sections(adata, key_added, stored), **slots)
    if replaced and not slots and key_added in adata.varm:  # of the embedding that was replaced
        del adata.varm[key_added]
    _tell(key_added, aligned, hand, found)
    return store.finish(adata, copy=copy)


@dataclass(frozen=True)
class _Hand:
    """Names in the AnnData: of genes, and of perturbations with their targets."""

    genes: list[str]
    other: list[str] | None
    perturbations: list[Targets]
    parser: Parser

    @property
    def targets(self) -> list[str]:
        """Every target once."""
        return sorted({target for targets in self.perturbations for target in targets})

    @property
    def every(self) -> set[str]:
        """All names by which something in the AnnData is called."""
        return {*self.genes, *(self.other or []), *self.targets}

    def whole(self, targets: Targets) -> str:
        """The name of a perturbation by its targets."""
        return (self.parser.separator or "+").join(targets)


def _at_hand(
    adata: AnnData,
    gene_ids_key: str | None,
    perturbation_key: str | None,
    control: Sequence[str],
    separator: str | None,
) -> _Hand:
    other = None
    if gene_ids_key is not None:
        if gene_ids_key not in adata.var.columns:
            msg = (
                f"gene_ids_key={gene_ids_key!r} is not a column of adata.var. "
                f"{store.suggest(gene_ids_key, adata.var.columns)}"
            )
            raise ValueError(msg)
        column = adata.var[gene_ids_key].astype(object)
        other = column.where(column.notna(), "").astype(str).tolist()
    parser, parsed = Parser(control, separator), []
    if perturbation_key is not None:
        names = store.as_names(store.column(adata, perturbation_key, argument="perturbation_key"))
        parsed = sorted({targets for targets in parser.parse(sorted(set(names))) if targets})
    return _Hand([str(name) for name in adata.var_names], other, parsed, parser)


@dataclass(frozen=True)
class _Aligned:
    """Rows of the source for what is at hand, other names that lead to them, and how much is covered."""

    gene_rows: np.ndarray
    rows: np.ndarray
    aliases: dict[str, str]
    coverage: dict[str, Any]
    ambiguous: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def _align(hand: _Hand, found: EmbeddingSource) -> _Aligned:
    aliases = {**_canonical(hand, found), **found.aliases}
    names = NameIndex(found.names, aliases)
    by_name = names.match(hand.genes)
    by_other = names.match(hand.other if hand.other is not None else [""] * len(hand.genes))
    steps = [by_name.exact, by_other.exact, by_name.folded, by_other.folded]
    rows = np.select(steps, [by_name.rows, by_other.rows, by_name.rows, by_other.rows], default=-1)
    folded = ~steps[0] & ~steps[1] & (rows >= 0)
    aliases = {**aliases, **_gene_aliases(hand, rows, names)}
    names = NameIndex(found.names, aliases)

    targets = names.match(hand.targets)
    whole = names.match([hand.whole(targets) for targets in hand.perturbations])
    of_target = dict(zip(hand.targets, targets.rows, strict=True))
    placed = [
        row >= 0 or all(of_target[t] >= 0 for t in targets)
        for row, targets in zip(whole.rows, hand.perturbations, strict=True)
    ]
    doubtful = [
        *np.array(hand.genes, dtype=object)[by_name.ambiguous & (rows < 0)],
        *np.array(hand.targets, dtype=object)[targets.ambiguous],
    ]
    used = np.unique(np.concatenate([rows, targets.rows, whole.rows]))
    used = used[used >= 0]
    if doubtful:  # all rows that such a name may mean stay, so that it means none of them later either
        unclear = {fold(name) for name in doubtful}
        used = np.union1d(used, [i for i, name in enumerate(found.names) if fold(name) in unclear]).astype(np.int64)
    coverage = {"genes": [int((rows >= 0).sum()), len(rows)], "genes_folded": int(folded.sum())}
    if hand.perturbations:
        coverage["targets"] = [int((targets.rows >= 0).sum()), len(hand.targets)]
        coverage["targets_folded"] = int(targets.folded.sum())
        coverage["perturbations"] = [int(sum(placed)), len(placed)]
    lacking = {t for targets, ok in zip(hand.perturbations, placed, strict=True) if not ok for t in targets}
    missing = sorted(target for target in lacking if of_target[target] < 0)
    return _Aligned(rows, used, aliases, coverage, sorted(set(doubtful)), missing)


def _canonical(hand: _Hand, found: EmbeddingSource) -> dict[str, str]:
    """Rows that are perturbations by their targets: ``"A+control"`` is ``"A"``, ``"B+A"`` is ``"A+B"``."""
    separator = hand.parser.separator
    if not hand.perturbations or separator is None:
        return {}
    aliases: dict[str, str] = {}
    known = set(found.names)
    for name in found.names:
        parts = name.split(separator)
        if len(parts) == 1 or not all(part.strip() for part in parts):
            continue
        whole = hand.whole(hand.parser.parse([name])[0])
        twin = whole if whole in known else aliases.get(whole, name)
        if twin != name:
            msg = (
                f"source has the perturbation {whole!r} twice, as {twin!r} and as {name!r} "
                f"(control={some(hand.parser.control)}, "
                f"separator={separator!r}). Keep one of them, or their mean."
            )
            raise ValueError(msg)
        if whole and whole != name:
            aliases[whole] = name
    return aliases


def _gene_aliases(hand: _Hand, rows: np.ndarray, names: NameIndex) -> dict[str, str]:
    """Other names of covered genes by which the source does not know them; a name of two genes is left out."""
    aliases: dict[str, str] = {}
    twice: set[str] = set()
    for called in (hand.genes, hand.other or []):
        known = names.match(called)
        for name, row, own in zip(called, rows, known.rows, strict=False):
            if name and row >= 0 and own < 0:
                source_name = str(names.names[row])
                if aliases.setdefault(name, source_name) != source_name:
                    twice.add(name)
    return {name: source_name for name, source_name in aliases.items() if name not in twice}


def _no_overlap(hand: _Hand, found: EmbeddingSource, gene_ids_key: str | None) -> str:
    sought = f"genes such as {some(hand.genes)}"
    if hand.other:
        sought += f", in var[{gene_ids_key!r}] {some(hand.other)}"
    if hand.perturbations:
        sought += f", perturbation targets such as {some(hand.targets)}"
    hint = "" if gene_ids_key else " Ensembl ids and symbols meet through a column of var: gene_ids_key=."
    return f"No name in source fits one in adata. source has {some(found.names)}; adata has {sought}.{hint}"


def _tell(key: str, aligned: _Aligned, hand: _Hand, found: EmbeddingSource) -> None:
    cover = aligned.coverage
    loosely = "%d of them regardless of case or version"
    logger.info("%s: %d of %d genes have a vector (" + loosely + ")", key, *cover["genes"], cover["genes_folded"])
    if hand.perturbations:
        logger.info(
            "%s: %d of %d perturbation targets have a vector ("
            + loosely
            + "), so that %d of %d perturbations are covered%s",
            *(key, *cover["targets"], cover["targets_folded"], *cover["perturbations"]),
            f"; missing are {_few(aligned.missing)}" if aligned.missing else "",
        )
    if aligned.ambiguous:
        logger.warning(
            "%s: %d names (%s) have no vector because several rows fit regardless of case or version. Rename the "
            "right row.",
            *(key, len(aligned.ambiguous), _few(aligned.ambiguous)),
        )
    size = np.abs(found.values).max(axis=1)
    n_zero = int((size <= _NOTHING * size.max()).sum())
    if n_zero:
        logger.warning("%s: %d of %d vectors of the source are zero and say nothing", key, n_zero, len(found.names))


def _few(names: Iterable[str]) -> str:
    return some(names, 5)

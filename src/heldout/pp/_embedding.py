"""Side information: vectors of genes or perturbations from other sources, aligned with the names in the AnnData."""

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
"""A vector is zero if its largest entry, as a share of the largest entry of all vectors, is not above this."""

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
    """Add vectors of genes or perturbations from another source: a pretrained model, a graph, or another screen.

    No code in a file is run. Checkpoints are read as tensors only, dictionaries and arrays as text and numbers only. A
    file with other content is refused. The documentation lists the files of each model under *Side information*.

    A name is matched exactly, then by ``gene_ids_key``, then ignoring case and the version of an Ensembl id
    (``"Tp53"``, ``"ENSG00000141510.18"``). If several rows match only inexactly, none is taken. The log shows how many
    names were found in each way, and which names are missing.

    Parameters
    ----------
    adata
        Annotated data, (n_obs × n_vars).
    source
        A DataFrame with one row per gene or perturbation and the names in its index; an AnnData whose observations
        are perturbations, for example pseudobulk of another screen; or the path of a file or folder.
    format
        ``"table"`` (DataFrame, AnnData, csv, tsv) or ``"npz"`` (arrays ``names`` and ``values``). ``"graph"`` (an edge
        list, such as ``go.csv`` of GEARS) and ``"gene2go"`` (``gene2go.pkl`` of GEARS, or a tsv of genes and terms)
        compute the spectral embedding of a graph. The files of a model are ``"scgpt"`` :cite:p:`cui2024`,
        ``"scfoundation"`` :cite:p:`hao2024`, ``"geneformer"`` :cite:p:`theodoris2023`, ``"scbert"``
        :cite:p:`yang2022`, ``"gene2vec"`` :cite:p:`du2019` and ``"uce"`` :cite:p:`rosen2023`. None recognises tables,
        npz files, and edge lists with the columns ``source`` and ``target``.
    names
        Names of the rows, if the file of the model does not contain them: a sequence, or the path of the vocabulary,
        token dictionary or gene list of the model.
    gene_ids_key
        Column of ``var`` with other names of the genes, for example Ensembl ids if ``var_names`` are symbols. If None,
        only ``var_names`` are used.
    perturbation_key
        Column of ``obs`` with perturbations. Their targets are looked up too, among the names of the source or as
        genes of ``adata``. A row of the source can also be a complete perturbation: a compound, or ``"A+B"``.
    control
        Name(s) of the control cells in this column. As part of a name (``"A+control"``) they have no effect.
    separator
        Text between the targets of a combination. If None, every name is one target.
    n_comps
        Reduce the vectors to this number of principal components of all rows of the source, centred and not scaled.
        For another screen, Ahlmann-Eltze and others :cite:p:`ahlmanneltze2025` found these coordinates best. For a
        graph it is the number of eigenvectors (default 2, as in their code).
    keep
        ``"used"`` stores the rows of genes and perturbations of ``adata``, ``"all"`` stores every row.
    key_added
        Name of the result.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    ``None``, or the AnnData if ``copy=True``. Sets the following fields:

    ``uns["heldout"]["embeddings"][key_added]``
        Names, vectors, and their origin as JSON: files with checksums, coverage, and other names that were used.
    ``varm[key_added]``
        Vector of each gene (n_vars × d), float32, NaN for a gene without a vector. Set only if a gene has a vector.

    Raises
    ------
    FileNotFoundError
        If a file is missing. The message names the expected files.
    TypeError
        If the source has another type.
    ValueError
        If a file cannot be read safely or is damaged, the numbers of names and vectors differ, names are duplicated,
        values are missing, or no name of ``adata`` has a vector.

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
    if replaced and not slots and key_added in adata.varm:  # from the embedding that was replaced
        del adata.varm[key_added]
    _tell(key_added, aligned, hand, found)
    return store.finish(adata, copy=copy)


@dataclass(frozen=True)
class _Hand:
    """Names in the AnnData: genes, and perturbations with their targets."""

    genes: list[str]
    other: list[str] | None
    perturbations: list[Targets]
    parser: Parser

    @property
    def targets(self) -> list[str]:
        """Every target once, sorted."""
        return sorted({target for targets in self.perturbations for target in targets})

    @property
    def every(self) -> set[str]:
        """All names of genes and targets."""
        return {*self.genes, *(self.other or []), *self.targets}

    def whole(self, targets: Targets) -> str:
        """Return the name of a perturbation from its targets."""
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
            hint = store.suggest(gene_ids_key, adata.var.columns)
            msg = f"gene_ids_key={gene_ids_key!r} is not a column of adata.var. {hint}"
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
    """Rows of the source for the names of the AnnData, the aliases that match them, and the coverage."""

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
    if doubtful:  # keep all rows that such a name matches, so that it stays ambiguous later
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
    """Map perturbations to rows by their targets: ``"A+control"`` is ``"A"``, ``"B+A"`` is ``"A+B"``."""
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
                f"(control={some(hand.parser.control)}, separator={separator!r}). Keep one of them, or their mean."
            )
            raise ValueError(msg)
        if whole and whole != name:
            aliases[whole] = name
    return aliases


def _gene_aliases(hand: _Hand, rows: np.ndarray, names: NameIndex) -> dict[str, str]:
    """Map further names of covered genes to names of the source. Names of two genes are left out."""
    aliases: dict[str, str] = {}
    twice: set[str] = set()
    for called in (hand.genes, hand.other or []):
        known = names.match(called)
        for name, row, known_row in zip(called, rows, known.rows, strict=False):
            if name and row >= 0 and known_row < 0:
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
    hint = "" if gene_ids_key else " To match Ensembl ids and symbols, pass a column of var as gene_ids_key=."
    return f"No name of source matches a name of adata. source has {some(found.names)}; adata has {sought}.{hint}"


def _tell(key: str, aligned: _Aligned, hand: _Hand, found: EmbeddingSource) -> None:
    cover = aligned.coverage
    loosely = "%d of them ignoring case or version"
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
            "%s: %d names (%s) have no vector, because several rows match ignoring case or version. Rename one row.",
            *(key, len(aligned.ambiguous), _few(aligned.ambiguous)),
        )
    size = np.abs(found.values).max(axis=1)
    n_zero = int((size <= _NOTHING * size.max()).sum())
    if n_zero:
        logger.warning(
            "%s: %d of %d vectors of the source are zero and carry no information", key, n_zero, len(found.names)
        )


def _few(names: Iterable[str]) -> str:
    return some(names, 5)

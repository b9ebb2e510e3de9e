"""Published perturbation screens as prepared by scPerturb, with the same columns for all."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from anndata import AnnData, read_h5ad
from anndata.utils import make_index_unique
from scipy import sparse

from heldout._core import store
from heldout._core.arrays import row_chunks
from heldout._core.checks import check_choice
from heldout._core.compressed import check_matrix
from heldout.datasets._download import DELETE, fetched

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping
    from pathlib import Path

RECORD = "https://zenodo.org/records/13350497/files/"
"""Version 1.4 of the files of scPerturb. In earlier versions the genes of sci-Plex 3 are shifted by one."""


@dataclass(frozen=True)
class Layout:
    """Layout of a published file. ``columns`` maps old names to new ones; only columns that the file has are taken."""

    file: str
    md5: str
    perturbation: Callable[[str], str]
    columns: Mapping[str, str]
    cell_line: str | None = None
    separator: str | None = "+"

    @property
    def url(self) -> str:
        """Address of the published file."""
        return RECORD + self.file


def _joined(label: str) -> str:
    """Turn ``B_A`` into the pair A+B. No gene symbol of the screen has an underscore."""
    return "+".join(sorted(label.split("_")))


def _of_vector(label: str) -> str:
    """Turn ``OST4_pDS353``, a guide of OST4 in the vector pDS353, into its gene. Guides without a gene are controls."""
    gene = label.rsplit("_", 1)[0]
    return "control" if gene in {"62(mod)", "63(mod)", "Gal4-4(mod)"} else gene


def _as_it_is(label: str) -> str:
    return "control" if label == "non-targeting" else label


NORMAN = Layout(
    "NormanWeissman2019_filtered.h5ad",
    "c870e6967d91c017d9da827bab183cd6",
    _joined,
    {"guide_id": "guide", "gemgroup": "library"},
    cell_line="K562",
)
ADAMSON = Layout(
    "AdamsonWeissman2016_GSM2406681_10X010.h5ad",
    "2fa44ea61a8dd35742af618638ec65fc",
    _of_vector,
    {"perturbation": "guide"},
    cell_line="K562",
)
REPLOGLE = {
    "K562": Layout(
        "ReplogleWeissman2022_K562_essential.h5ad",
        "d8cba17576d1a8afc0f7d71b79cad0f7",
        _as_it_is,
        {"guide_id": "guide", "batch": "library"},
        cell_line="K562",
    ),
    "RPE1": Layout(
        "ReplogleWeissman2022_rpe1.h5ad",
        "cc7f1ec50aeb3a3e1b4a6cfa713d80fa",
        _as_it_is,
        {"guide_id": "guide", "batch": "library"},
        cell_line="RPE1",
    ),
}
SRIVATSAN = Layout(
    "SrivatsanTrapnell2020_sciplex3.h5ad",
    "c9e70629505d98c7ca1a837f62b14e89",
    _as_it_is,
    {
        "cell_line": "cell_line",
        "dose_value": "dose",
        "time": "time_h",
        "replicate": "replicate",
        "plate": "library",
        "well": "well",
    },
    separator=None,
)
_NUMBERS = {"dose", "time_h"}


def norman19(*, folder: str | os.PathLike[str] | None = None) -> AnnData:
    """Load CRISPR activation of single genes and pairs in K562 cells: 111,445 cells × 33,694 genes.

    The data are from Norman et al. :cite:p:`norman2019` (GSE133344), in the file of scPerturb :cite:p:`peidli2024`,
    Zenodo record 13350497, 0.7 GB. Its MD5 checksum is checked. It is the usual data set for predicting pairs from
    singles.

    Parameters
    ----------
    folder
        Folder that contains the file, or to which it is downloaded. If None, ``HELDOUT_CACHE_DIR`` or else
        ``~/.cache/heldout``.

    Returns
    -------
    A new :class:`~anndata.AnnData` with

    `X` : :class:`scipy.sparse.csr_matrix` (dtype `float32`)
        Counts.
    `obs['perturbation']` : :class:`pandas.Series` (dtype `category`)
        One gene, two genes as ``A+B`` (sorted), or ``control``.
    `obs['n_targets']`, `obs['cell_line']`
        Number of perturbed genes, and ``K562``.
    `obs['guide']`, `obs['library']`
        Guides, and the lane (``gemgroup``).
    `var['ensembl_id']`
        Ensembl identifier of each gene, if the file has it. ``var_names`` are the symbols.
    `uns['norman19']` : :class:`dict`
        ``url``, ``md5``, and ``n_dropped``, the number of cells without a perturbation.

    Raises
    ------
    OSError
        If the file is not in ``folder`` and cannot be downloaded. The message names the path to copy it to.
    ValueError
        If the file has another checksum, or does not have the content described above.

    Examples
    --------
    >>> import heldout as ho
    >>> adata = ho.datasets.norman19()  # doctest: +SKIP
    >>> ho.pp.split_perturbations(adata, "perturbation", hold_out="combination")  # doctest: +SKIP
    """
    return _loaded(NORMAN, folder, name="norman19")


def adamson16(*, folder: str | os.PathLike[str] | None = None) -> AnnData:
    """Load CRISPR interference with genes of the unfolded protein response in K562 cells: 65,337 cells × 32,738 genes.

    The data are from Adamson et al. :cite:p:`adamson2016` (GSM2406681, the screen 10X010), in the file of scPerturb
    :cite:p:`peidli2024`, Zenodo record 13350497, 0.5 GB. Its MD5 checksum is checked.

    Parameters
    ----------
    folder
        Folder that contains the file, or to which it is downloaded. If None, ``HELDOUT_CACHE_DIR`` or else
        ``~/.cache/heldout``.

    Returns
    -------
    A new :class:`~anndata.AnnData` with the slots of :func:`norman19`, but without ``library`` and with
    ``uns['adamson16']``. ``guide`` is the label in the file, a gene and its vector, such as ``OST4_pDS353``. Cells
    without a label (2,613 cells, some labelled ``*``) are dropped.

    Raises
    ------
    OSError
        If the file is not in ``folder`` and cannot be downloaded. The message names the path to copy it to.
    ValueError
        If the file has another checksum, or does not have the content described above.

    Notes
    -----
    This file has two problems. First, no published table lists the labels of controls. Here the labels ``62(mod)``,
    ``63(mod)`` and ``Gal4-4(mod)`` are taken as controls, because they do not name a human gene. ``guide`` keeps them
    apart. Second, scPerturb removed the lane from the barcodes before it joined labels and cells. If a barcode occurs
    in two lanes, its cells can have the label of the other lane.

    Examples
    --------
    >>> import heldout as ho
    >>> adata = ho.datasets.adamson16()  # doctest: +SKIP
    >>> ho.pp.split_perturbations(adata, "perturbation")  # doctest: +SKIP
    """
    return _loaded(ADAMSON, folder, name="adamson16")


def replogle22(*, cell_line: Literal["K562", "RPE1"] = "K562", folder: str | os.PathLike[str] | None = None) -> AnnData:
    """Load CRISPR interference with essential genes in K562 or RPE1 cells.

    There are 310,385 K562 cells × 8,563 genes, and 247,914 RPE1 cells × 8,749 genes. The data are from Replogle et al.
    :cite:p:`replogle2022`, in the files of scPerturb :cite:p:`peidli2024`, Zenodo record 13350497, 1.5 and 1.2 GB.
    Their MD5 checksums are checked. With these screens of two cell lines, effects can be transferred from one line to
    the other.

    Parameters
    ----------
    cell_line
        ``K562`` or ``RPE1``. To use both, concatenate them with :func:`anndata.concat`.
    folder
        Folder that contains the file, or to which it is downloaded. If None, ``HELDOUT_CACHE_DIR`` or else
        ``~/.cache/heldout``.

    Returns
    -------
    A new :class:`~anndata.AnnData` with the slots of :func:`norman19`, and with ``uns['replogle22']``. ``guide`` is the
    pair of guides, both of the same gene. ``library`` is the batch (``gem_group``).

    Raises
    ------
    OSError
        If the file is not in ``folder`` and cannot be downloaded. The message names the path to copy it to.
    ValueError
        If ``cell_line`` is not available, or the file has another checksum or does not have the content described
        above.

    Examples
    --------
    >>> import heldout as ho
    >>> adata = ho.datasets.replogle22(cell_line="RPE1")  # doctest: +SKIP
    >>> ho.pp.split_perturbations(adata, "perturbation", group_key="library")  # doctest: +SKIP
    """
    check_choice(cell_line, "cell_line", sorted(REPLOGLE))
    return _loaded(REPLOGLE[cell_line], folder, name="replogle22")


def srivatsan20(*, folder: str | os.PathLike[str] | None = None) -> AnnData:
    """Load 188 compounds at four doses in three cell lines (sci-Plex 3): 799,317 cells × 110,983 human and mouse genes.

    The data are from Srivatsan et al. :cite:p:`srivatsan2020` (GSM4150378), in the file of scPerturb
    :cite:p:`peidli2024`, Zenodo record 13350497, 2.5 GB. Its MD5 checksum is checked. It needs 8 GB of memory, and 12
    GB during reading. Earlier versions of the file have the wrong genes.

    Parameters
    ----------
    folder
        Folder that contains the file, or to which it is downloaded. If None, ``HELDOUT_CACHE_DIR`` or else
        ``~/.cache/heldout``.

    Returns
    -------
    A new :class:`~anndata.AnnData` with the slots of :func:`norman19`, but without ``guide``, with
    ``uns['srivatsan20']``, and with

    `obs['perturbation']` : :class:`pandas.Series` (dtype `category`)
        Compound, or ``control`` for the vehicle. Cells without a compound (36,522) are dropped.
    `obs['cell_line']` : :class:`pandas.Series` (dtype `category`)
        A549, K562 or MCF7.
    `obs['dose']`, `obs['time_h']` : :class:`pandas.Series` (dtype `float64`)
        Dose in nM, 0 for a control, and hours of treatment.
    `obs['library']`, `obs['well']`, `obs['replicate']` : :class:`pandas.Series` (dtype `category`)
        Culture plate, well and replicate. Cells of one plate share its batch effect.

    Raises
    ------
    OSError
        If the file is not in ``folder`` and cannot be downloaded. The message names the path to copy it to.
    ValueError
        If the file has another checksum, or does not have the content described above.

    Notes
    -----
    Compounds such as ``(+)-JQ1`` have the separator of pairs in their name. Split these data with ``separator=None``.

    Examples
    --------
    >>> import heldout as ho
    >>> adata = ho.datasets.srivatsan20()  # doctest: +SKIP
    >>> ho.pp.split_perturbations(  # doctest: +SKIP
    ...     adata, "perturbation", hold_out="context", covariate_keys="cell_line", separator=None
    ... )
    """
    return _loaded(SRIVATSAN, folder, name="srivatsan20")


def _loaded(layout: Layout, folder: str | os.PathLike[str] | None, *, name: str) -> AnnData:
    path = fetched(layout.url, folder, md5=layout.md5)
    adata, n_dropped = read_screen(path, layout)
    if n_dropped:
        store.logger.info("%s: dropped %d cells without a perturbation", name, n_dropped)
    adata.uns[name] = {"url": layout.url, "md5": layout.md5, "n_dropped": n_dropped}
    return adata


def read_screen(path: Path, layout: Layout) -> tuple[AnnData, int]:
    """Read a file of scPerturb, and return the number of dropped cells without a perturbation.

    Only the kept cells are read. A dense matrix is made sparse in blocks.

    Raises
    ------
    ValueError
        If the file cannot be read, has no column ``perturbation``, or has no control cells.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", UserWarning
            )  # anndata warns about duplicate names, which are made unique below
            backed = read_h5ad(path, backed="r")
    except (OSError, KeyError) as problem:
        msg = f"{path} cannot be read ({problem}). The download may be incomplete. {DELETE}"
        raise ValueError(msg) from problem
    try:
        return _read(backed, path, layout)
    finally:
        backed.file.close()


def _read(backed: AnnData, path: Path, layout: Layout) -> tuple[AnnData, int]:
    found, var = backed.obs, backed.var.copy()
    if "perturbation" not in found.columns:
        msg = (
            f"{path} is not a file of scPerturb: obs has no column 'perturbation', only {store.some(found.columns)}. "
            f"{DELETE}"
        )
        raise ValueError(msg)
    labels = found["perturbation"].astype(object)
    keep = (labels.notna() & ~labels.isin(["*", "nan", ""])).to_numpy()
    obs = _columns(found[keep], labels[keep].astype(str), layout)
    if not (obs["perturbation"] == "control").any():
        names = store.some(obs["perturbation"].cat.categories)
        msg = f"{path} is not the published file: it has no control cells, only {names}. {DELETE}"
        raise ValueError(msg)
    obs.index, var.index = (make_index_unique(pd.Index(x.index.astype(str), dtype=object)) for x in (obs, var))
    return AnnData(_rows(backed.X, keep), obs=obs, var=var), int((~keep).sum())


def _columns(found: pd.DataFrame, labels: pd.Series, layout: Layout) -> pd.DataFrame:
    renamed = {label: layout.perturbation(label) for label in labels.unique()}
    names = labels.map(renamed)
    obs = pd.DataFrame({"perturbation": names.astype("category")}, index=found.index.astype(str))
    n_targets = {name: 0 if name == "control" else _n_targets(name, layout.separator) for name in set(renamed.values())}
    obs["n_targets"] = names.map(n_targets).to_numpy(dtype=np.int64)
    for old, new in layout.columns.items():
        if old not in found.columns:
            continue
        values = labels if old == "perturbation" else found[old]
        if new in _NUMBERS:
            numbers = pd.to_numeric(values.astype(object), errors="coerce").astype(np.float64)
            obs[new] = numbers.fillna(0.0) if new == "dose" else numbers
        else:
            obs[new] = pd.Categorical(store.as_names(values))
    if layout.cell_line is not None:
        obs["cell_line"] = pd.Categorical([layout.cell_line] * len(obs))
    return obs


def _n_targets(name: str, separator: str | None) -> int:
    return 1 if separator is None else name.count(separator) + 1


def _rows(X: Any, keep: np.ndarray) -> sparse.csr_matrix:
    """Return the kept rows of a matrix on disk, as csr of float32."""
    if not hasattr(X, "dtype") or getattr(X, "format", "csr") == "csc":
        X = X.to_memory()
        check_matrix(X, "X of the file")
        X = X.tocsr()
    data, indices, lengths = [], [], [np.zeros(1, dtype=np.int64)]
    for rows in row_chunks(len(keep)):
        piece = sparse.csr_matrix(X[rows])
        check_matrix(piece, "X of the file")
        piece = piece[keep[rows]]
        data.append(piece.data.astype(np.float32))
        indices.append(piece.indices.astype(np.int32))
        lengths.append(np.diff(piece.indptr).astype(np.int64))
    stored = np.concatenate(data)
    data.clear()
    shape = (int(keep.sum()), X.shape[1])
    return sparse.csr_matrix((stored, np.concatenate(indices), np.cumsum(np.concatenate(lengths))), shape=shape)

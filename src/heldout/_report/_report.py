"""Write one page about everything that is stored in an AnnData."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from heldout._core import keys, store
from heldout._core.files import check_target, written_at_once
from heldout._core.html import render
from heldout._core.words import counted
from heldout._report._audits import audit_section, conclusions
from heldout._report._figures import Pen
from heldout._report._record import ledger_section, missing, record_section
from heldout._report._results import RESULTS, answers, chosen_results, result_section
from heldout._report._splits import split_section

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from anndata import AnnData

_TEMPLATES = Path(__file__).with_name("templates")

_REPORTED = (keys.SPLITS, keys.AUDITS, keys.FITS, *RESULTS)
"""Sections of ``uns["heldout"]`` of which each is enough for a report."""


def report(
    adata: AnnData,
    path: str | os.PathLike[str] = "report.html",
    *,
    key: str | Sequence[str] | None = None,
    title: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Write what is stored in an AnnData as one HTML page, for reviewers and for supplementary material.

    The page has the question and the answer, the splits, the audit with what to do, each method with its verdict, the
    pictures of :mod:`heldout.pl`, the looks at the test set, options, versions and hashes. It says what is missing, and
    which function adds it. The file needs no network and no scripts. It follows the light or dark colours of the
    reader, and can be printed. Nothing is computed anew and nothing is written to ``adata``; the file is complete or
    absent.

    Parameters
    ----------
    adata
        AnnData with a split, an audit, a fit or a result, (n_obs × n_vars).
    path
        File to write.
    key
        Evaluations, comparisons, learning curves, sweeps or interactions to report. If None, all of them.
    title
        Title of the page. If None, a title that says how many cells and genes there are.
    overwrite
        Whether a file that is there is replaced.

    Returns
    -------
    The path of the file.

    Raises
    ------
    ValueError
        If nothing of heldout is stored in ``adata``, or there is no result with a name in ``key``.
    FileExistsError
        If the file is there and ``overwrite`` is False.
    FileNotFoundError
        If the folder of ``path`` does not exist.
    IsADirectoryError
        If ``path`` is a folder.
    PermissionError
        If no file can be written in the folder of ``path``.

    See Also
    --------
    heldout.get.evaluation : The table of one evaluation.
    heldout.get.audit : The table of one audit.

    Examples
    --------
    >>> import heldout as ho, tempfile
    >>> adata = ho.datasets.lmna_simulated(n_cells=20, n_genes=100)
    >>> ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=19, val=0)
    >>> folder = tempfile.mkdtemp()
    >>> path = ho.report(adata, f"{folder}/report.html")
    >>> path.read_text(encoding="utf-8").startswith("<!doctype html>")
    True
    """
    store.check_adata(adata)
    if not any(store.section(adata, name) for name in _REPORTED):
        msg = (
            "adata has no split, audit, fit or result of heldout, so there is nothing to report. Start with a split, "
            "e.g. heldout.pp.split_groups, and heldout.tl.audit."
        )
        raise ValueError(msg)
    chosen = chosen_results(adata, key)
    target = check_target(path, "path", overwrite=overwrite, instead="pass overwrite=True")
    page = _page(adata, chosen, title)
    with written_at_once(target) as part:
        part.write_text(page, encoding="utf-8")
    return target


def _page(adata: AnnData, chosen: dict[str, list[str]], title: str | None) -> str:
    """The page as text."""
    pen = Pen()
    size = f"{counted(adata.n_obs, 'cell')} × {counted(adata.n_vars, 'gene')}"
    sections = [
        split_section(adata, pen),
        audit_section(adata),
        result_section(adata, chosen, pen),
        ledger_section(adata),
        record_section(adata),
    ]
    return render(
        "report.html",
        _TEMPLATES,
        title=title or f"Held-out prediction in {size}",
        size=size,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        audits=conclusions(adata),
        answers=answers(adata, chosen),
        missing=missing(adata),
        sections=[section for section in sections if section.parts or section.text],
    )

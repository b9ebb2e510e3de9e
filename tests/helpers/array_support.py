"""Which kinds of data each function of ``pp`` and ``tl`` takes. Tests try each; the documentation prints the table."""

from __future__ import annotations

KINDS = ("dense", "csr", "csc", "dask", "backed", "MuData")
"""Kinds of ``X``: in memory, as a dask array, and in a file that is open (``backed="r"``); and a whole MuData."""

IN_MEMORY = {"dense", "csr", "csc", "dask"}
"""Every function that takes an AnnData takes these."""

MUDATA = {
    "pp.folds",
    "pp.split_assigned",
    "pp.split_cells",
    "pp.split_from",
    "pp.split_groups",
    "pp.split_matched",
    "pp.split_perturbations",
    "pp.split_time",
}
"""Functions that take a MuData. The others take one modality, ``mdata["rna"]``."""

BACKED = MUDATA | {
    "pp.embedding",
    "pp.from_convention",
    "pp.lineages",
    "pp.numeric_time",
    "tl.audit",
    "tl.score_probabilities",
}
"""Functions that take a backed AnnData. The others need ``X`` in memory or as a dask array."""


def takes(function: str, kind: str) -> bool:
    """Whether a function such as ``pp.scale`` takes this kind of data."""
    return kind in IN_MEMORY or function in {"backed": BACKED, "MuData": MUDATA}[kind]

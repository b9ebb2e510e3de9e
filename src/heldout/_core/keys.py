"""Every name that heldout writes into an AnnData, in one place."""

from __future__ import annotations

from dataclasses import dataclass

UNS = "heldout"
"""The one entry of ``uns`` that heldout owns."""

SPLITS = "splits"
"""``uns["heldout"]["splits"][split_key]``: the record of a split."""

ASSIGNMENTS = "assignments"
"""``uns["heldout"]["assignments"][hash]``: which cell or gene went where, stored once per hash."""

FITS = "fits"
"""``uns["heldout"]["fits"][key]``: whatever was fitted."""

CHAIN = "chain"
"""``uns["heldout"]["chain"]``: keys of the preparation fits in the order they were applied."""

EVALUATIONS = "evaluations"
"""``uns["heldout"]["evaluations"][key]``: the table of an evaluation, and what its report says."""

SCORES = "scores"
"""``uns["heldout"]["scores"][key]``: the score of each group and method behind an evaluation."""

EMBEDDINGS = "embeddings"
"""``uns["heldout"]["embeddings"][key]``: vectors of genes or perturbations that come from elsewhere."""

CLAIMS = "claims"
"""``uns["heldout"]["claims"][key]``: what the design of an evaluation supports, level by level."""

COMPARISONS = "comparisons"
"""``uns["heldout"]["comparisons"][key]``: the table of methods over folds and seeds, and the scores behind it."""

SWEEPS = "sweeps"
"""``uns["heldout"]["sweeps"][key]``: the options that were tried, and what val said of each."""

AUDITS = "audits"
"""``uns["heldout"]["audits"][key]``: the table of an audit, and what it was asked."""

INTERACTIONS = "interactions"
"""``uns["heldout"]["interactions"][key]``: profiles of combinations and of their members, and the null of the deviations."""

LIBRARIES = "libraries"
"""``uns["heldout"]["libraries"]``: cells found, dropped and kept of each library that was read."""

LEDGER = "ledger"
"""``uns["heldout"]["ledger"]``: one row for each look at a test set."""


@dataclass(frozen=True)
class PredictionKeys:
    """Where the predictions of the fit ``key`` are written."""

    key: str

    @property
    def label(self) -> str:
        """``obs``: the predicted class, categorical."""
        return f"{self.key}_prediction"

    @property
    def probability(self) -> str:
        """``obs``: the probability of the predicted class, or of the positive one of two."""
        return f"{self.key}_probability"

    @property
    def log_probability(self) -> str:
        """``obsm``: log-probabilities (n_obs × n_classes)."""
        return f"{self.key}_log_probability"


def check_key(name: str, value: str) -> str:
    """Refuse a key that ``.h5ad`` or ``.zarr`` would turn into nested groups."""
    if not isinstance(value, str) or not value or "/" in value:
        msg = (
            f"{name}={value!r} cannot be used as a key: it must be a non-empty string without '/', "
            "because '/' separates groups in h5ad and zarr files. Choose another name."
        )
        raise ValueError(msg)
    return value

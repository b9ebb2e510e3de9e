"""All names that heldout writes into an AnnData."""

from __future__ import annotations

from dataclasses import dataclass

UNS = "heldout"
"""The only entry of ``uns`` that heldout writes."""

SPLITS = "splits"
"""``uns["heldout"]["splits"][split_key]``: the record of a split."""

ASSIGNMENTS = "assignments"
"""``uns["heldout"]["assignments"][hash]``: the partition of each cell or gene, stored once per hash."""

FITS = "fits"
"""``uns["heldout"]["fits"][key]``: a fit."""

CHAIN = "chain"
"""``uns["heldout"]["chain"]``: keys of the preparation fits in the order in which they were applied."""

EVALUATIONS = "evaluations"
"""``uns["heldout"]["evaluations"][key]``: the table of an evaluation, and the values of its report."""

SCORES = "scores"
"""``uns["heldout"]["scores"][key]``: the score of each group and method behind an evaluation."""

EMBEDDINGS = "embeddings"
"""``uns["heldout"]["embeddings"][key]``: vectors of genes or perturbations from other sources."""

CLAIMS = "claims"
"""``uns["heldout"]["claims"][key]``: the claims that the design of an evaluation supports, by level."""

COMPARISONS = "comparisons"
"""``uns["heldout"]["comparisons"][key]``: the table of methods over folds and seeds, and their scores."""

LEARNING_CURVES = "learning_curves"
"""``uns["heldout"]["learning_curves"][key]``: scores against the number of train groups."""

SWEEPS = "sweeps"
"""``uns["heldout"]["sweeps"][key]``: the options that were tried, and their scores on val."""

AUDITS = "audits"
"""``uns["heldout"]["audits"][key]``: the table of an audit, and its arguments."""

INTERACTIONS = "interactions"
"""``uns["heldout"]["interactions"][key]``: profiles of combinations and their members, and the null of deviations."""

LIBRARIES = "libraries"
"""``uns["heldout"]["libraries"]``: numbers of cells found, dropped and kept of each library that was read."""

LEDGER = "ledger"
"""``uns["heldout"]["ledger"]``: one row for each look at a test set."""


@dataclass(frozen=True)
class PredictionKeys:
    """Names of the slots for the predictions of the fit ``key``."""

    key: str

    @property
    def label(self) -> str:
        """``obs``: the predicted class, categorical."""
        return f"{self.key}_prediction"

    @property
    def probability(self) -> str:
        """``obs``: the probability of the predicted class; for two classes, of the positive class."""
        return f"{self.key}_probability"

    @property
    def log_probability(self) -> str:
        """``obsm``: log-probabilities (n_obs × n_classes)."""
        return f"{self.key}_log_probability"


def check_key(name: str, value: str) -> str:
    """Refuse a key that ``.h5ad`` or ``.zarr`` would turn into nested groups."""
    if not isinstance(value, str) or not value or "/" in value:
        msg = (
            f"{name}={value!r} cannot be used as a key. It must be a non-empty string without '/', "
            "because '/' separates groups in h5ad and zarr files. Choose another name."
        )
        raise ValueError(msg)
    return value

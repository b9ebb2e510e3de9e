"""Score a stored fit of any task and its baselines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from heldout._core import store
from heldout._core.fits import latest_fit, read_header
from heldout.tl._evaluate_forecast import evaluate_forecast
from heldout.tl._evaluate_forecast_genes import evaluate_forecast_genes
from heldout.tl._evaluate_genotype import evaluate_genotype
from heldout.tl._evaluate_perturbation import evaluate_perturbation
from heldout.tl._moved import moved

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd
    from anndata import AnnData

    from heldout._core.rng import Rng

_VERBS: dict[str, Callable[..., pd.DataFrame]] = {
    "genotype": evaluate_genotype,
    "forecast": evaluate_forecast,
    "forecast_genes": evaluate_forecast_genes,
    "perturbation": evaluate_perturbation,
}
"""The function that scores the fits of a task."""


@moved(
    group_key="heldout.tl.evaluate_genotype or heldout.tl.evaluate_forecast with group_key=",
    block_key="heldout.tl.evaluate_genotype with block_key=",
    claim_keys="heldout.tl.evaluate_genotype with claim_keys=",
    n_refits="heldout.tl.evaluate_genotype with n_refits=",
)
def evaluate(
    adata: AnnData,
    key: str | None = None,
    *,
    partition: Literal["test", "val", "train"] = "test",
    baselines: Sequence[Any] | None = None,
    n_bootstrap: int = 2000,
    rng: Rng = 0,
) -> pd.DataFrame:
    """Score a fit and its baselines on held-out data, with intervals and a verdict.

    The task of the fit decides how it is scored. The functions for one task have further options:

    - :func:`evaluate_genotype`: classes of libraries or donors,
    - :func:`evaluate_forecast`: cells at held-out times,
    - :func:`evaluate_forecast_genes`: held-out genes,
    - :func:`evaluate_perturbation`: held-out perturbations.

    Parameters
    ----------
    adata
        AnnData with the fit, (n_obs × n_vars).
    key
        Name of the fit. If None, the fit that was stored last is scored; preparation steps do not count.
    partition
        Partition to score. The first evaluation of a fit on ``test`` is a look at the test set. From the second look
        on, a warning says so. Scoring the same fit again, for example with other baselines, is no new look.
    baselines
        Baselines to fit on train and to score on the same units. If None, those that are usual for the task. For a
        genotype fit, a classifier of scikit-learn can stand for a name, as in :func:`genotype`.
    n_bootstrap
        Number of bootstrap draws.
    rng
        Seed or Generator of the bootstrap.

    Returns
    -------
    A DataFrame that prints as a report: the question, the verdict in one sentence, and the scores behind it. It has
    one row for each method, level and metric; its attribute ``table`` is the same table as a plain DataFrame, and
    ``answer`` is the verdict. Columns of every task: ``method``, ``role`` (``model`` is judged, ``baseline`` is
    compared with), ``level`` (unit of inference), ``metric``, ``estimate``, ``ci_low``, ``ci_high`` (95 %), ``n``
    (units), ``baseline`` (the best one), ``difference``, ``difference_low``, ``difference_high``, ``ceiling``,
    ``verdict``, ``note``, ``partition``, ``look``. The verdict is ``better``, ``not better``, ``undecided``, or
    ``unidentifiable`` if so few units cannot decide. It is ``leaks``, without any interval or p-value, if a unit is on
    both sides of the split: a group, an unseen perturbation, or a donor or sample that was not declared. The report
    says so first. The table is also stored:

    ``uns["heldout"]["evaluations"][key]``
        The table and the report.
    ``uns["heldout"]["scores"][key]``
        The scores of single units by each method.
    ``uns["heldout"]["claims"][key]``
        For a genotype fit: what the design supports, see :func:`heldout.get.claims`.
    ``uns["heldout"]["ledger"]``
        One more row, if ``partition="test"``.

    Raises
    ------
    TypeError
        If an option of one task is passed.
    ValueError
        If there is no such fit, it has no predictions to evaluate, it was made on another split, or the partition is
        empty.

    Examples
    --------
    >>> import heldout as ho, scanpy as sc
    >>> adata = ho.datasets.lmna_simulated(n_cells=50, n_genes=200)
    >>> ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=19, val=0)
    >>> sc.pp.normalize_total(adata, target_sum=1e4)
    >>> sc.pp.log1p(adata)
    >>> ho.tl.genotype(adata, "genotype", method="logistic")
    >>> report = ho.tl.evaluate(adata, baselines=["majority", "qc_logistic"])
    >>> print(report.answer)
    Cannot be decided: with one library of control, the library and the label cannot be told apart.
    >>> report.query("level == 'library' and metric == 'auc'")["n"].tolist()
    [2, 2, 2]
    """
    store.check_adata(adata)
    key = latest_fit(adata, _VERBS, purpose="to evaluate") if key is None else key
    wing = read_header(adata, key).method.split(".")[0]
    if wing not in _VERBS:
        msg = f"Fit {key!r} is a preparation step; it has no predictions to evaluate."
        raise ValueError(msg)
    return _VERBS[wing](adata, key, partition=partition, baselines=baselines, n_bootstrap=n_bootstrap, rng=rng)

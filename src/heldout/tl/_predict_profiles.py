"""Predicted profiles of perturbations as a new AnnData."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from heldout._core.threads import thread_policy
from heldout.tasks.perturbation.predict import predicted_profiles
from heldout.tl._predict import fit_to_predict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData


@thread_policy()
def predict_profiles(
    adata: AnnData,
    key: str | None = None,
    *,
    perturbations: Sequence[str] | None = None,
    contexts: Sequence[Any] | None = None,
    doses: float | Sequence[float] | None = None,
    coverage: float = 0.9,
    reference: AnnData | None = None,
) -> AnnData:
    """Predict the mean profiles of perturbations, and return them as a new AnnData.

    ``adata`` is not changed.

    Parameters
    ----------
    adata
        AnnData with the control cells, (n_obs × n_vars).
    key
        Name of the fit. If None, the perturbation fit that was stored last is used.
    perturbations
        Names of perturbations, such as ``"A+B"``. If None, the perturbations of the test cells, in their contexts.
    contexts
        Contexts to predict in: values of the covariate, or tuples of several values. If None, all.
    doses
        Dose or doses at which to predict each perturbation, numbers > 0, for a fit with a ``dose_key``. They need not
        be in train. If None, the doses of the test cells, or all doses of train if ``perturbations`` is given.
    coverage
        Nominal coverage of the intervals: 0.5, 0.6, 0.7, 0.8, 0.9 or 0.95.
    reference
        AnnData that holds the fit. If None, it is ``adata``; otherwise predicted changes are added to the controls of
        ``adata``, a screen in other cells.

    Returns
    -------
    A new AnnData with one row for each perturbation and context, all values float32:

    - ``X``: mean log-normalised expression, which is the mean of the train controls of the context plus the change;
    - ``layers["change"]``: the predicted change;
    - ``layers["lower"]``, ``layers["upper"]``: the interval, if val has perturbations; NaN where val has too few of a
      kind;
    - ``obs``: the perturbation, the context, the dose if the fit has doses, ``n_targets``, ``n_seen`` (targets that are
      in train), ``predicted`` (whether the method can predict it; otherwise the row is NaN) and ``fallback`` (whether
      the prediction is a fallback, such as the mean effect of a target); ``interval`` (``calibrated``, ``too few val
      perturbations`` or ``not predicted``), ``coverage`` (NaN without an interval) and ``n_val`` (val perturbations
      with the same number of targets and of targets in train; a coverage needs coverage / (1 - coverage) of them).

    A warning says which perturbations have no interval, how many val perturbations they need, and which coverage is
    possible.

    Raises
    ------
    ValueError
        If there is no such fit or another function predicts with it, a name or context is unknown, ``coverage`` was not
        calibrated, or ``adata`` has another split than that of the fit.

    Examples
    --------
    >>> import heldout as ho, scanpy as sc
    >>> adata = ho.datasets.perturbations_simulated(n_singles=12, n_doubles=8, n_genes=100, n_cells=20)
    >>> sc.pp.normalize_total(adata, target_sum=1e4)
    >>> sc.pp.log1p(adata)
    >>> ho.pp.split_perturbations(adata, "perturbation", hold_out="combination", val=0, test=0.5)
    >>> ho.tl.perturbation(adata, method="additive")
    >>> profiles = ho.tl.predict_profiles(adata)
    >>> profiles.shape == (profiles.obs["perturbation"].nunique(), adata.n_vars)
    True
    """
    key, fit = fit_to_predict(adata, key, "predict_profiles", reference=reference)
    return predicted_profiles(
        adata,
        fit,
        key=key,
        perturbations=perturbations,
        contexts=contexts,
        doses=doses,
        coverage=coverage,
        reference=reference,
    )

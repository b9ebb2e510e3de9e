"""Direction of predicted changes: correlation of the change, fold changes and their cosine; one value a perturbation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heldout.metrics._rows import as_beside, as_predicted, as_rows, rounding

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def pearson_delta(
    truth: ArrayLike, prediction: ArrayLike, reference: ArrayLike, *, prediction_reference: ArrayLike | None = None
) -> float | np.ndarray:
    """Pearson r over genes of the true and the predicted change from a reference; no unit, -1 to 1, higher is better.

    r of (truth - reference) with (prediction - reference), for each perturbation. Against the control it is the "Pearson
    delta" of :cite:t:`ahlmanneltze2025`; against the mean of the perturbed training profiles it is the score of Systema
    :cite:p:`vinas2025`. Show both. 1 is perfect; a direction at random has 0, but see the notes.

    Parameters
    ----------
    truth
        Mean expression (log values) of each perturbation, (n_perturbations × n_genes), or (n_genes,) of one.
    prediction
        The same as predicted. A row of NaN was not predicted.
    reference
        What the change is from, (n_genes,), one for each row (n_perturbations × n_genes), or 0: the profiles themselves.
    prediction_reference
        What the predicted change is from, if that is another one: the mean of other control cells. By default ``reference``.

    Returns
    -------
    (n_perturbations,), or a number for one. NaN for rows that were not predicted, and where either change is the same for
    all genes (up to rounding): "no change" has no correlation, rather than one of 0. Count such rows; do not score them 0.

    Raises
    ------
    ValueError
        If shapes differ, an array is empty, truth or reference has NaN, or a row of the prediction has NaN in some genes only.

    Notes
    -----
    Three traps. What all perturbations share (stress, cycle, the batch of the controls) counts for every one of them: the mean
    of the training perturbations scores high against the control and knows nothing of a perturbation; against the
    perturbed mean that falls away. Both changes contain the noise of one and the same reference: where controls are few,
    a prediction that does not use them, even the mean of other controls, correlates above 0. Give each side the mean of
    controls of its own, ``reference`` of held-out and ``prediction_reference`` of training controls, to be rid of that. And
    it says nothing of the size of a change: show :func:`profile_rmse` beside it.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> control, truth = np.zeros(3), np.array([[1.0, 2.0, -1.0], [0.0, 1.0, 0.0]])
    >>> ho.metrics.pearson_delta(truth, [[0.5, 1.0, -0.5], [0.0, 0.0, 0.0]], control).round(3).tolist()
    [1.0, nan]
    """
    rows = as_rows(truth, prediction)
    own = as_beside(reference, "reference", rows.truth)
    other = own if prediction_reference is None else as_beside(prediction_reference, "prediction_reference", rows.truth)
    inputs = [truth, prediction, reference] + ([] if prediction_reference is None else [prediction_reference])
    true = _centred(rows.truth, own, rounding(*inputs))
    predicted = _centred(np.where(rows.known[:, None], rows.prediction, other), other, rounding(*inputs))
    return rows.give(_cosine(true, predicted))


def log_fold_change(
    profile: ArrayLike, control: ArrayLike, *, pseudocount: float = 0.1, floor: float | None = None
) -> np.ndarray:
    """PerturBench's log fold change, log2(profile + pseudocount) - log2(control + pseudocount), in units of log2.

    Of means of log values: a ratio of logarithms, not the fold change of counts :cite:p:`wu2024perturbench`.

    Parameters
    ----------
    profile
        Mean over cells of the log values of each perturbation, (n_perturbations × n_genes) or (n_genes,). Rows of NaN stay.
    control
        The same of control cells, (n_genes,) or one for each row.
    pseudocount
        Added to either mean.
    floor
        Lower means of the profile are raised to this first. A mean of log values is never below 0, but a predicted one (the
        additive baseline's, say) can be. None leaves them.

    Returns
    -------
    An array of the shape of ``profile``. NaN where ``profile + pseudocount`` is not above 0.

    Raises
    ------
    ValueError
        If shapes do not fit, the control has NaN or is not above ``-pseudocount``, or ``pseudocount`` is not above 0.

    Notes
    -----
    The pseudocount sets what counts: a gene that goes from 0 to 0.1 in the mean has a change of 1, as has one from 1 to 2.1.
    It is no difference of mean log values, which other codes call by the same name. ``floor=0`` departs from PerturBench,
    whose models cannot predict below 0; say so.

    Examples
    --------
    >>> import heldout as ho
    >>> ho.metrics.log_fold_change([0.3, 0.0], control=[0.1, 0.1]).round(3).tolist()
    [1.0, -1.0]
    """
    if not 0 < pseudocount < np.inf:
        msg = f"pseudocount={pseudocount!r} must be above 0, for example 0.1."
        raise ValueError(msg)
    means = as_predicted(profile, "profile")
    own = as_beside(control, "control", np.atleast_2d(means))
    if (own <= -pseudocount).any():
        msg = f"control has values of {float(own.min())!r}, not above -pseudocount; pass means of log values, not scaled or centred ones."
        raise ValueError(msg)
    raised = means if floor is None else np.maximum(means, floor)
    shifted = np.where(raised + pseudocount > 0, raised + pseudocount, np.nan)
    return np.asarray(np.log2(shifted) - np.log2(own.reshape(means.shape) + pseudocount))


def cosine_logfc(
    truth: ArrayLike,
    prediction: ArrayLike,
    control: ArrayLike,
    *,
    prediction_control: ArrayLike | None = None,
    pseudocount: float = 0.1,
    floor: float | None = None,
) -> float | np.ndarray:
    """Cosine over genes of the true and the predicted :func:`log_fold_change`; no unit, -1 to 1, higher is better.

    PerturBench's "cosine logFC" :cite:p:`wu2024perturbench`. 1 is perfect; a direction at random has 0. What all
    perturbations share has more: a model that knew only the cell line had 0.30 in their screen of drugs, the best 0.53.

    Parameters
    ----------
    truth
        Mean over cells of the log values of each perturbation, (n_perturbations × n_genes), or (n_genes,) of one.
    prediction
        The same as predicted. A row of NaN was not predicted.
    control
        Mean of the control cells, (n_genes,) or one for each row.
    prediction_control
        Control of the predicted change, by default ``control``. PerturBench takes the controls in the prediction's file: a
        method that predicts controls too can move this origin.
    pseudocount
        As in :func:`log_fold_change`.
    floor
        As in :func:`log_fold_change`, of the prediction alone.

    Returns
    -------
    (n_perturbations,), or a number for one. NaN for rows that were not predicted, for "no change" (a vector of zeros, up to
    rounding), and where a predicted mean is not above ``-pseudocount``.

    Raises
    ------
    ValueError
        If shapes differ, truth or control has NaN or is not above ``-pseudocount``, or ``pseudocount`` is not above 0.

    Notes
    -----
    Genes near 0 rule it: their fold changes are the largest and the noisiest. Neither does it see the size of a change.
    The traps of :func:`pearson_delta` are its own too.

    Examples
    --------
    >>> import heldout as ho
    >>> control = [0.1, 0.1]
    >>> ho.metrics.cosine_logfc([[0.3, 0.1], [0.3, 0.1]], [[0.7, 0.1], [0.1, 0.3]], control).round(3).tolist()
    [1.0, 0.0]
    """
    rows = as_rows(truth, prediction)
    if (rows.truth <= -pseudocount).any():
        msg = f"truth has values of {float(rows.truth.min())!r}, not above -pseudocount; pass means of log values, not scaled or centred ones."
        raise ValueError(msg)
    own = as_beside(control, "control", rows.truth)
    other = own if prediction_control is None else as_beside(prediction_control, "prediction_control", rows.truth)
    least = rounding(truth, prediction, control, *([] if prediction_control is None else [prediction_control]))
    true = log_fold_change(rows.truth, own, pseudocount=pseudocount)
    predicted = log_fold_change(rows.prediction, other, pseudocount=pseudocount, floor=floor)
    for change in (true, predicted):
        change[np.abs(change).max(axis=1) <= least * 4] = 0
    return rows.give(_cosine(true, predicted))


def _centred(values: np.ndarray, reference: np.ndarray, least: float) -> np.ndarray:
    """Changes less their mean over genes; zeros if they are alike but for rounding."""
    change = values - reference
    size = np.maximum(np.abs(values).max(axis=1), np.abs(reference).max(axis=1))
    alike = np.ptp(change, axis=1) <= least * size
    return np.where(alike[:, None], 0.0, change - change.mean(axis=1, keepdims=True))


def _cosine(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Cosine of each pair of rows, NaN where one is zero or has NaN."""
    lengths = [np.linalg.norm(rows, axis=1) for rows in (first, second)]
    defined = (lengths[0] > 0) & (lengths[1] > 0)
    scaled = [
        np.divide(rows, length[:, None], out=np.full(rows.shape, np.nan), where=defined[:, None])
        for rows, length in zip((first, second), lengths, strict=True)
    ]
    return np.clip(np.sum(scaled[0] * scaled[1], axis=1), -1, 1)  # of rounding only

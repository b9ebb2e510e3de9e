"""Direction of predicted changes, one value per perturbation: correlation of the change, and cosine of fold changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heldout._core.checks import check_number
from heldout.metrics._rows import as_many_rows, as_predicted, as_rows, rounding

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def pearson_delta(
    truth: ArrayLike, prediction: ArrayLike, start: ArrayLike, *, prediction_start: ArrayLike | None = None
) -> float | np.ndarray:
    """Return the Pearson r over genes of the true and the predicted change; no unit, -1 to 1, higher is better.

    It is the correlation of (truth - start) with (prediction - start), for each perturbation. With the control as
    ``start`` it is the "Pearson delta" of :cite:t:`ahlmanneltze2025`. With the mean of the perturbed training profiles
    as ``start`` it is the score of Systema :cite:p:`vinas2025`. Show both. 1 is perfect and a random direction scores
    0, but see the notes.

    Parameters
    ----------
    truth
        Mean expression (log values) of each perturbation, (n_perturbations × n_genes), or (n_genes,) for one.
    prediction
        Predicted mean expression, same shape. A row of NaN is a perturbation without a prediction.
    start
        Profile from which the change is counted, (n_genes,), or one for each row, (n_perturbations × n_genes). With 0
        the profiles themselves are correlated.
    prediction_start
        Profile from which the predicted change is counted, if it is another one, such as the mean of other control
        cells. If None, ``start`` is used.

    Returns
    -------
    One value per perturbation, (n_perturbations,), or a number for one perturbation. NaN for rows without a prediction,
    and where either change is the same for all genes (up to rounding). The prediction "no change" has no correlation,
    so it is NaN and not 0. Count such rows, and do not score them as 0.

    Raises
    ------
    ValueError
        If shapes differ, an array is empty, truth or start has NaN, or a row of the prediction has NaN in some genes
        only.

    Notes
    -----
    This score has four traps.

    - Changes that all perturbations share (stress, cell cycle, the batch of the controls) count for each of them.
      Against the control, the mean of the training perturbations scores high although it knows nothing about a
      perturbation.
    - Against the mean of the perturbed profiles this is no longer so, but the prediction "no change" scores high for
      weak perturbations.
    - Both changes contain the noise of the same start profile. If there are few controls, a prediction that does not
      use them, such as the mean of other controls, correlates above 0. To avoid this, give each side the mean of
      different controls: held-out controls as ``start``, training controls as ``prediction_start``.
    - The score ignores the size of a change. Show :func:`profile_rmse` next to it.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> control, truth = np.zeros(3), np.array([[1.0, 2.0, -1.0], [0.0, 1.0, 0.0]])
    >>> ho.metrics.pearson_delta(truth, [[0.5, 1.0, -0.5], [0.0, 0.0, 0.0]], control).round(3).tolist()
    [1.0, nan]
    """
    rows = as_rows(truth, prediction)
    of_truth = of_prediction = as_many_rows(start, "start", rows.truth)
    if prediction_start is not None:
        of_prediction = as_many_rows(prediction_start, "prediction_start", rows.truth)
    least = rounding(prediction, start if prediction_start is None else prediction_start)
    true = _centred(rows.truth, of_truth, rounding(truth, start))
    predicted = _centred(np.where(rows.known[:, None], rows.prediction, of_prediction), of_prediction, least)
    return rows.result(_cosine(true, predicted))


def log_fold_change(
    profile: ArrayLike, control: ArrayLike, *, pseudocount: float = 0.1, floor: float | None = None
) -> np.ndarray:
    """Compute the log fold change of PerturBench, log2(profile + pseudocount) - log2(control + pseudocount).

    The unit is log2. The input are means of log values, so this is a ratio of logarithms and not the fold change of
    counts :cite:p:`wu2024perturbench`.

    Parameters
    ----------
    profile
        Mean over cells of the log values of each perturbation, (n_perturbations × n_genes) or (n_genes,). Rows of NaN
        stay NaN.
    control
        Mean over control cells of the log values, (n_genes,), or one for each row.
    pseudocount
        Added to both means.
    floor
        Smaller means of the profile are raised to this value first. A mean of log values is never below 0, but a
        predicted mean can be, for example that of the additive baseline. If None, means are not raised.

    Returns
    -------
    An array of the shape of ``profile``. NaN where ``profile + pseudocount`` is not above 0.

    Raises
    ------
    ValueError
        If shapes do not fit, the control has NaN or is not above ``-pseudocount``, or ``pseudocount`` is not above 0.

    Notes
    -----
    The pseudocount decides which changes count. A gene whose mean goes from 0 to 0.1 has a change of 1, and so has a
    gene whose mean goes from 1 to 2.1. Other codes use this name for a difference of mean log values, which is another
    quantity. ``floor=0`` differs from PerturBench, whose models cannot predict below 0. Report it with the score.

    Examples
    --------
    >>> import heldout as ho
    >>> ho.metrics.log_fold_change([0.3, 0.0], control=[0.1, 0.1]).round(3).tolist()
    [1.0, -1.0]
    """
    check_number(pseudocount, "pseudocount", above=0)
    means = as_predicted(profile, "profile")
    controls = as_many_rows(control, "control", np.atleast_2d(means))
    _check_above(controls, "control", pseudocount)
    raised = means if floor is None else np.maximum(means, floor)
    shifted = np.where(raised + pseudocount > 0, raised + pseudocount, np.nan)
    return np.asarray(np.log2(shifted) - np.log2(controls.reshape(means.shape) + pseudocount))


def cosine_logfc(
    truth: ArrayLike,
    prediction: ArrayLike,
    control: ArrayLike,
    *,
    prediction_control: ArrayLike | None = None,
    pseudocount: float = 0.1,
    floor: float | None = None,
) -> float | np.ndarray:
    """Return the cosine over genes of the true and the predicted :func:`log_fold_change`; higher is better.

    It is the "cosine logFC" of PerturBench :cite:p:`wu2024perturbench`. It has no unit and lies in -1 to 1. 1 is
    perfect and a random direction scores 0. Changes that all perturbations share score above 0. In the drug screen of
    PerturBench a model that knew only the cell line scored 0.30, and the best model scored 0.53.

    Parameters
    ----------
    truth
        Mean over cells of the log values of each perturbation, (n_perturbations × n_genes), or (n_genes,) for one.
    prediction
        Predicted mean, same shape. A row of NaN is a perturbation without a prediction.
    control
        Mean of the control cells, (n_genes,), or one for each row.
    prediction_control
        Control from which the predicted change is counted. If None, ``control`` is used. PerturBench takes the controls
        in the file of the prediction. A method that also predicts controls can then move this start.
    pseudocount
        As in :func:`log_fold_change`.
    floor
        As in :func:`log_fold_change`, for the prediction only.

    Returns
    -------
    One value per perturbation, (n_perturbations,), or a number for one perturbation. NaN for rows without a prediction,
    for the prediction "no change" (zero up to rounding), and where a predicted mean is not above ``-pseudocount``.

    Raises
    ------
    ValueError
        If shapes differ, truth or control has NaN or is not above ``-pseudocount``, or ``pseudocount`` is not above 0.

    Notes
    -----
    Genes near 0 dominate the score, because their fold changes are the largest and have the most noise. The score
    ignores the size of a change. The traps of :func:`pearson_delta` apply here too.

    Examples
    --------
    >>> import heldout as ho
    >>> control = [0.1, 0.1]
    >>> ho.metrics.cosine_logfc([[0.3, 0.1], [0.3, 0.1]], [[0.7, 0.1], [0.1, 0.3]], control).round(3).tolist()
    [1.0, 0.0]
    """
    rows = as_rows(truth, prediction)
    _check_above(rows.truth, "truth", pseudocount)
    of_truth = of_prediction = as_many_rows(control, "control", rows.truth)
    if prediction_control is not None:
        of_prediction = as_many_rows(prediction_control, "prediction_control", rows.truth)
    least = rounding(prediction, control if prediction_control is None else prediction_control)
    true = log_fold_change(rows.truth, of_truth, pseudocount=pseudocount)
    predicted = log_fold_change(rows.prediction, of_prediction, pseudocount=pseudocount, floor=floor)
    for change, error in ((true, rounding(truth, control)), (predicted, least)):
        change[np.abs(change).max(axis=1) <= 4 * error] = 0
    return rows.result(_cosine(true, predicted))


def _check_above(means: np.ndarray, name: str, pseudocount: float) -> None:
    if (means <= -pseudocount).any():
        msg = (
            f"{name} has values of {float(means.min())!r}, not above -pseudocount. "
            "Pass means of log values that are not scaled or centred."
        )
        raise ValueError(msg)


def _centred(values: np.ndarray, start: np.ndarray, least: float) -> np.ndarray:
    """Subtract the mean over genes from each change. A change that is equal for all genes becomes 0."""
    change = values - start
    size = np.maximum(np.abs(values).max(axis=1), np.abs(start).max(axis=1))
    alike = np.ptp(change, axis=1) <= least * size
    return np.where(alike[:, None], 0.0, change - change.mean(axis=1, keepdims=True))


def _cosine(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the cosine of each pair of rows; NaN where a row is zero or has NaN."""
    lengths = [np.linalg.norm(rows, axis=1) for rows in (first, second)]
    defined = (lengths[0] > 0) & (lengths[1] > 0)
    scaled = [
        np.divide(rows, length[:, None], out=np.full(rows.shape, np.nan), where=defined[:, None])
        for rows, length in zip((first, second), lengths, strict=True)
    ]
    return np.clip(np.sum(scaled[0] * scaled[1], axis=1), -1, 1)  # corrects rounding only

"""Score perturbations, or probabilities of classes, that another tool predicted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from heldout._core import keys, store
from heldout._core.evaluations import write_evaluation
from heldout._core.genes import DEFAULT
from heldout._core.keys import check_key
from heldout._core.partition import read_partition
from heldout._core.threads import thread_policy
from heldout.tasks.perturbation.judging.judge import check_how
from heldout.tasks.perturbation.judging.leaks import leak_of_screen
from heldout.tasks.perturbation.judging.score_predictions import judge_predictions, named_predictions
from heldout.tasks.perturbation.task import Task
from heldout.tl._score_probabilities import score_probabilities

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from anndata import AnnData

    from heldout._core.rng import Rng


@thread_policy()
def score_predictions(
    adata: AnnData,
    predicted: Any,
    perturbation_key: str | None = None,
    *,
    control: str | Sequence[str] | None = None,
    targets: str | Mapping[str, str | Sequence[str]] | None = None,
    separator: str | None = "+",
    covariate_keys: str | Sequence[str] | None = None,
    dose_key: str | None = None,
    split_key: str = "split",
    partition: Literal["test", "val", "train"] = "test",
    mask_var: str | None = DEFAULT,
    layer: str | None = None,
    baselines: Sequence[str] | None = None,
    n_bootstrap: int = 2000,
    rng: Rng = 0,
    label_key: str | None = None,
    fold_key: str | None = None,
    group_key: str | Sequence[str] | None = None,
    block_key: str | None = None,
    positive_class: str | float | None = None,
    key_added: str = "predictions",
) -> pd.DataFrame:
    """Score the predictions of another tool like a fit: with baselines, a ceiling and a verdict.

    Predictions of GEARS, CPA, CellFlow, State, scGPT or any other source are the rows of an AnnData: predicted cells,
    or one mean profile for each perturbation, on the log-normalised scale of ``adata``. Changes are measured from the
    real train controls and never from predicted controls, so a tool gains nothing by predicting other controls.

    With ``label_key``, ``predicted`` has probabilities of classes, and :func:`score_probabilities` scores them.

    Parameters
    ----------
    adata
        The screen with its split, (n_obs × n_vars), log-normalised.
    predicted
        AnnData with the perturbation of each row in ``obs``, with the covariates if there are several contexts, and
        with the dose if the screen has doses, in columns with the same names as in ``adata``. Or a DataFrame with a row
        for each perturbation and a column for each gene: the index has the perturbation, and further levels of the
        index or columns have the covariates and the dose. Or the path of one of them (``.h5ad``, ``.csv``, ``.tsv``,
        ``.parquet``). Or a mapping from names of methods to several of these. ``"B+A"`` is ``"A+B"``. Rows of controls
        and of perturbations that are not judged are left out. Rows of NaN count as not predicted.
    perturbation_key
        Column of ``obs`` with the perturbation. A split of perturbations knows it, and the next four arguments.
    control, targets, separator, covariate_keys, dose_key
        How names and doses are read, see :func:`perturbation`.
    split_key
        The split.
    partition
        Partition to score. Scoring on ``test`` counts as a look.
    mask_var
        Bool column of ``var`` with the genes to score. The default is used if it exists; None uses all genes.
    layer
        Layer of ``adata`` to use instead of ``X``. If None, ``X`` is used.
    baselines
        Baselines to fit on train, as in :func:`evaluate_perturbation`. If a tool predicts cells, ``moved_cells`` is one
        of the default baselines.
    n_bootstrap
        Number of bootstrap draws.
    rng
        Seed or Generator of the bootstrap.
    label_key, fold_key, group_key, block_key, positive_class
        For probabilities of classes only, see :func:`score_probabilities`. ``split_key`` and ``key_added`` apply to
        them too, the other options do not.
    key_added
        Name of the evaluation.

    Returns
    -------
    With ``label_key``, the table of :func:`score_probabilities`. Otherwise the table of :func:`evaluate_perturbation`.
    A tool that predicts cells has one more row for each metric, ``<name> (shifted controls)``: its mean with the spread
    of the controls. The table is also stored:

    ``uns["heldout"]["evaluations"][key_added]``
        The table and the report.
    ``uns["heldout"]["scores"][key_added]``
        The scores of each perturbation and context by each method.
    ``uns["heldout"]["ledger"]``
        One more row, if ``partition="test"``.

    Raises
    ------
    TypeError, FileNotFoundError
        If a prediction is something else, or there is no such file.
    ValueError
        If a column is missing or has no numbers, fewer than half of the genes are predicted, no judged perturbation is
        predicted, or the values are raw counts, changes instead of profiles, or on another scale than ``adata``.

    Notes
    -----
    Genes are found by name, or else regardless of case and of the version of an Ensembl id. If genes are missing, all
    methods are scored on the other genes.

    Examples
    --------
    >>> import heldout as ho, scanpy as sc
    >>> adata = ho.datasets.perturbations_simulated(n_singles=12, n_doubles=8, n_genes=100, n_cells=20)
    >>> sc.pp.normalize_total(adata, target_sum=1e4)
    >>> sc.pp.log1p(adata)
    >>> ho.pp.split_perturbations(adata, "perturbation", hold_out="combination", val=0, test=0.5)
    >>> ho.tl.perturbation(adata, method="additive")
    >>> other = ho.tl.predict_profiles(adata, "perturbation")  # in place of the AnnData of another tool
    >>> table = ho.tl.score_predictions(adata, {"other tool": other}, baselines=["no_change", "mean"])
    >>> table["method"].unique().tolist()
    ['other tool', 'no_change', 'mean']
    """
    check_key("key_added", key_added)
    store.check_adata(adata)
    of_classes: dict[str, Any] = {"fold_key": fold_key, "group_key": group_key, "block_key": block_key}
    of_classes["positive_class"] = positive_class
    if label_key is not None:
        others = {"perturbation_key": perturbation_key, "control": control, "targets": targets}
        others |= {"covariate_keys": covariate_keys, "dose_key": dose_key, "layer": layer, "baselines": baselines}
        _refuse(others, f"is for perturbations, and label_key={label_key!r} asks for classes")
        return score_probabilities(adata, predicted, label_key, split_key=split_key, key_added=key_added, **of_classes)
    _refuse(of_classes, "is for probabilities of classes, which need a label_key")
    check_how(partition, baselines, n_bootstrap)
    if key_added in store.section(adata, keys.FITS):
        msg = f"key_added={key_added!r} is the name of a fit, whose evaluation would be lost. Choose another name."
        raise ValueError(msg)
    named = named_predictions(predicted)
    split = read_partition(adata, split_key)
    task = Task.of(
        adata,
        split,
        perturbation_key,
        control=control,
        targets=targets,
        separator=separator,
        covariate_keys=covariate_keys,
        dose_key=dose_key,
        mask_var=mask_var,
        layer=layer,
    )
    table, rows, fit = judge_predictions(
        task, named, partition=partition, baselines=baselines, n_bootstrap=n_bootstrap, rng=rng
    )
    leak = leak_of_screen(adata, split, task.screen, partition)
    return write_evaluation(adata, key_added, fit, split, table, rows, partition=partition, leak=leak)


def _refuse(options: Mapping[str, Any], why: str) -> None:
    for name, value in options.items():
        if value is not None:
            msg = f"{name}={value!r} {why}. Leave it out."
            raise ValueError(msg)

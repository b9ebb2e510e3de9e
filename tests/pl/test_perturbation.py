"""What the plots of perturbations draw; how they look was checked by eye."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

import heldout as ho
from tests.helpers.perturbations import combinations, simulated


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def evaluated():
    adata = simulated(n_doubles=60)
    ho.pp.split_perturbations(adata, "perturbation", hold_out="combination", val=0.4, test=0.4)
    ho.tl.perturbation(adata, method="additive")
    ho.tl.evaluate(adata, "perturbation", n_bootstrap=50)
    return adata


def test_leaderboard_has_a_panel_a_metric_and_a_row_a_method(evaluated):
    table = ho.get.evaluation(evaluated, "perturbation")
    axes = ho.pl.leaderboard(evaluated)
    assert [ax.get_xlabel() for ax in axes] == [
        "Pearson delta →",
        "pearson delta perturbed →",
        "discrimination →",
        "← L2",
    ]
    order = [text.get_text() for text in axes[0].get_yticklabels()]
    estimates = table[table["metric"] == "l2"].set_index("method")["estimate"]
    assert order[-1].replace(" ", "_") == estimates.idxmin()
    points = [line.get_xdata()[0] for line in axes[3].lines if line.get_marker() in ("o", "s", "D")]
    expected = (
        table[table["metric"] == "l2"].set_index("method").loc[[name.replace(" ", "_") for name in order], "estimate"]
    )
    np.testing.assert_allclose(points, expected)
    assert axes[0].get_title(loc="left").replace("\n", " ").startswith("24 perturbations: ")
    row = table[(table["role"] == "model") & (table["metric"] == "pearson_delta")].iloc[0]
    assert axes[0].get_title(loc="left").endswith(row["baseline"].replace("_", " ")), "the verdict names its baseline"
    assert any("not defined" in text.get_text() for text in axes[0].texts)


def test_what_was_not_predicted_is_not_called_undefined(evaluated):
    targets = [name for name in evaluated.obs["perturbation"].cat.categories if name in evaluated.var_names]
    adata = evaluated[:, ~evaluated.var_names.isin(targets[1:])].copy()  # one target is read out: no pair has a vector
    del adata.uns["heldout"]["fits"]
    ho.tl.perturbation(adata, method="additive")
    ho.tl.evaluate(adata, "perturbation", baselines=["no_change", "linear"], n_bootstrap=20)
    texts = [text.get_text() for text in ho.pl.leaderboard(adata, metrics="pearson_delta")[0].texts]
    assert sorted(texts) == ["not defined", "not predicted"]


def test_leaderboard_draws_into_given_axes_and_refuses_a_wrong_number(evaluated):
    _, axes = plt.subplots(1, 2)
    drawn = ho.pl.leaderboard(evaluated, metrics=["l2", "rank"], axes=axes)
    assert drawn[0] is axes[0]
    with pytest.raises(ValueError, match="one Axes for each of 1 metric, got 2"):
        ho.pl.leaderboard(evaluated, metrics=["l2"], axes=axes)
    with pytest.raises(ValueError, match="no metric"):
        ho.pl.leaderboard(evaluated, metrics=["auc"])


def test_leaderboard_of_a_genotype(fitted):
    axes = ho.pl.leaderboard(fitted, "genotype")
    assert len(axes) >= 1
    assert {text.get_text() for text in axes[0].get_yticklabels()} >= {"logistic", "majority"}


def test_coverage_has_a_line_a_kind_of_perturbation(evaluated):
    ax = ho.pl.coverage(evaluated)
    scores = ho.get.scores(evaluated, "perturbation").query("role == 'model'")
    line = next(line for line in ax.lines if str(line.get_label()).startswith("pair"))
    levels = [0.5, 0.6, 0.7, 0.8, 0.9, 0.95]
    np.testing.assert_allclose(line.get_xdata(), levels)
    np.testing.assert_allclose(line.get_ydata(), [scores[f"coverage_{level:g}"].mean() for level in levels])
    assert ho.pl.coverage(evaluated, ax=ax) is ax


def test_coverage_without_intervals_says_what_is_needed():
    adata = combinations()
    ho.tl.perturbation(adata)
    ho.tl.evaluate(adata, "perturbation", baselines=["mean"], n_bootstrap=20)
    with pytest.raises(ValueError, match="no intervals"):
        ho.pl.coverage(adata)

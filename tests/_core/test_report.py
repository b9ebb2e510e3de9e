"""The report of an evaluation: what it prints, and that it can be read back."""

from __future__ import annotations

from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

import heldout as ho
from heldout._core.report import Board, Evaluation, about_table, answer
from tests.helpers.evaluated import EVALUATED, FEW


@pytest.fixture(scope="module", params=EVALUATED)
def evaluated(request):
    """An evaluated fit of each task: its AnnData, the returned report, and its question."""
    make, baselines, question = EVALUATED[request.param]
    adata = make()
    return adata, ho.tl.evaluate(adata, request.param, baselines=baselines, **FEW), question


class _Tags(HTMLParser):
    """Checks that tags are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_a_report_of_every_task(evaluated):
    _, report, question = evaluated
    lines = str(report).split("\n")
    assert max(map(len, lines)) <= 100
    assert "look 1 at this test set" in lines[0]
    assert lines[1] == question
    assert " ".join(report.answer.split()) in " ".join(" ".join(lines).split())
    model = report.loc[report["role"] == "model", "method"].iloc[0]
    scores = [line for line in lines if line.startswith("  ")]
    assert scores[0].split()[0] == model, "the judged method comes first"
    assert scores[0].endswith("judged")
    assert any(line.endswith("best baseline") for line in scores)
    assert repr(report) == str(report)
    tags = _Tags()
    tags.feed(report._repr_html_())
    assert tags.open == []


def test_the_table_is_plain(evaluated):
    _, report, _ = evaluated
    for plain in (report.table, report[report["metric"] != ""], report.query("role == 'model'"), report.head()):
        assert type(plain) is pd.DataFrame
    pd.testing.assert_frame_equal(report.table, pd.DataFrame(report))


def test_a_report_survives_a_file(evaluated, through_file):
    adata, report, _ = evaluated
    again = ho.get.evaluation(through_file(adata))
    assert type(again) is Evaluation
    assert str(again) == str(report)
    assert (again.answer, again.summary) == (report.answer, report.summary)
    pd.testing.assert_frame_equal(again.table, report.table, check_dtype=False)
    assert ho.get.summary(adata) == report.summary


def test_an_evaluation_of_an_older_file_is_read(evaluated):
    """The first version stored the table alone."""
    adata, report, question = evaluated
    older = adata.copy()
    key = next(iter(older.uns["heldout"]["evaluations"]))
    older.uns["heldout"]["evaluations"] = {key: report.table.rename(index=str)}
    if key == "genotype":
        older.uns["heldout"]["claims"][key]["summary"] = "what was stored"
    again = ho.get.evaluation(older)
    pd.testing.assert_frame_equal(again.table, report.table)
    asked = question if key != "genotype" else "Which label does a new donor have?"
    assert str(again).split("\n")[1] == asked
    assert ho.get.summary(older) == ("what was stored" if key == "genotype" else report.summary)
    assert ho.get.leaderboard(older).index.tolist() == ho.get.leaderboard(adata).index.tolist()
    with pytest.raises(ValueError, match="an older version"):
        ho.get.leaderboard(older, baselines=[report.loc[report["role"] == "baseline", "method"].iloc[0]])


def test_each_baseline_has_its_difference(evaluated):
    """A column against a baseline says what an evaluation with this baseline alone would say."""
    adata, report, _ = evaluated
    key = next(iter(adata.uns["heldout"]["evaluations"]))
    board = ho.get.leaderboard(adata, metrics="rmse" if key != "genotype" else "auc", baselines=_baselines(report))
    first = board.columns[0]
    for baseline in _baselines(report):
        alone = ho.tl.evaluate(adata.copy(), key, baselines=[baseline], **FEW)
        row = alone[(alone["role"] == "model") & (alone["metric"] == first)].iloc[0]
        text = board.loc[row["method"], f"{first} against {baseline}"]
        if row["baseline"] != baseline:
            continue  # persistence is always scored, and may be the better of the two
        assert text.startswith(f"{row['difference']:+.3g}")
        assert text.endswith(row["verdict"])
        if np.isfinite(row["difference_low"]):
            assert f"({row['difference_low']:+.3g} to {row['difference_high']:+.3g})" in text
    with pytest.raises(ValueError, match="'nearest'.*was not evaluated.*no new look"):
        ho.get.leaderboard(adata, baselines=["nearest"])


def _baselines(report: pd.DataFrame) -> list[str]:
    return report.loc[report["role"] == "baseline", "method"].drop_duplicates().tolist()


def test_leaderboards_show_three_metrics_and_name_the_baseline(evaluated):
    adata, report, _ = evaluated
    board = ho.get.leaderboard(adata)
    assert type(board) is Board
    assert len(board.columns) <= 3
    assert max(map(len, str(board).split("\n"))) <= 100
    for metric in board.columns:
        row = report[(report["role"] == "model") & (report["metric"] == metric)].iloc[0]
        assert (
            not row["baseline"]
            or not np.isfinite(row["estimate"])
            or row["baseline"] in board.loc[row["method"], metric]
        )
    assert type(board[board.columns[:1]]) is pd.DataFrame


ROW = {"role": "model", "level": "perturbation", "n": 12, "ceiling": np.nan, "note": "", "ci_low": 0.0, "ci_high": 1.0}


def rows(*verdicts: tuple[str, float, str, str]) -> pd.DataFrame:
    """Rows of (metric, estimate, best baseline, verdict) of one judged method."""
    columns = ("metric", "estimate", "baseline", "verdict")
    return pd.DataFrame([{"method": "new", **ROW, **dict(zip(columns, row, strict=True))} for row in verdicts])


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        ([("l2", 1.0, "mean", "better")], "new is better than the best baseline, mean."),
        ([("l2", 1.0, "mean", "not better")], "new is not better than the best baseline, mean."),
        (
            [("l2", 1.0, "mean", "undecided"), ("pearson_delta", 0.5, "linear", "undecided")],
            "new is not shown to be better than the best baseline: mean by L2 and linear by Pearson delta.",
        ),
        (
            [("l2", 1.0, "mean", "better"), ("pearson_delta", 0.5, "linear", "not better")],
            "new is compared with the best baseline: by L2 it is better than mean and by Pearson delta it is not "
            "better than linear.",
        ),
        (
            [("l2", 1.0, "mean", "better"), ("pearson_delta", 0.5, "mean", "better")],
            "new is better than the best baseline, mean, by L2 and Pearson delta.",
        ),
        ([("l2", 1.0, "", "unidentifiable")], "Cannot be decided: no baseline was scored."),
        (
            [("l2", 1.0, "no_change", "not better"), ("pearson_delta", 0.5, "", "unidentifiable")],
            "By L2, new is not better than the best baseline, no_change.",
        ),
    ],
)
def test_the_answer_follows_from_the_verdicts(found, sentence):
    assert answer(rows(*found), "perturbation") == sentence


def test_few_units_cannot_decide():
    table = rows(("l2", 1.0, "mean", "unidentifiable")).assign(n=2)
    assert answer(table, "perturbation") == (
        "Cannot be decided: with 2 perturbations there is no interval; 3 are needed."
    )
    assert about_table(table)["task"] == "perturbation"


def test_two_pairs_of_libraries_cannot_decide(split):
    ho.pp.split_matched(split, "library", "day", label_key="genotype", test=[16, 19], val=0)
    ho.tl.genotype(split, method="majority", mask_var=None)
    report = ho.tl.evaluate(split, baselines=["qc_logistic"], **FEW)
    assert report.answer == "Cannot be decided: with 4 libraries even a perfect result has p = 0.25."


def test_defaults_are_the_last_fit_and_the_last_evaluation(split, through_file):
    with pytest.raises(ValueError, match="Nothing was evaluated"):
        ho.get.evaluation(split)
    with pytest.raises(ValueError, match="there is no fit to evaluate.*heldout.tl.genotype"):
        ho.tl.evaluate(split)
    ho.tl.genotype(split, method="majority", key_added="zebra")
    ho.tl.genotype(split, method="qc_logistic", key_added="ape")
    ho.pp.scale(split)
    assert ho.tl.evaluate(split, baselines=["majority"], **FEW)["method"].iloc[0] == "qc_logistic"
    ho.tl.evaluate(split, "zebra", baselines=["qc_logistic"], **FEW)
    again = through_file(split)
    for adata in (split, again):
        assert ho.get.evaluation(adata)["method"].iloc[0] == "majority"
        assert ho.get.summary(adata).startswith("majority on test")
        assert ho.get.claims(adata).equals(ho.get.claims(adata, "zebra"))
        assert ho.get.scores(adata)["method"].iloc[0] == "majority"
        assert ho.get.leaderboard(adata).equals(ho.get.leaderboard(adata, "zebra"))
    assert ho.tl.evaluate(again, baselines=[], **FEW)["method"].iloc[0] == "qc_logistic", "the last fit"
    with pytest.raises(ValueError, match="preparation step; it has no predictions to evaluate"):
        ho.tl.evaluate(split, "scale")


def test_fits_of_an_older_file_have_no_order(split):
    for key in ("a", "b"):
        ho.tl.genotype(split, method="majority", key_added=key)
        del split.uns["heldout"]["fits"][key]["order"]
    with pytest.raises(ValueError, match="several fits to evaluate: 'a', 'b'. Pass one as key"):
        ho.tl.evaluate(split)
    del split.uns["heldout"]["fits"]["b"]
    assert ho.tl.evaluate(split, baselines=[], **FEW)["method"].unique().tolist() == ["majority"]

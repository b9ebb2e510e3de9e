"""Tables that people see: no column is hidden, and anndata can store them."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import heldout as ho
from heldout._core.report import Board, Evaluation
from heldout._core.tables import WholeTable, prints_whole
from heldout.auditing._finding import AuditTable

WIDE = pd.DataFrame({f"column_{i}": np.arange(70.0) + i for i in range(30)})


@pytest.mark.parametrize("n", [1, 3, 4, 60])
def test_every_column_is_printed(n):
    printed = repr(WholeTable(WIDE.head(n)))
    assert all(name in printed for name in WIDE.columns)
    assert "..." not in printed
    assert max(map(len, printed.split("\n"))) <= 100


def test_long_tables_show_both_ends_and_their_size():
    printed = repr(WholeTable(WIDE))
    assert "[70 rows x 30 columns]" in printed
    assert {"0", "69"} <= {line.split()[0] for line in printed.split("\n") if line.strip()}
    assert len(printed.split("\n")) < 100


def test_a_long_text_of_few_rows_is_whole():
    reason = "with one library of control, " * 8
    printed = " ".join(repr(WholeTable({"level": ["library"], "reason": [reason.strip()]})).split())
    assert reason.strip() in printed
    assert reason.strip() in WholeTable({"reason": [reason.strip()]})._repr_html_()


def test_html_has_every_column_and_escapes():
    html = WholeTable(WIDE.head(9).assign(name="<script>"))._repr_html_()
    assert all(name in html for name in WIDE.columns)
    assert "<script>" not in html


@pytest.mark.parametrize("frame", [pd.DataFrame(), pd.DataFrame({"a": []}), pd.DataFrame(index=["x"])])
def test_empty_tables_print(frame):
    assert repr(WholeTable(frame)) == repr(frame)


def test_selections_print_whole_and_values_are_the_same():
    table = WholeTable(WIDE)
    assert "column_29" in repr(table.query("column_0 > 60"))
    assert type(table[["column_0", "column_1"]]) is WholeTable
    assert type(table["column_0"]) is pd.Series
    assert table.equals(WIDE)
    assert WIDE.equals(table)


def test_only_plain_tables_are_changed():
    assert type(prints_whole(lambda: WIDE)()) is WholeTable
    assert type(prints_whole(lambda: Board(WIDE))()) is Board
    assert prints_whole(lambda: [1])() == [1]


@pytest.mark.parametrize("kind", [WholeTable, Board, Evaluation, AuditTable])
def test_anndata_stores_a_table(kind, through_file):
    adata = ad.AnnData(np.ones((2, 2)), uns={"mine": kind({"a": [1, 2], "b": ["x", "y"]})})
    read = through_file(adata).uns["mine"]
    assert type(read) is pd.DataFrame
    assert read["a"].tolist() == [1, 2]


def test_tables_of_get_are_whole(fitted):
    ho.tl.evaluate(fitted, baselines=["majority"], n_bootstrap=10)
    for table in (ho.get.claims(fitted), ho.get.scores(fitted), ho.get.ledger(fitted), ho.get.fits(fitted)):
        assert "..." not in repr(table)
        assert all(str(name) in repr(table) for name in table.columns)


@pytest.mark.parametrize("name", [n for n in ho.metrics.__all__ if isinstance(getattr(ho.metrics, n), type)])
def test_each_result_of_the_metrics_is_a_table_in_notebooks(name):
    assert callable(getattr(ho.metrics, name)._repr_html_)


def test_fields_are_rows_with_numbers_and_sizes_of_arrays():
    html = ho.metrics.empirical_null(np.random.default_rng(0).normal(size=2000))._repr_html_()
    assert "<b>EmpiricalNull</b>" in html
    assert "array (" in html
    html = ho.metrics.Interval(0.123456, np.nan, 0.5, 8)._repr_html_()
    assert all(f">{text}</td>" in html for text in ("0.1235", "nan", "0.5", "8", "n_units"))
    html = ho.metrics.Differential(np.zeros((2, 3)), np.array([[1.0, np.nan]]), np.zeros(1), np.zeros(0))._repr_html_()
    assert "array (2 × 3), 0 to 0" in html
    assert "array (1 × 2), 1 to 1, 1 missing" in html

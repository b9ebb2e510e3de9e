"""Genes that give the label away alone."""

from __future__ import annotations

import numpy as np
import pytest

from heldout.auditing._known import kind
from tests.helpers.libraries import by_library, libraries, said


def planted(genes: dict[str, str], *, seed: int = 0, symbols: str | None = None, paired: bool = False):
    """Libraries where genes of these names are on (0.9 counts a cell) where the label, or ``sex``, is the value."""
    adata = libraries(seed)
    rng = np.random.default_rng(seed)
    if paired:
        adata.obs["library"] = [f"D{i // 2 % 8}" for i in adata.obs["library"].str[1:].astype(int)]
    sex = np.where(adata.obs["library"].str[-1].astype(int) % 2, "female", "male")
    X = adata.X.toarray()
    for column, (_, where) in enumerate(genes.items()):
        X[:, column] = rng.poisson(0.9, len(X)) * ((adata.obs["label"] == where) | (sex == where))
    adata.X = X
    names = [*genes, *adata.var_names[len(genes) :]]
    if symbols is None:
        adata.var_names = names
    else:
        adata.var_names = [f"ENSG{i:011d}" for i in range(adata.n_vars)]
        adata.var[symbols] = names
    return by_library(adata)


def test_a_gene_that_is_on_in_one_class_only_is_named():
    (row,) = said(planted({"LMNA-mut": "case"}), "single_genes").itertuples()
    assert row.status == "warn"
    assert row.value == 1
    assert "LMNA-mut is on in every library of case" in row.finding
    assert "reporter" in row.advice


def test_a_reporter_fails_by_name_and_is_not_told_twice():
    (row,) = said(planted({"EGFP": "control"}), "single_genes").itertuples()
    assert row.status == "fail"
    assert "EGFP reveals a reporter or transgene" in row.finding


@pytest.mark.parametrize("column", ["gene_symbols", "feature_name", "Gene_Name"])
def test_names_are_found_beside_ensembl_numbers(column):
    (row,) = said(planted({"XIST": "case", "DDX3Y": "control"}, symbols=column), "single_genes").itertuples()
    assert row.status == "fail"
    assert row.value == 2
    assert "XIST, DDX3Y reveal the sex" in row.finding
    assert "8 of 8 libraries of case and 0 of 8 libraries of control" in row.finding


def test_sex_that_goes_across_the_label_passes():
    (row,) = said(planted({"Xist": "female", "Ddx3y": "male"}), "single_genes").itertuples()
    assert row.status == "pass"


def test_sex_that_mostly_follows_the_label_is_told_by_its_p_value():
    adata = libraries(0)
    names = sorted(adata.obs["library"].unique())
    label = adata.obs.groupby("library")["label"].first()
    female = [n for n in names if label[n] == "case"][1:]
    is_female = adata.obs["library"].isin(female).to_numpy()
    X = adata.X.toarray()
    X[:, 0], X[:, 1] = is_female, ~is_female
    adata.X = X
    adata.var_names = ["XIST", "UTY", *adata.var_names[2:]]
    (row,) = said(by_library(adata), "single_genes").itertuples()
    assert row.status == "warn"
    assert row.value == pytest.approx(16 / 11440)  # Fisher: 8 of the C(16, 7) tables are as extreme on each side
    assert "7 of 8 libraries of case and 0 of 8" in row.finding


def test_biology_that_is_a_matter_of_degree_passes():
    adata = by_library(libraries(1, effect=0.7))
    assert said(adata, "single_genes")["status"].tolist() == ["pass"]


def test_a_known_gene_in_too_few_units_does_not_fail():
    adata = planted({"GSTM1": "case"})
    keep = adata.obs["library"].isin(sorted(adata.obs["library"].unique()))
    label = adata.obs.groupby("library")["label"].first()
    chosen = [*label.index[label == "case"][:2], *label.index[label == "control"][:2]]
    few = adata[keep & adata.obs["library"].isin(chosen)].copy()
    assert said(few, "single_genes")["status"].tolist() == ["warn"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("xist", "the sex"),
        ("Eif2s3y", "the sex"),
        ("tdTomato", "a reporter or transgene"),
        ("dCas9-KRAB", "a reporter or transgene"),
        ("EGFP_transgene", "a reporter or transgene"),
        ("HLA-DRB4", "the genome of the donor"),
        ("ACTB", None),
        ("CREB1", None),
    ],
)
def test_known_names(name, expected):
    assert kind(name) == expected


def test_without_two_units_of_a_class_it_does_not_run():
    adata = libraries(0, n_libraries=2)
    adata.obs["split"] = "train"
    assert said(adata, "single_genes")["status"].tolist() == ["not run"]


def test_array_types(any_array_type):
    adata = planted({"EGFP": "case", "new": "control"})
    adata.X = any_array_type(adata.X)
    assert said(adata, "single_genes")["status"].tolist() == ["fail", "warn"]

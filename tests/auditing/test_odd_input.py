"""The audit on columns and matrices that are not as clean as they should be."""

from __future__ import annotations

import time

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import heldout as ho
from heldout.auditing._association import exact_p
from tests.helpers.audits import assigned, design, row

PARTITIONS = ["train"] * 6 + ["val"] * 2 + ["test"] * 4


@pytest.fixture
def clean():
    """12 libraries of two classes, on three days with both classes each."""
    adata = design(label=list("ab") * 6, day=[1, 1, 2, 2, 3, 3, 1, 1, 2, 2, 3, 3])
    return assigned(adata, PARTITIONS, label_key="label")


def findings(table, *statuses):
    return set(table.loc[table["status"].isin(statuses), "item"])


def unused(adata, libraries):
    """The same split with some libraries put out of use."""
    text = adata.obs["split"].astype(str).where(~adata.obs["library"].isin(libraries), "unused")
    ho.pp.split_assigned(
        adata,
        "library",
        **{p: sorted(set(adata.obs["library"][text == p])) for p in ("train", "val", "test")},
    )
    return adata


def test_a_class_of_unused_cells_is_not_missed_in_the_test_set(clean):
    clean.obs.loc[clean.obs["library"].isin(["L06", "L07"]), "label"] = "excluded"
    table = ho.tl.audit(unused(clean, ["L06", "L07"]), label_key="label", items="all")
    assert not findings(table, "fail", "warn")
    assert row(table, "class_coverage", "test")["finding"] == "Test has 4 libraries: 2 a, 2 b."
    assert row(table, "nuisance")["status"] != "not run"


@pytest.mark.parametrize("key", ["library", "label", "day"])
def test_missing_values_of_unused_cells_do_not_matter(clean, key):
    whole = unused(clean, ["L06", "L07"])
    options = {"group_key": "library", "label_key": "label", "covariate_keys": "day", "time_key": "day", "items": "all"}
    expected = ho.tl.audit(whole, **options)
    whole.obs[key] = whole.obs[key].astype(object).where(whole.obs["split"] != "unused", None)
    found = ho.tl.audit(whole, **options)
    pd.testing.assert_frame_equal(pd.DataFrame(found), pd.DataFrame(expected))


def test_missing_labels_of_used_cells_are_refused_and_counted(clean):
    clean.obs.loc[clean.obs["library"] == "L00", "label"] = np.nan
    with pytest.raises(ValueError, match=r"'label'\] \(label_key\) has 4 missing values in 48 cells of train, val"):
        ho.tl.audit(clean)


@pytest.mark.parametrize("dtype", [float, "Int64", "category", object])
def test_a_covariate_with_missing_values_is_not_run_and_says_so(clean, dtype):
    clean.obs["day"] = clean.obs["day"].astype(dtype)
    clean.obs.loc[clean.obs["library"] == "L00", "day"] = pd.NA if dtype == "Int64" else np.nan
    table = ho.tl.audit(clean, covariate_keys="day")
    for item in ("confounding", "covariate_prediction"):
        assert row(table, item)["status"] == "not run"
        assert "missing values" in row(table, item)["finding"]


def test_the_label_is_no_covariate(clean):
    with pytest.raises(ValueError, match="which is label_key"):
        ho.tl.audit(clean, covariate_keys=["day", "label"])


@pytest.mark.parametrize("values", [[20230101, 20230102], [1e9, 1e9 + 1]])
def test_large_numbers_that_differ_little_are_not_one(clean, values):
    """Dates as numbers differ by less than a tolerance that is relative."""
    clean.obs["date"] = np.array(values)[np.arange(clean.n_obs) % 2]
    in_order = ho.tl.audit(clean, covariate_keys="date", items="confounding")
    table = ho.tl.audit(clean[::-1].copy(), covariate_keys="date", items="confounding")
    assert row(table, "confounding")["finding"] == row(in_order, "confounding")["finding"]
    clean.obs["date"] = np.where(clean.obs["label"] == "a", *values)
    table = ho.tl.audit(clean, covariate_keys="date", items="confounding")
    assert row(table, "confounding")["status"] == "fail"


def test_quartiles_of_large_numbers_keep_their_names_apart(clean):
    clean.obs["date"] = clean.obs["library"].str[1:].astype(int) + 20230101
    table = ho.tl.audit(clean, covariate_keys="date", items="covariate_prediction")
    from heldout.auditing._units import _quartiles

    assert len(set(_quartiles(clean.obs["date"].to_numpy(float)))) == 4
    assert row(table, "covariate_prediction")["status"] == "pass"


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_a_matrix_without_values_leaves_the_design_to_audit(clean, value):
    clean.X[:] = value
    table = ho.tl.audit(clean, items="all")
    assert row(table, "group_overlap")["status"] == "pass"
    assert row(table, "shift")["status"] == "not run"


def test_what_ran_is_not_drawn_as_not_run(clean):
    """Neither because its status is not shown, nor because one of several rows of it was not run."""
    ho.tl.audit(clean)
    ax = ho.pl.audit(clean, statuses=["fail"])
    written = " ".join(text.get_text() for text in ax.texts)
    foot = written[written.index("Not run:") :]
    assert "temporal_order" in foot
    assert "duplicates" not in foot.replace("near_duplicates", "")


def test_a_long_subject_is_drawn_by_its_beginning(clean):
    clean.obs["the_sample_with_a_name_that_is_far_too_long"] = np.array(["x", "y"])[np.arange(clean.n_obs) % 2]
    ho.tl.audit(clean)
    subjects = [text.get_text() for text in ho.pl.audit(clean, figsize=(3.5, 9)).texts]
    assert any(text.startswith("the_sample_with_a") and text.endswith("…") for text in subjects)


def test_half_precision_is_read_as_single(clean):
    clean.X *= 3000
    expected = ho.tl.audit(clean, items="all")
    clean.X = clean.X.astype(np.float16)
    found = ho.tl.audit(clean, items="all")
    assert found["status"].tolist() == expected["status"].tolist()
    assert clean.X.dtype == np.float16


def test_columns_without_a_text_name_are_no_units(clean):
    clean.obs[0] = 1
    assert row(ho.tl.audit(clean), "integrity")["status"] == "pass"


@pytest.mark.parametrize(
    "name", ["cell_type_ontology_term_id", "donor_sex", "cluster_id", "sample_type", "DonorAge", "patient_status"]
)
def test_what_is_said_of_a_unit_is_no_unit(clean, name):
    clean.obs[name] = np.array(["x", "y"])[np.arange(clean.n_obs) % 2]
    assert not findings(ho.tl.audit(clean), "warn")


@pytest.mark.parametrize("name", ["id", "orig.ident", "participant_id", "tissue_sample"])
def test_more_names_of_units(clean, name):
    clean.obs[name] = np.array(["x", "y"])[np.arange(clean.n_obs) % 2]
    assert findings(ho.tl.audit(clean), "warn") == {"group_overlap"}


@pytest.mark.parametrize("value", ["unused", "something"])
def test_nothing_in_use_is_said_not_raised(clean, value):
    clean.obs["split"] = value
    table = ho.tl.audit(clean, ["library", "day"], "label", perturbation_key="label", time_key="day", items="all")
    assert findings(table, "fail") == {"integrity"}


def test_a_view_of_a_backed_file_is_refused_before_work(clean, tmp_path):
    clean.write_h5ad(tmp_path / "a.h5ad")
    backed = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
    with pytest.raises(ValueError, match="view of a backed AnnData"):
        ho.tl.audit(backed[:20])
    backed.file.close()


def test_the_exact_test_of_many_groups_does_not_hang():
    table = np.random.default_rng(0).multinomial(2000, np.full(8, 1 / 8)).reshape(4, 2)
    started = time.perf_counter()
    p = exact_p(table, np.random.default_rng(0))
    assert time.perf_counter() - started < 20  # hours, if every table were looked at
    assert 0 < p <= 1


def random_covariate(n, levels, seed):
    """Statuses of the two items for a covariate that has nothing to do with the label."""
    values = np.random.default_rng(seed).integers(0, levels, n)
    adata = design(n_cells=1, n_genes=3, label=list("ab") * (n // 2), site=[f"s{value}" for value in values])
    ho.pp.split_groups(adata, "library", "label", rng=seed)
    table = ho.tl.audit(adata, covariate_keys="site", items=["covariate_prediction", "confounding"])
    return [row(table, item)["status"] for item in ("covariate_prediction", "confounding")]


@pytest.mark.parametrize(("n", "levels"), [(24, 8), (24, 16), (40, 8)])
def test_a_covariate_of_many_values_raises_no_more_alarms_than_its_level(n, levels):
    """Train often knows a site from one class only, since it has one or two donors of it."""
    statuses = np.array([random_covariate(n, levels, seed) for seed in range(20)])
    assert (np.isin(statuses, ["fail", "warn"]).sum(axis=0) <= 3).all()  # of 20, at 5 %: with probability 0.98


def test_values_of_one_group_each_do_not_fix_the_label():
    site = ["s1", "s1", *(f"s{i}" for i in range(2, 8))]
    adata = assigned(design(label=list("aabbabab"), site=site), ["train"] * 4 + ["test"] * 4, label_key="label")
    assert row(ho.tl.audit(adata, covariate_keys="site"), "confounding")["status"] == "unidentifiable"
    adata = assigned(design(label=list("aabb"), site=list("xxyy")), ["train", "test"] * 2, label_key="label")
    assert row(ho.tl.audit(adata, covariate_keys="site"), "confounding")["status"] == "fail"

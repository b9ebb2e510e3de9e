"""Labels of other tools: read, written, read again; and labels that are no perturbations."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import heldout as ho
from heldout.splitting._conventions import CONVENTIONS
from heldout.splitting._labels import guides_of, is_missing

GENES = ["A", "B", "C", "HLA_A", "HLA", "RP11-34", "NKX2.1"]


def cells_of(labels, key, *, genes=GENES, **columns):
    """One cell for each label, with one count per cell."""
    obs = pd.DataFrame({key: labels, **columns}, index=[f"c{i}" for i in range(len(labels))])
    X = np.eye(len(labels), len(genes), dtype=np.float32) + 1
    return ad.AnnData(X, obs=obs, var=pd.DataFrame(index=list(genes)))


@pytest.mark.parametrize(
    ("convention", "labels", "columns", "expected"),
    [
        ("gears", ["ctrl", "A+ctrl", "ctrl+B", "B+A", "HLA_A+ctrl"], {}, ["control", "A", "B", "A+B", "HLA_A"]),
        ("vcc", ["non-targeting", "A", "HLA_A"], {"context": "x"}, ["control", "A", "HLA_A"]),
        ("cell-eval", ["non-targeting", "B"], {}, ["control", "B"]),
        ("scperteval", ["control", "B+A", "C"], {}, ["control", "A+B", "C"]),
        (
            "scperturb",
            ["control", "B_A", "HLA_A", "C"],
            {"nperts": [0, 2, 1, 1]},
            ["control", "A+B", "HLA_A", "C"],
        ),
        ("pertpy", ["control", "B_C", "RP11-34_C", "C_control"], {}, ["control", "B+C", "C+RP11-34", "C"]),
    ],
)
def test_labels_are_read(convention, labels, columns, expected):
    key = CONVENTIONS[convention].perturbation_key
    adata = cells_of(labels, key, **columns)
    ho.pp.from_convention(adata, convention)
    assert adata.obs["perturbation"].tolist() == expected
    before = "perturbation_original" if key == "perturbation" and labels != expected else key
    assert adata.obs[before].tolist() == (labels if before != "perturbation" else expected)


NAMES = st.text("ABCHL12_-.", min_size=1, max_size=6).filter(lambda name: name.strip("_-."))


@given(
    st.lists(st.lists(NAMES, min_size=1, max_size=3, unique=True), min_size=1, max_size=8),
    st.sampled_from(sorted(CONVENTIONS)),
)
@settings(max_examples=80, deadline=None)
def test_what_is_written_is_read_again(perturbations, convention):
    if not CONVENTIONS[convention].separator:
        perturbations = [targets[:1] for targets in perturbations]
    labels = ["control", *("+".join(sorted(targets)) for targets in perturbations)]
    if guides_of([label for label in labels if "+" not in label]):
        return  # refused, see below
    genes = sorted({target for targets in perturbations for target in targets})
    adata = cells_of(labels, "guide", genes=[*genes, "other"], line="K562")
    if CONVENTIONS[convention].values == "log":
        adata.X = np.log1p(adata.X / adata.X.sum(axis=1, keepdims=True) * 100)
    try:
        other = ho.tl.to_convention(adata, convention, "guide", context_key="line" if convention == "vcc" else None)
    except ValueError as problem:
        assert "which separates targets in this convention" in str(problem)  # noqa: PT017
        assert any("_" in target for targets in perturbations for target in targets)
        assert convention in ("scperturb", "pertpy")
        return
    if convention == "vcc":
        assert other.n_obs == adata.n_obs - 1
        control = ad.AnnData(np.ones((1, other.n_vars), np.float32), var=other.var)
        control.obs["target_gene"] = ["non-targeting"]
        other = ad.concat([control, other], index_unique="-")
    ho.pp.from_convention(other, convention, key_added="again")
    assert other.obs["again"].tolist() == labels


@pytest.mark.parametrize("name", ["control_A", "A_control"])
def test_a_target_that_would_be_read_as_another_is_not_written(name):
    adata = cells_of(["none", name], "perturbation")
    with pytest.raises(ValueError, match=f"The target '{name}' has the label of controls in this convention"):
        ho.tl.to_convention(adata, "scperturb", control="none")


def test_gene_names_of_targets_are_kept_for_gears():
    adata = cells_of(["control", "A", "B"], "perturbation")
    adata.X = np.log1p(adata.X / adata.X.sum(axis=1, keepdims=True) * 100)
    adata.var["gene_name"] = GENES
    adata.var_names = [f"ENSG{i}" for i in range(adata.n_vars)]
    assert ho.tl.to_convention(adata, "gears").var["gene_name"].tolist() == GENES


def test_a_prediction_is_written_for_another_tool():
    adata = cells_of(["control", "A", "A+B"], "perturbation", line="K562", dose=[0.0, 1.0, 2.0])
    other = adata.copy()
    found = ho.tl.to_convention(other, "scperturb", context_key="line", dose_key="dose")
    assert set(found.obs) == {"perturbation", "cell_line", "dose_value", "nperts"}
    assert found.obs["nperts"].tolist() == [0, 1, 2]
    pd.testing.assert_frame_equal(other.obs, adata.obs)
    challenge = adata.ho.tl.to_convention("vcc", context_key="line")
    assert challenge.obs["target_gene"].tolist() == ["A", "A+B"]
    logged = adata.copy()
    logged.X = np.log1p(logged.X / logged.X.sum(axis=1, keepdims=True) * 100)
    gears = ho.tl.to_convention(logged, "gears", context_key="line")
    assert gears.obs["condition"].tolist() == ["ctrl", "A+ctrl", "A+B"]
    assert gears.obs["cell_type"].tolist() == ["K562"] * 3
    assert gears.var["gene_name"].tolist() == GENES


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: ho.tl.to_convention(a, "veins"), "convention='veins' is not known"),
        (lambda a: ho.tl.to_convention(a, "gears"), "needs log-normalised expression"),
        (lambda a: ho.tl.to_convention(a, "vcc"), "needs the context of each cell"),
        (lambda a: ho.tl.to_convention(a, "cell-eval", context_key="line"), "has no column for it"),
        (lambda a: ho.tl.to_convention(a, "scperturb", "guide"), "perturbation_key='guide' is not a column"),
    ],
)
def test_what_cannot_be_written_is_refused(change, words):
    adata = cells_of(["control", "A", "A+B"], "perturbation", line="K562")
    with pytest.raises(ValueError, match=words):
        change(adata)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["control", "A", "nan"], "label 'nan', which stands for a missing value"),
        (["control", "A_gRNA1", "A_gRNA2"], r"targets=, a mapping from guides to genes such as \{'A_gRNA1': 'A'\}"),
        (["control", "10005_ZBTB4_P1_ENSG00000174282", "1_A_P1P2_ENSG00000000001"], "look like names of guides"),
        (["control", "AARS_+_70323441.23-P1P2", "AATF_-_35306286.23-P1P2"], "look like names of guides"),
        (["control", "X_Y"], "its parts are not names of genes"),
        (["A", "B"], "has no controls"),
    ],
)
def test_what_is_no_perturbation_is_refused(labels, words):
    adata = cells_of(labels, "perturbation")
    with pytest.raises(ValueError, match=words):
        ho.pp.from_convention(adata, "pertpy")
    assert adata.obs["perturbation"].tolist() == labels


def test_two_ways_to_divide_a_label_are_refused_until_its_targets_are_known():
    adata = cells_of(["control", "HLA", "HLA_A", "HLA_A_C"], "perturbation")
    with pytest.raises(ValueError, match=r"'HLA_A' contains '_', and 2 ways .* targets=\{'HLA_A'"):
        ho.pp.from_convention(adata, "scperturb")
    targets = {"HLA_A": "HLA_A", "HLA_A_C": ["HLA_A", "C"]}
    ho.pp.from_convention(adata, "scperturb", targets=targets)
    assert adata.obs["perturbation"].tolist() == ["control", "HLA", "HLA_A", "C+HLA_A"]


def test_guides_are_read_with_their_targets():
    adata = cells_of(["ntc", "A_1", "A_2", "B_1"], "guide", gene=["control", "A", "A", "B"])
    by_column = ho.pp.from_convention(adata, "pertpy", perturbation_key="guide", targets="gene", copy=True)
    mapping = {"ntc": "control", "A_1": "A", "A_2": "A", "B_1": "B"}
    ho.pp.from_convention(adata, "pertpy", perturbation_key="guide", targets=mapping)
    assert adata.obs["perturbation"].tolist() == by_column.obs["perturbation"].tolist() == ["control", "A", "A", "B"]
    assert adata.obs["guide"].tolist() == ["ntc", "A_1", "A_2", "B_1"]


def test_a_target_with_the_separator_needs_another_separator():
    adata = cells_of(["non-targeting", "A+1"], "target_gene")
    with pytest.raises(ValueError, match=r"'A\+1' contains the separator='\+'. Pass another separator"):
        ho.pp.from_convention(adata, "vcc")
    ho.pp.from_convention(adata, "vcc", separator=";")
    assert adata.obs["perturbation"].tolist() == ["control", "A+1"]


def test_genes_of_gears_with_other_names_are_noticed(caplog):
    adata = cells_of(["ctrl", "A+ctrl"], "condition")
    adata.var["gene_name"] = GENES
    adata.var_names = [f"ENSG{i}" for i in range(adata.n_vars)]
    ho.pp.from_convention(adata, "gears")
    assert "adata.var_names = adata.var['gene_name']" in caplog.text


@pytest.mark.parametrize("label", ["nan", "NaN", "None", "", "<NA>"])
def test_a_split_refuses_text_for_missing_values(label):
    assert is_missing(label)
    adata = cells_of(["control", "control", "A", "B", label] * 4, "guide")
    with pytest.raises(ValueError, match="stands for a missing value"):
        ho.pp.split_perturbations(adata, "guide", val=0, test=0.5)
    ho.pp.split_perturbations(
        adata, "guide", targets={label: "control", "A": "A", "B": "B", "control": "control"}, val=0
    )


def test_a_split_warns_of_guides(caplog):
    labels = ["control", "control", "KLF1_1", "KLF1_2", "TAL1_1", "TAL1_2"] * 4
    ho.pp.split_perturbations(cells_of(labels, "guide"), "guide", val=0, test=0.5)
    assert "4 labels of adata.obs['guide'] look like names of guides (e.g. 'KLF1_1', 'KLF1_2'" in caplog.text
    caplog.clear()
    ho.pp.split_perturbations(cells_of(["control", "control", "A", "B", "NKX2_1", "C"], "guide"), "guide", val=0)
    assert "guides" not in caplog.text

"""Fits: they are bit-equal after both file formats, refuse altered content, and have nothing that can run."""

import json
from dataclasses import replace
from importlib.metadata import version

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import heldout as ho
from heldout._core.chain import check_steps, scaled_layers, scaled_with
from heldout._core.fits import SCHEMA, Fit, FitHeader, check_split, fit_sections, read_fit, read_header
from heldout._core.partition import read_partition
from heldout._core.store import commit
from tests.helpers.fits import GENES, a_fit, holding
from tests.helpers.properties import properties
from tests.helpers.stored import FORMATS, through

HYPOTHESIS = properties(80)
DTYPES = [f"{order}{kind}" for kind in ("f2", "f4", "f8", "i2", "i4", "i8", "u2", "u4", "u8") for order in "<>"]
DTYPES += ["|i1", "|u1", "|b1"]


def bits(array):
    return array.dtype.str, array.shape, np.ascontiguousarray(array).tobytes()


def same(one, other):
    assert one.hash == other.hash
    assert list(one.genes) == list(other.genes)
    assert sorted(one.arrays) == sorted(other.arrays)
    for name in one.arrays:
        assert bits(one.arrays[name]) == bits(other.arrays[name]), name
    for name in ("method", "split_key", "split_hash", "versions"):
        assert getattr(one, name) == getattr(other, name)
    for name in ("config", "info"):
        assert json.dumps(getattr(one, name), sort_keys=True) == json.dumps(getattr(other, name), sort_keys=True)
    pd.testing.assert_frame_equal(one.history, other.history, check_exact=True)


# --- round trips ----------------------------------------------------------------------------------------------------


def test_in_memory():
    fit = a_fit()
    same(fit, Fit.load(fit.stored(), key="k"))


def test_through_files_bit_equal(split, through_file):
    fits = {
        "plain": a_fit(),
        "empty": a_fit(arrays={}, genes=np.array([], dtype=object), history=pd.DataFrame(), config={}, info={}),
        "one gene": a_fit(arrays={"w": np.zeros((0, 3), np.float16)}, genes=np.array(["β/1"])),
    }
    fits = {key: holding(split, fit, key) for key, fit in fits.items()}
    stored = through_file(split)
    for key, fit in fits.items():
        same(fit, read_fit(stored, key))
    assert ho.get.fits(stored).equals(ho.get.fits(split).sort_index())


@HYPOTHESIS
@given(
    arrays=st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
        st.sampled_from(DTYPES).flatmap(
            lambda dtype: hnp.arrays(np.dtype(dtype), hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
        ),
        max_size=4,
    ),
    genes=st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1), max_size=5, unique=True),
)
def test_any_arrays_and_genes_in_memory(arrays, genes):
    fit = a_fit(arrays=arrays, genes=np.array(genes, dtype=object))
    stored = fit.stored()
    assert all(array.ndim == 1 for array in stored["arrays"].values())
    same(fit, Fit.load(stored, key="k"))


@properties(12)
@given(
    arrays=st.lists(
        st.sampled_from(DTYPES).flatmap(
            lambda dtype: hnp.arrays(np.dtype(dtype), hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
        ),
        max_size=6,
    ),
    genes=st.lists(
        st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=6), max_size=4, unique=True
    ),
    suffix=st.sampled_from(FORMATS),
)
def test_any_arrays_and_genes_through_files(tmp_path_factory, arrays, genes, suffix):
    fit = a_fit(arrays={f"layer/{i}": array for i, array in enumerate(arrays)}, genes=np.array(genes, dtype=object))
    adata = ad.AnnData(np.zeros((1, 1), dtype=np.float32))
    commit(adata, heldout=fit_sections(adata, {"k": fit}))
    same(fit, read_fit(through(adata, suffix, tmp_path_factory.mktemp("any")), "k"))


def test_the_hash_covers_what_the_fit_does_and_not_how_it_was_watched():
    fit = a_fit()
    assert a_fit(history=pd.DataFrame(), versions={"heldout": "9"}).hash == fit.hash
    assert a_fit(arrays=dict(reversed(fit.arrays.items()))).hash == fit.hash
    changed = [
        {"method": "genotype.mlp"},
        {"config": {"C": 0.2}},
        {"info": {}},
        {"split_key": "other"},
        {"split_hash": "1" * 64},
        {"genes": np.array(GENES[::-1], dtype=object)},
        {"arrays": {**fit.arrays, "one more": np.zeros(0)}},
        {"arrays": {name: array for name, array in fit.arrays.items() if name != "limits"}},
        {"arrays": {**fit.arrays, "every second": fit.arrays["every second"].astype(np.float32)}},
        {"arrays": {**fit.arrays, "every second": fit.arrays["every second"].reshape(4, 3)}},
        {"arrays": {**fit.arrays, "every second": np.nextafter(fit.arrays["every second"], np.inf)}},
    ]
    hashes = [a_fit(**change).hash for change in changed]
    assert len({fit.hash, *hashes}) == len(changed) + 1


def test_the_hash_is_the_same_on_every_machine():
    fit = Fit("m", {"a": 0.1}, "split", "0" * 64, np.array(["β"]), {"w": np.arange(3, dtype="<f4")}, {"b": [None]})
    assert fit.hash == "42cd547ca8f42957fb3c88de3154936465f6b4b532de6883b0c4d093d4fa230c"
    assert replace(fit, genes=np.array(["β"], dtype=object)).hash == fit.hash


def test_versions_of_the_packages_are_kept():
    versions = a_fit().versions
    assert {"anndata", "numpy", "torch"} <= set(versions)
    assert versions["anndata"] == version("anndata")


def test_what_cannot_be_written_as_json_is_refused_when_it_is_stored():
    with pytest.raises(TypeError, match="not JSON serializable"):
        a_fit(config={"function": print}).stored()


# --- what it refuses ------------------------------------------------------------------------------------------------


def test_a_newer_schema_names_both_versions():
    stored = {**a_fit().stored(), "schema": SCHEMA + 3}
    with pytest.raises(
        ValueError, match=f"Fit 'k' was stored with schema {SCHEMA + 3}.*up to {SCHEMA}.*pip install -U"
    ):
        Fit.load(stored, key="k")


def tampered():
    def header(stored, **changes):
        stored["json"] = json.dumps({**json.loads(stored["json"]), **changes})

    def flip(stored):
        stored["arrays"]["a0000"] = stored["arrays"]["a0000"].copy()
        stored["arrays"]["a0000"][0] += 1

    return {
        "one number": flip,
        "one more number": lambda s: s["arrays"].update(a0000=np.append(s["arrays"]["a0000"], 0)),
        "no array": lambda s: s["arrays"].pop("a0000"),
        "another dtype": lambda s: s["arrays"].update(a0000=s["arrays"]["a0000"].astype(np.float32) + 0.3),
        "a gene": lambda s: s.update(genes=np.array(["OTHER", *GENES[1:]])),
        "a gene less": lambda s: s.update(genes=np.array(GENES[1:])),
        "the order of genes": lambda s: s.update(genes=np.array(GENES[::-1])),
        "the options": lambda s: header(s, config={"C": 10}),
        "the split": lambda s: header(s, split_hash="1" * 64),
        "the method": lambda s: header(s, method="genotype.mlp"),
        "the layout": lambda s: header(s, layout=[["other", "<f8", [2]]]),
        "the json": lambda s: s.update(json="{"),
        "the hash": lambda s: s.update(hash="0" * 64),
        "no hash": lambda s: s.pop("hash"),
        "no genes": lambda s: s.pop("genes"),
        "no schema": lambda s: s.pop("schema"),
        "no options": lambda s: s.update(json=json.dumps({**json.loads(s["json"]), "config": None})),
        "a further value": lambda s: header(s, more=1),
        "the json is null": lambda s: s.update(json="null"),
        "the json is deep": lambda s: s.update(json="[" * 100_000),
        "a type that is none": lambda s: header(s, layout=[["coef", "zzz", [2]]]),
        "a type that takes memory": lambda s: header(s, layout=[["coef", "S1000000000", [2]]]),
        "a shape that takes memory": lambda s: header(s, layout=[["coef", "<f8", [10**15]]]),
        "a layout of numbers": lambda s: header(s, layout=[1]),
        "arrays of text": lambda s: s.update(arrays={"a0000": np.array(["a", "b"])}),
        "no arrays": lambda s: s.update(arrays=None),
        "a history of one number": lambda s: s.update(history=3),
    }


@pytest.mark.parametrize("what", tampered())
def test_altered_content_is_refused(what):
    stored = a_fit(arrays={"coef": np.array([1.0, 2.0])}).stored()
    tampered()[what](stored)
    with pytest.raises(ValueError, match="Fit 'k' was altered after it was stored.*Fit it again"):
        Fit.load(stored, key="k")


def test_altered_in_a_file(split, through_file):
    holding(split, a_fit(arrays={"coef": np.array([1.0, 2.0])}))
    split.uns["heldout"]["fits"]["genotype"]["arrays"]["a0000"][1] = 2.0000000000000004
    with pytest.raises(ValueError, match="Fit 'genotype' was altered"):
        read_fit(through_file(split), "genotype")


# --- the header -----------------------------------------------------------------------------------------------------


class Untouchable(dict):
    """Arrays of a stored fit that nobody may read."""

    def refuse(self, *_):
        raise AssertionError("the arrays were read")

    __getitem__ = __iter__ = keys = values = items = get = refuse


def test_the_header_is_read_without_arrays(split, through_file):
    fit = holding(split, a_fit())
    stored = through_file(split)
    stored.uns["heldout"]["fits"]["genotype"]["arrays"] = Untouchable()
    header = read_header(stored, "genotype")
    for name in ("method", "split_key", "split_hash", "versions", "hash"):
        assert getattr(header, name) == getattr(fit, name)
    for name in ("config", "info"):
        assert json.dumps(getattr(header, name), sort_keys=True) == json.dumps(getattr(fit, name), sort_keys=True)
    assert list(header.genes) == list(fit.genes)
    pd.testing.assert_frame_equal(header.history, fit.history, check_exact=True)
    assert header.n_numbers == sum(array.size for array in fit.arrays.values())
    check_split(stored, header, read_partition(stored), key="genotype")
    with pytest.raises(AssertionError, match="the arrays were read"):
        read_fit(stored, "genotype")


def test_a_header_refuses_what_a_fit_refuses(split):
    with pytest.raises(ValueError, match="There is no fit 'genotype' in this AnnData. Nothing was fitted yet"):
        read_header(split, "genotype")
    stored = a_fit().stored()
    with pytest.raises(ValueError, match=f"schema {SCHEMA + 3}.*up to {SCHEMA}.*pip install -U"):
        FitHeader.load({**stored, "schema": SCHEMA + 3}, key="k")
    with pytest.raises(ValueError, match="Fit 'k' was altered after it was stored.*Fit it again"):
        FitHeader.load({**stored, "json": "{"}, key="k")


def test_tables_plots_and_the_chain_read_no_arrays(split):
    """What the arrays are not needed for works without a single one of them."""
    sc.pp.normalize_total(split, target_sum=1e4)
    sc.pp.log1p(split)
    ho.pp.highly_variable_genes(split, n_top_genes=40)
    ho.pp.scale(split)
    ho.pp.pca(split, n_comps=3)
    ho.tl.genotype(split, "genotype", method="mlp", config=ho.model.MLPConfig(max_epochs=2, n_hidden=8))
    expected = ho.get.fits(split)
    for stored in split.uns["heldout"]["fits"].values():
        stored["arrays"] = Untouchable()
    pd.testing.assert_frame_equal(ho.get.fits(split), expected)
    assert len(ho.get.history(split)) == 2
    assert len(ho.get.predictions(split)) == split.n_obs
    assert scaled_layers(split) == {None}
    assert scaled_with(split, None) == [expected.loc["scale", "hash"]]
    check_steps(split, read_partition(split))
    assert len(ho.pl.history(split)) == 2
    ho.pl.confusion(split, partition="train")
    with pytest.raises(AssertionError, match="the arrays were read"):
        ho.tl.predict(split, "genotype")


def test_missing_genes_are_counted_and_named():
    fit = a_fit()
    with pytest.raises(ValueError, match="reads 10 genes, 4 of them are not in adata.var_names") as caught:
        fit.columns(pd.Index(GENES[4:]), key="genotype")
    assert "'LMNA', 'HLA-A/B', 'NKX2.5' and 1 more" in str(caught.value)
    assert "fit again on these genes" in str(caught.value)


@HYPOTHESIS
@given(order=st.permutations([*GENES, "more", "and more"]))
def test_another_order_of_genes_is_put_right(order):
    columns = a_fit().columns(pd.Index(order), key="k")
    assert [order[i] for i in columns] == GENES


def test_a_fit_that_is_not_there(split):
    with pytest.raises(ValueError, match="There is no fit 'genotype' in this AnnData. Nothing was fitted yet"):
        read_fit(split, "genotype")
    holding(split, a_fit())
    with pytest.raises(ValueError, match="There is no fit 'genotpye'.*Did you mean 'genotype'?"):
        read_fit(split, "genotpye")

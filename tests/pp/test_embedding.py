"""Vectors find their genes and targets, are stored, survive files, and have their controls."""

import re

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import heldout as ho
from heldout._core.alignment import NameIndex
from heldout._core.embeddings import SCHEMA, Embedding, read_embedding
from tests.helpers.embeddings import ENSEMBL, GENES, screen, vectors
from tests.helpers.paths import DATA, needs_data
from tests.helpers.properties import properties

HYPOTHESIS = properties(80)


def frame(names, d=3):
    return pd.DataFrame(vectors(len(names), d), index=list(names))


def rows_of(adata, source):
    """Which row of the source each gene got, -1 for none."""
    found = adata.varm["embedding"]
    same = (found[:, None] == source.to_numpy()[None]).all(axis=2)
    assert (same.sum(axis=1) <= 1).all()
    assert (np.isnan(found).all(axis=1) == ~same.any(axis=1)).all()
    return np.where(same.any(axis=1), same.argmax(axis=1), -1).tolist()


@pytest.mark.parametrize(
    ("names", "genes", "ids", "expected"),
    [
        (["MYC", "TP53"], ["TP53", "MYC", "KLF1"], None, [1, 0, -1]),
        (["Trp53", "Myc"], ["MYC", "TRP53"], None, [1, 0]),
        (["myc", "MYC"], ["MYC", "myc"], None, [1, 0]),  # as they are, where that is possible
        (["myc", "MYC", "TP53"], ["Myc", "TP53"], None, [-1, 2]),  # two rows fit: none is taken
        (["ENSG00000141510.12"], ["ENSG00000141510"], None, [0]),
        (["ENSG00000141510"], ["ENSG00000141510.18", "ENSG00000141510.18_PAR_Y"], None, [0, -1]),
        (["ENSMUSG00000059552.1"], ["ENSMUSG00000059552.14"], None, [0]),
        (["ENSG00000141510.1", "ENSG00000141510.2", "MYC"], ["ENSG00000141510", "MYC"], None, [-1, 2]),
        (["Y_RNA.1", "MYC"], ["Y_RNA", "MYC"], None, [-1, 1]),  # no Ensembl id, so no version
        (["ENSG1", "MYC"], ["TP53", "MYC"], ["ENSG1", None], [0, 1]),
        (["ENSG1", "TP53"], ["TP53"], ["ENSG1"], [1]),  # its own name goes first
        (["ENSG1", "tp53"], ["TP53"], ["ENSG1"], [0]),  # as it is goes before regardless of case
        (["ensg1", "MYC"], ["TP53", "MYC"], ["ENSG1", np.nan], [0, 1]),
    ],
)
def test_genes_are_found(names, genes, ids, expected):
    adata = screen(genes=genes, **({} if ids is None else {"ids": ids}))
    source = frame(names)
    ho.pp.embedding(adata, source, gene_ids_key=None if ids is None else "ids")
    assert rows_of(adata, source) == expected


def test_a_name_that_fits_two_rows_is_said_and_stays_without_a_vector(caplog, through_file):
    adata = screen(genes=["Myc", "TP53"], guides=("control", "MYC", "myC"))
    with caplog.at_level("INFO", logger="heldout"):
        ho.pp.embedding(adata, frame(["MYC", "myc", "TP53", "X"]), perturbation_key="guide")
    assert "2 names ('Myc', 'myC') have no vector, because several rows match" in caplog.text
    stored = read_embedding(through_file(adata), "embedding")
    assert list(stored.names) == ["MYC", "myc", "TP53"]
    assert stored.lookup(["Myc", "myC", "MYC", "tp53"]).tolist() == [-1, -1, 0, 2]


def test_coverage_is_logged_in_words(caplog):
    adata = screen(guides=("control", "TP53", "myc+GATA1", "GATA1+NOPE", "NEITHER", "NOPE"))
    with caplog.at_level("INFO", logger="heldout"):
        ho.pp.embedding(adata, frame(["TP53", "Myc", "GATA1"]), perturbation_key="guide")
    text = re.sub(r"\s+", " ", caplog.text)
    assert "embedding: 3 of 5 genes have a vector (1 of them ignoring case or version)" in text
    assert "3 of 5 perturbation targets have a vector (1 of them ignoring case or version)" in text
    assert "so that 2 of 5 perturbations are covered; missing are 'NEITHER', 'NOPE'" in text


def test_targets_meet_a_source_of_ensembl_ids_through_the_genes(through_file):
    source = frame(ENSEMBL)
    by_symbol = screen(ids=ENSEMBL)
    by_id = screen(genes=ENSEMBL, symbol=GENES)
    ho.pp.embedding(by_symbol, source, gene_ids_key="ids", perturbation_key="guide")
    ho.pp.embedding(by_id, source, gene_ids_key="symbol", perturbation_key="guide")
    for adata in (by_symbol, by_id):
        assert read_embedding(through_file(adata), "embedding").lookup(["TP53", "MYC", "NOPE"]).tolist() == [0, 1, -1]


def test_a_symbol_of_two_genes_leads_to_neither():
    adata = screen(genes=ENSEMBL, symbol=["TP53", "TP53", "GATA1", "KLF1", "SOX2"])
    ho.pp.embedding(adata, frame(ENSEMBL), gene_ids_key="symbol", perturbation_key="guide")
    assert read_embedding(adata, "embedding").lookup(["TP53", "GATA1"]).tolist() == [-1, 2]


def test_compounds_need_no_genes():
    adata = screen(guides=("DMSO", "aspirin", "Ibuprofen", "aspirin+ibuprofen"))
    source = frame(["aspirin", "ibuprofen", "unused"])
    ho.pp.embedding(adata, source, perturbation_key="guide", control="DMSO", key_added="drugs")
    assert "drugs" not in adata.varm
    pd.testing.assert_frame_equal(
        ho.get.embedding(adata, "drugs"), source.iloc[:2].rename(columns=str).rename(columns=int)
    )
    assert ho.get.embedding(adata, "drugs").attrs["coverage"]["perturbations"] == [3, 3]


def test_compounds_in_the_place_of_genes_leave_nothing_of_them():
    adata = screen(guides=("DMSO", "aspirin"))
    adata.varm["own"] = np.ones((5, 1))
    ho.pp.embedding(adata, frame(GENES))
    for key in ("embedding", "own"):
        ho.pp.embedding(adata, frame(["aspirin"]), perturbation_key="guide", control="DMSO", key_added=key)
    assert list(adata.varm) == ["own"]


def test_a_row_may_be_a_whole_combination():
    adata = screen(guides=("ctrl", "TP53+MYC", "KLF1+NOPE"))
    ho.pp.embedding(adata, frame(["MYC+TP53", "NOPE+KLF1", "KLF1+ctrl"]), perturbation_key="guide", control="ctrl")
    stored = read_embedding(adata, "embedding")
    assert stored.lookup(["MYC+TP53", "KLF1+NOPE", "KLF1", "TP53"]).tolist() == [0, 1, 2, -1]
    assert stored.info["coverage"]["perturbations"] == [2, 2]


def test_only_what_is_used_is_kept():
    source = frame([*GENES, "FAR", "AWAY"])
    adata = screen(genes=GENES[:2], guides=("control", "SOX2"))
    ho.pp.embedding(adata, source, perturbation_key="guide")
    assert list(ho.get.embedding(adata).index) == ["TP53", "MYC", "SOX2"]
    about = ho.get.embedding(adata).attrs
    assert {name: about[name] for name in ("format", "files", "n", "d", "n_source", "aliases")} == {
        "format": "table",
        "files": [],
        "n": 3,
        "d": 3,
        "n_source": 7,
        "aliases": {},
    }
    ho.pp.embedding(adata, source, keep="all")
    assert list(ho.get.embedding(adata).index) == [*GENES, "FAR", "AWAY"]


def test_it_survives_files_and_copies(through_file):
    adata = screen(guides=("control", "é β/1", "TP53"))
    source = frame(["é β/1", *GENES])
    assert ho.pp.embedding(adata, source, perturbation_key="guide", key_added="other", copy=True) is not adata
    assert "heldout" not in adata.uns
    ho.pp.embedding(adata, source, perturbation_key="guide", key_added="other")
    ho.pp.embedding(adata, source.iloc[2:], key_added="one_more")
    before, again = read_embedding(adata, "other"), through_file(adata)
    after = read_embedding(again, "other")
    assert after.hash == before.hash
    assert list(after.names) == ["é β/1", *GENES]
    np.testing.assert_array_equal(after.values, source.to_numpy())
    np.testing.assert_array_equal(again.varm["other"], adata.varm["other"])
    assert again.varm["other"].dtype == np.float32
    assert len(read_embedding(again, "one_more").names) == 4


@pytest.mark.parametrize("part", ["values", "names", "json"])
def test_altered_content_is_refused(part):
    adata = screen()
    ho.pp.embedding(adata, frame(GENES))
    stored = adata.uns["heldout"]["embeddings"]["embedding"]
    stored[part] = stored[part][::-1].copy() if part != "json" else stored[part].replace("table", "npz")
    with pytest.raises(ValueError, match="altered after it was stored"):
        ho.get.embedding(adata)


def test_a_newer_form_and_a_missing_key_are_refused():
    adata = screen()
    with pytest.raises(ValueError, match="No embedding was added yet"):
        ho.get.embedding(adata)
    ho.pp.embedding(adata, frame(GENES), key_added="scgpt")
    with pytest.raises(ValueError, match="Did you mean 'scgpt'"):
        ho.get.embedding(adata, "scgtp")
    adata.uns["heldout"]["embeddings"]["scgpt"]["schema"] = SCHEMA + 1
    with pytest.raises(ValueError, match="newer heldout"):
        ho.get.embedding(adata, "scgpt")


def test_stored_are_text_and_numbers_only():
    adata = screen()
    ho.pp.embedding(adata, frame(GENES))
    stored = adata.uns["heldout"]["embeddings"]["embedding"]
    assert {name: type(value) for name, value in stored.items()} == {
        "schema": int,
        "json": str,
        "hash": str,
        "names": np.ndarray,
        "values": np.ndarray,
    }
    assert stored["names"].dtype.kind == "U"
    assert stored["values"].dtype == np.float32


def test_controls():
    names = np.array([f"g{i}" for i in range(200)], dtype=object)
    original = Embedding(names, vectors(200, 5), {"format": "table", "aliases": {"a": "g3"}})
    shuffled, random = original.shuffled(0), original.random(0)
    assert sorted(map(tuple, shuffled.values)) == sorted(map(tuple, original.values))
    assert (shuffled.values == original.values).all(axis=1).mean() < 0.05
    assert (list(shuffled.names), shuffled.lookup(["a"])) == (list(names), [3])
    assert random.values.shape == (200, 5)
    assert abs(random.values.mean()) < 0.1
    assert abs(random.values.std() - 1) < 0.1
    np.testing.assert_array_equal(shuffled.values, original.shuffled(0).values)
    assert not np.array_equal(shuffled.values, original.shuffled(1).values)
    assert len({e.hash for e in (original, shuffled, random)}) == 3
    assert (original.info, shuffled.info["control"]) == ({"format": "table", "aliases": {"a": "g3"}}, "shuffled")


def test_shuffled_among_some_leaves_the_others():
    original = Embedding(np.array(GENES, dtype=object), vectors(5))
    some = original.shuffled(3, among=["GATA1", "klf1", "SOX2", "nobody"])
    np.testing.assert_array_equal(some.values[:2], original.values[:2])
    assert sorted(map(tuple, some.values[2:])) == sorted(map(tuple, original.values[2:]))
    assert not np.array_equal(some.values, original.values)


def test_a_name_of_its_own_stands_above_another_name():
    names = NameIndex(np.array(["Tp53", "other"], dtype=object), {"Tp53": "other", "TP53": "other"})
    matches = names.match(["Tp53", "TP53", "tP53", "OTHER"])
    assert matches.rows.tolist() == [0, 1, 0, 1]
    assert matches.folded.tolist() == [False, False, True, True]


NAMES = st.lists(st.text(alphabet="aAbB1.", min_size=1, max_size=3), min_size=1, max_size=12, unique=True)


@HYPOTHESIS
@given(names=NAMES, sought=NAMES)
def test_lookup_equals_brute_force(names, sought):
    found = Embedding(np.array(names, dtype=object), vectors(len(names))).lookup(sought)
    for name, row in zip(sought, found, strict=True):
        loosely = [i for i, other in enumerate(names) if other.upper() == name.upper()]
        expected = names.index(name) if name in names else loosely[0] if len(loosely) == 1 else -1
        assert row == expected


@HYPOTHESIS
@given(names=NAMES, order=st.randoms(use_true_random=False))
def test_the_order_of_the_source_does_not_matter(names, order):
    adata = screen(genes=["a", "B", "ab", "1"])
    source = frame([*names, "a"] if "a" not in names else names)
    mixed = source.sample(frac=1, random_state=order.randrange(1000))
    ho.pp.embedding(adata, source)
    again = adata.copy()
    ho.pp.embedding(again, mixed)
    np.testing.assert_array_equal(adata.varm["embedding"], again.varm["embedding"])


@needs_data
@pytest.mark.parametrize("spelt", [str, str.lower])
def test_norman_and_the_genes_of_scfoundation(spelt):
    screen = ad.read_h5ad(DATA / "norman2019" / "norman19_mcfaline23_devel.h5ad")
    screen = screen[screen.obs["dataset"] == "norman19"].copy()
    listed = pd.read_csv(DATA / "gene_sets" / "scfoundation_gene_index.19264.tsv", sep="\t", keep_default_na=False)
    ho.pp.embedding(screen, frame([spelt(name) for name in listed["gene_name"]]), perturbation_key="perturbation")
    coverage = ho.get.embedding(screen).attrs["coverage"]
    by_hand = int(screen.var_names.str.lower().isin(listed["gene_name"].str.lower()).sum())
    assert coverage["genes"] == [by_hand, 500]
    assert (coverage["targets"], coverage["perturbations"]) == ([31, 31], [33, 33])
    assert coverage["genes_folded"] == (0 if spelt is str else by_hand)

"""Spectral embedding of a graph of genes, against independent computations."""

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import heldout as ho
from heldout.reading.embeddings import graph
from tests.helpers.embeddings import GENES, screen
from tests.helpers.paths import DATA, needs_data


def reference(adjacency, d):
    """By singular values: for a symmetric matrix these are the absolute eigenvalues, with the same left vectors."""
    matrix = adjacency + np.diag(adjacency.sum(axis=1) / (len(adjacency) - 1))
    u, s, _ = np.linalg.svd(matrix)
    return u[:, :d] * np.sqrt(s[:d])


def random_graph(n, p, seed=0):
    rng = np.random.default_rng(seed)
    upper = np.triu(rng.random((n, n)) * (rng.random((n, n)) < p), 1)
    return upper + upper.T


def test_equals_the_singular_vectors():
    adjacency = random_graph(40, 0.3)
    found = graph.spectral_embedding(sparse.csr_array(adjacency), 3)
    expected = reference(adjacency, 3)
    np.testing.assert_allclose(found * np.sign((found * expected).sum(axis=0)), expected, atol=1e-10)
    assert (found[np.abs(found).argmax(axis=0), range(3)] > 0).all()


def test_a_large_graph_is_solved_as_a_small_one(monkeypatch):
    adjacency = sparse.csr_array(random_graph(60, 0.2, seed=1))
    dense = graph.spectral_embedding(adjacency, 4)
    monkeypatch.setattr(graph, "_DENSE", 0)
    np.testing.assert_allclose(graph.spectral_embedding(adjacency, 4), dense, atol=1e-8)


def test_two_triangles_and_what_is_not_connected():
    """The triangle of weight 1 has the eigenvalue 2 and equal entries; that of weight 0.5 half of it."""
    edges = [("a", "b", 1.0), ("b", "c", 1.0), ("a", "c", 1.0), ("x", "y", 0.5), ("y", "z", 0.5), ("x", "z", 0.5)]
    adata = screen(genes=[*"abcxyz", "only_itself"])
    table = pd.DataFrame([*edges, ("only_itself", "only_itself", 1.0)], columns=["source", "target", "importance"])
    ho.pp.embedding(adata, table)
    first, second = np.sqrt((2 + 2 / 6) / 3), np.sqrt((1 + 1 / 6) / 3)
    expected = [[first, 0]] * 3 + [[0, second]] * 3 + [[0, 0]]
    np.testing.assert_allclose(adata.varm["embedding"], expected, atol=1e-6)
    about = ho.get.embedding(adata).attrs
    assert (about["n_edges"], about["n_parts"], about["n_comps"]) == (6, 3, 2)


def test_vectors_that_are_zero_are_said(caplog):
    table = pd.DataFrame({"a": ["TP53", "MYC", "KLF1"], "b": ["MYC", "GATA1", "KLF1"]})
    with caplog.at_level("WARNING", logger="heldout"):
        ho.pp.embedding(screen(), table, format="graph", n_comps=2)
    assert "1 of 4 vectors of the source are zero" in caplog.text


def test_direction_order_and_repeats_do_not_matter(tmp_path):
    rng = np.random.default_rng(2)
    pairs = [(a, b) for i, a in enumerate(GENES) for b in GENES[:i]]
    once = pd.DataFrame([(a, b, rng.random()) for a, b in pairs], columns=["source", "target", "importance"])
    both = pd.concat([once, once.rename(columns={"source": "target", "target": "source"})[once.columns]])
    loops = pd.DataFrame({"source": GENES, "target": GENES, "importance": 1.0})
    both = pd.concat([both, loops]).sample(frac=1, random_state=0)
    both.to_csv(tmp_path / "go.csv", index=False)
    first, second = screen(), screen()
    ho.pp.embedding(first, once, n_comps=3)
    ho.pp.embedding(second, tmp_path / "go.csv", n_comps=3)
    np.testing.assert_array_equal(first.varm["embedding"], second.varm["embedding"])


def test_gene2go_joins_genes_by_the_jaccard_index(tmp_path):
    terms = {
        "TP53": {f"GO:{i}" for i in range(10)},
        "MYC": {f"GO:{i}" for i in range(5, 15)},
        "GATA1": {"GO:0", *(f"GO:{i}" for i in range(50, 59))},  # 1 of 19 shared with TP53: below 0.1
        "KLF1": {"GO:55", "GO:56"},
        "NOT_AT_HAND": {"GO:0"},
    }
    (tmp_path / "gene2go.pkl").write_bytes(pickle.dumps(terms))
    lines = [f"{gene}\t{' '.join(sorted(of))}\n" for gene, of in terms.items()]
    (tmp_path / "terms.tsv").write_text("symbol\tgo_id\n" + "".join(lines))
    adata, from_table = screen(), screen()
    ho.pp.embedding(from_table, tmp_path / "terms.tsv", format="gene2go", n_comps=2)
    ho.pp.embedding(adata, tmp_path, format="gene2go", n_comps=2)
    adjacency = np.zeros((4, 4))  # GATA1, KLF1, MYC, TP53
    adjacency[0, 1] = adjacency[1, 0] = 2 / 10
    adjacency[2, 3] = adjacency[3, 2] = 5 / 15
    table = ho.get.embedding(adata)
    assert list(table.index) == ["GATA1", "KLF1", "MYC", "TP53"]
    np.testing.assert_allclose(np.abs(table), np.abs(reference(adjacency, 2)), atol=1e-6)
    pd.testing.assert_frame_equal(ho.get.embedding(from_table), table)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (pd.DataFrame({"a": ["x"]}), "two names"),
        (pd.DataFrame({"a": ["TP53", "MYC"], "b": ["TP53", "MYC"]}), "no edge between two different genes"),
        (pd.DataFrame({"a": ["TP53"], "b": ["MYC"], "w": [np.nan]}), "missing or below zero"),
        (pd.DataFrame({"a": ["TP53"], "b": ["MYC"], "w": [-1.0]}), "missing or below zero"),
        (pd.DataFrame({"a": ["TP53", None], "b": ["MYC", "MYC"]}), "without a name"),
        (pd.DataFrame({"a": ["TP53", "MYC"], "b": ["MYC", "TP53"]}), "n_comps=2 must be an integer in \\[1, 1\\]"),
    ],
)
def test_bad_graphs_are_refused(table, words):
    with pytest.raises(ValueError, match=words):
        ho.pp.embedding(screen(), table, format="graph")


@needs_data
def test_string_network():
    edges = pd.read_csv(DATA / "gene_sets" / "string_hesc_500.csv")
    genes = sorted(set(edges["Gene1"]) | set(edges["Gene2"]))
    adata = screen(genes=genes)
    ho.pp.embedding(adata, DATA / "gene_sets" / "string_hesc_500.csv", format="graph", n_comps=10)
    adjacency = pd.crosstab(edges["Gene1"], edges["Gene2"]).reindex(index=genes, columns=genes, fill_value=0).to_numpy()
    adjacency = ((adjacency + adjacency.T) > 0).astype(float)
    np.fill_diagonal(adjacency, 0)
    found, expected = adata.varm["embedding"].astype(np.float64), reference(adjacency, 10)
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=1e-4)

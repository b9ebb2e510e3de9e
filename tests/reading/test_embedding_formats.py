"""Each published layout, built small: the right vector for each gene."""

import json
import pickle

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.decomposition import PCA

import heldout as ho
from heldout.reading.embeddings.files import safetensor
from heldout.reading.embeddings.plain_pickle import read_plain_pickle
from tests.helpers.embeddings import (
    ENSEMBL,
    GENES,
    geneformer_folders,
    scfoundation_folder,
    scgpt_folder,
    screen,
    uce_file,
    vectors,
    write_safetensors,
)


def check(adata, expected, **rounding):
    table = ho.get.embedding(adata)
    assert sorted(table.index) == sorted(expected)
    for name, vector in expected.items():
        np.testing.assert_allclose(table.loc[name], vector, rtol=1e-5, atol=1e-6, **rounding)
    return table


@pytest.mark.parametrize("prefix", ["", "module."])
def test_scgpt_gives_what_its_gene_encoder_gives(tmp_path, prefix):
    expected = scgpt_folder(tmp_path, prefix=prefix)
    adata = screen()
    ho.pp.embedding(adata, tmp_path, format="scgpt")
    table = check(adata, expected)
    assert table.attrs["enc_norm"] is True
    assert [file["name"] for file in table.attrs["files"]] == ["best_model.pt", "vocab.json"]
    np.testing.assert_allclose(adata.varm["embedding"], [expected[g] for g in GENES], rtol=1e-5, atol=1e-6)


def test_scgpt_reads_a_file_with_its_vocabulary(tmp_path):
    expected = scgpt_folder(tmp_path)
    moved = (tmp_path / "vocab.json").rename(tmp_path / "words.json")
    adata = screen()
    ho.pp.embedding(adata, tmp_path / "best_model.pt", format="scgpt", names=moved)
    check(adata, expected)


def test_scfoundation(tmp_path):
    expected = scfoundation_folder(tmp_path)
    adata = screen()
    ho.pp.embedding(adata, str(tmp_path), format="scfoundation")
    check(adata, expected)


@pytest.mark.parametrize("protocol", range(6))
def test_geneformer_with_symbols_from_its_dictionary(tmp_path, protocol):
    model, dictionaries, expected = geneformer_folders(tmp_path, protocol=protocol)
    adata = screen()
    ho.pp.embedding(adata, model, format="geneformer", names=dictionaries, perturbation_key="guide")
    table = check(adata, expected)
    assert table.attrs["aliases"] == dict(zip(GENES, ENSEMBL, strict=True))
    np.testing.assert_array_equal(adata.varm["embedding"][1], expected[ENSEMBL[1]])
    assert table.attrs["coverage"]["targets"] == [2, 3]


def test_geneformer_with_ensembl_ids_in_var(tmp_path):
    model, dictionaries, expected = geneformer_folders(tmp_path, symbols=False, number=np.int16)
    versioned = [f"{name}.{i + 3}" for i, name in enumerate(ENSEMBL)]
    adata = screen(gene_ids=versioned)
    ho.pp.embedding(
        adata,
        model / "model.safetensors",
        format="geneformer",
        names=dictionaries / "token_dictionary_gc104M.pkl",
        gene_ids_key="gene_ids",
        perturbation_key="guide",
    )
    table = check(adata, expected)
    assert table.attrs["coverage"] == {
        "genes": [5, 5],
        "genes_folded": 5,
        "targets": [2, 3],
        "targets_folded": 0,
        "perturbations": [3, 4],
    }


def test_geneformer_as_torch_and_json(tmp_path):
    values = vectors(7)
    torch.save({"bert.embeddings.word_embeddings.weight": torch.tensor(values)}, tmp_path / "pytorch_model.bin")
    (tmp_path / "token_dictionary.json").write_text(json.dumps({n: i for i, n in enumerate(["<pad>", *ENSEMBL, "x"])}))
    adata = screen(genes=ENSEMBL)
    ho.pp.embedding(adata, tmp_path, format="geneformer")
    check(adata, dict(zip(ENSEMBL, values[1:], strict=False)))


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float32"])
def test_safetensors_in_each_precision(tmp_path, kind):
    values = torch.tensor(vectors(3)).to(getattr(torch, kind))
    raw = values.view(torch.int16).numpy().view(np.uint16) if kind == "bfloat16" else values.numpy()
    write_safetensors(tmp_path / "a.safetensors", {"module.x": raw})
    np.testing.assert_array_equal(safetensor(tmp_path / "a.safetensors", "x"), values.float().numpy())


@pytest.mark.parametrize("listed", ["list", "txt", "tsv", "h5ad", "json"])
def test_scbert_needs_the_names(tmp_path, listed):
    values = vectors(5, d=200)
    np.save(tmp_path / "gene2vec_16906.npy", values.astype(np.float64))
    names = GENES if listed == "list" else tmp_path / f"genes.{listed}"
    match listed:
        case "txt":
            names.write_text("\n".join(GENES) + "\n")
        case "tsv":
            pd.DataFrame({"i": range(5), "gene_name": GENES}).to_csv(names, sep="\t", index=False)
        case "h5ad":
            ad.AnnData(np.zeros((1, 5), dtype=np.float32), var=pd.DataFrame(index=GENES)).write_h5ad(names)
        case "json":
            names.write_text(json.dumps(GENES))
    adata = screen()
    ho.pp.embedding(adata, tmp_path, format="scbert", names=names)
    check(adata, dict(zip(GENES, values, strict=True)))
    with pytest.raises(ValueError, match="panglao_human.h5ad"):
        ho.pp.embedding(adata, tmp_path, format="scbert")
    with pytest.raises(ValueError, match="5 vectors but 4 names"):
        ho.pp.embedding(adata, tmp_path, format="scbert", names=GENES[:4])


def test_scbert_checkpoint_has_a_last_row_that_is_no_gene(tmp_path):
    values = vectors(6)
    torch.save({"model_state_dict": {"pos_emb.emb.weight": torch.tensor(values)}}, tmp_path / "panglao_pretrain.pth")
    adata = screen()
    ho.pp.embedding(adata, tmp_path, format="scbert", names=GENES)
    check(adata, dict(zip(GENES, values, strict=False)))


@pytest.mark.parametrize("first", ["", "5 4\n"], ids=["gene2vec", "word2vec"])
def test_gene2vec_text(tmp_path, first):
    values = vectors(5)
    lines = [f"{gene}\t{' '.join(map(repr, map(float, row)))} " for gene, row in zip(GENES, values, strict=True)]
    (tmp_path / "gene2vec_dim_200_iter_9.txt").write_text(first + "\n".join(lines) + "\n")
    adata = screen()
    ho.pp.embedding(adata, tmp_path, format="gene2vec")
    check(adata, dict(zip(GENES, values, strict=True)))


def test_uce_reduced_to_principal_components(tmp_path):
    path, expected = uce_file(tmp_path)
    adata = screen()
    ho.pp.embedding(adata, tmp_path, format="uce")
    check(adata, expected)
    ho.pp.embedding(adata, path, format="uce", n_comps=2, keep="all")
    scores = PCA(2, svd_solver="full").fit_transform(np.array([expected[g] for g in GENES], dtype=np.float64))
    check(adata, dict(zip(GENES, scores, strict=True)))


def test_tables(tmp_path):
    frame = pd.DataFrame(vectors(5), index=GENES)
    expected = dict(zip(GENES, frame.to_numpy(), strict=True))
    frame.to_csv(tmp_path / "a.csv")
    frame.to_csv(tmp_path / "a.tsv.gz", sep="\t")
    np.savez(tmp_path / "a.npz", names=np.array(GENES), values=frame.to_numpy())
    for source in (frame, tmp_path / "a.csv", tmp_path / "a.tsv.gz", tmp_path / "a.npz"):
        adata = screen()
        ho.pp.embedding(adata, source)
        check(adata, expected)


def test_a_gene_called_na_is_no_missing_value(tmp_path):
    pd.DataFrame({"x": [1.0, 2.0]}, index=["NA", "TP53"]).to_csv(tmp_path / "a.csv")
    adata = screen(genes=["NA", "TP53"])
    ho.pp.embedding(adata, tmp_path / "a.csv")
    np.testing.assert_array_equal(adata.varm["embedding"], [[1], [2]])


@pytest.mark.parametrize(("encoding", "sep"), [("utf-8-sig", ","), ("utf-16", "\t"), ("utf-8", ";")])
def test_a_table_that_passed_a_spreadsheet(encoding, sep, tmp_path):
    frame = pd.DataFrame({"x": [1.0, 2.0], "y": [3.0, 4.0]}, index=["NA", "TP53"])
    frame.to_csv(tmp_path / "a.csv", encoding=encoding, sep=sep, lineterminator="\r\n")
    adata = screen(genes=["NA", "TP53"])
    ho.pp.embedding(adata, tmp_path / "a.csv")
    np.testing.assert_array_equal(adata.varm["embedding"], frame)


@pytest.mark.parametrize("as_adata", [False, True])
def test_another_screen_gives_components_of_its_perturbations(array_type, as_adata):
    profiles = pd.DataFrame(vectors(6, d=30), index=["TP53+ctrl", "ctrl+MYC", "ctrl", "GATA1+ctrl", "KLF1", "MYC+TP53"])
    source = (
        ad.AnnData(array_type(profiles.to_numpy()), obs=pd.DataFrame(index=profiles.index)) if as_adata else profiles
    )
    adata = screen(guides=("ctrl", "TP53", "MYC", "TP53+MYC", "NOPE"))
    ho.pp.embedding(adata, source, perturbation_key="guide", control="ctrl", n_comps=3)
    centred = profiles.to_numpy(dtype=np.float64) - profiles.to_numpy(dtype=np.float64).mean(axis=0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    table = ho.get.embedding(adata)
    assert list(table.index) == ["TP53+ctrl", "ctrl+MYC", "GATA1+ctrl", "KLF1", "MYC+TP53"]
    expected = (u * s)[[0, 1, 3, 4, 5], :3]
    sign = np.sign((table.to_numpy() * expected).sum(axis=0))
    np.testing.assert_allclose(table.to_numpy() * sign, expected, rtol=1e-4, atol=1e-5)
    assert table.attrs["coverage"]["perturbations"] == [3, 4]


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_pickles_of_numpy_integers_are_read(tmp_path, protocol):
    """The published token dictionaries of Geneformer have them."""
    kinds = [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64]
    content = {f"{kind.__name__}{end}": kind(getattr(np.iinfo(kind), end)) for kind in kinds for end in ("min", "max")}
    content["big_endian"] = np.array([258], dtype=">i2")[0]
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(content, protocol))
    found = read_plain_pickle(tmp_path / "a.pkl")
    assert found == content
    assert {type(value) for value in found.values()} == {int}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"x": np.float64(1.5)}, protocol))
    with pytest.raises(ValueError, match="Nothing of it was run"):
        read_plain_pickle(tmp_path / "a.pkl")


@pytest.mark.parametrize("protocol", range(6))
def test_plain_pickles_are_read_without_unpickling(tmp_path, protocol):
    content = {"é": 0, "big": 2**40, "neg": -5, "set": {"GO:1", "GO:2"}, "again": {"GO:1"}, "text": "ENSG1", "l": ["a"]}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(content, protocol))
    assert read_plain_pickle(tmp_path / "a.pkl") == content

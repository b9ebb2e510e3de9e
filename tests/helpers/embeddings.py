"""Small files in the layouts in which models are published, and screens to align with them. Imported by tests."""

import json
import pickle

import anndata as ad
import numpy as np
import pandas as pd
import torch

GENES = ["TP53", "MYC", "GATA1", "KLF1", "SOX2"]
ENSEMBL = ["ENSG00000141510", "ENSG00000136997", "ENSG00000102145", "ENSG00000105610", "ENSG00000181449"]


def vectors(n, d=4, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def screen(genes=GENES, guides=("control", "TP53", "MYC", "TP53+MYC", "NOPE"), **var):
    """AnnData with two cells a guide."""
    obs = pd.DataFrame({"guide": np.repeat(list(guides), 2)}, index=[f"c{i}" for i in range(2 * len(guides))])
    X = np.ones((len(obs), len(genes)), dtype=np.float32)
    return ad.AnnData(X, obs=obs, var=pd.DataFrame(var, index=list(genes)))


def scgpt_folder(folder, *, prefix="", genes=GENES, n_rows=None):
    """``best_model.pt``, ``vocab.json`` and ``args.json``; the vocabulary is in no order, with the special tokens."""
    tokens = ["<pad>", *genes[::-1], "<cls>", "<eoc>"]
    values = vectors(n_rows or len(tokens))
    scale, shift = vectors(2, seed=1)
    state = {
        f"{prefix}encoder.embedding.weight": torch.tensor(values),
        f"{prefix}encoder.enc_norm.weight": torch.tensor(scale),
        f"{prefix}encoder.enc_norm.bias": torch.tensor(shift),
        f"{prefix}decoder.fc.0.weight": torch.zeros(2, 2),
    }
    torch.save(state, folder / "best_model.pt")
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in reversed(list(enumerate(tokens)))}))
    (folder / "args.json").write_text(json.dumps({"embsize": 4}))
    norm = torch.nn.LayerNorm(4)
    norm.load_state_dict({"weight": torch.tensor(scale), "bias": torch.tensor(shift)})
    normed = norm(torch.tensor(values)).detach().numpy()
    return {token: normed[i] for i, token in enumerate(tokens) if token in genes}


def scfoundation_folder(folder, *, genes=GENES, extra=3):
    """``models.ckpt`` with one model for genes and one for cells, and the gene list."""
    values = vectors(len(genes) + extra)
    gene = {"state_dict": {"model.pos_emb.weight": torch.tensor(values)}, "config": {"model": "mae_autobin"}}
    cell = {"state_dict": {"model.pos_emb.weight": torch.zeros(2, 2)}, "config": {"model": "mae_autobin"}}
    torch.save({"gene": gene, "cell": cell}, folder / "models.ckpt")
    table = pd.DataFrame({"gene_name": genes, "index": range(len(genes))})
    table.to_csv(folder / "OS_scRNA_gene_index.19264.tsv", sep="\t", index=False)
    return dict(zip(genes, values, strict=False))


def write_safetensors(path, tensors):
    """Eight bytes of header length, the header, the numbers; arrays of uint16 are taken as bfloat16."""
    kinds = {"float32": "F32", "float16": "F16", "uint16": "BF16", "int64": "I64"}
    header, raw = {"__metadata__": {"format": "pt"}}, b""
    for name, array in tensors.items():
        offsets = [len(raw), len(raw) + array.nbytes]
        header[name] = {"dtype": kinds[array.dtype.name], "shape": list(array.shape), "data_offsets": offsets}
        raw += array.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + raw)


def geneformer_folders(folder, *, dtype=np.float32, protocol=4, symbols=True, number=int):
    """Weights in one folder, dictionaries in another, as they are published."""
    ids = ENSEMBL
    model, dictionaries = folder / "Geneformer-V2", folder / "geneformer"
    model.mkdir()
    dictionaries.mkdir()
    tokens = ["<pad>", "<mask>", *ids]
    values = vectors(len(tokens)).astype(dtype)
    other = np.zeros((3, 2), dtype=np.float32)
    key = "bert.embeddings.word_embeddings.weight"
    write_safetensors(model / "model.safetensors", {"bert.a": other, key: values, "cls.b": other})
    for name, content in {
        "token_dictionary_gc104M.pkl": {token: number(i) for i, token in enumerate(tokens)},
        "gene_name_id_dict_gc104M.pkl": dict(zip(GENES, ids, strict=True)) if symbols else None,
    }.items():
        if content is not None:
            (dictionaries / name).write_bytes(pickle.dumps(content, protocol))
    return model, dictionaries, dict(zip(ids, values[2:].astype(np.float32), strict=True))


def uce_file(folder, genes=GENES):
    values = vectors(len(genes), d=8)
    path = folder / "Homo_sapiens.GRCh38.gene_symbol_to_embedding_ESM2.pt"
    torch.save({gene: torch.tensor(row) for gene, row in zip(genes, values, strict=True)}, path)
    return path, dict(zip(genes, values, strict=True))

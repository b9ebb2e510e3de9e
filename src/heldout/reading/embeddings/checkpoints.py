"""Read gene vectors from the files that the authors of pretrained models publish.

File names, tensor names and the order of rows are those of the code of the models. Each reader takes the published
folder or the file, and refuses vectors whose number does not match the number of names.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from heldout._core.store import some
from heldout.reading.embeddings.files import (
    dictionary,
    find,
    in_order,
    names_of,
    numpy_file,
    recorded,
    safetensor,
    tensor_in,
    torch_file,
)
from heldout.reading.embeddings.source import EmbeddingSource

if TYPE_CHECKING:
    from pathlib import Path

_TOKEN = re.compile(r"<.*>")
_SCGPT_TOKENS = ("<pad>", "<cls>", "<eoc>")
_STATES = ("model_state_dict", "state_dict")


def read_scgpt(source: Any, names: Any) -> EmbeddingSource:
    """Read scGPT: ``best_model.pt`` with ``encoder.embedding.weight``, and ``vocab.json`` with the row of each gene.

    The vectors are the output of the gene encoder, which is after its layer norm (``encoder.enc_norm``).
    """
    weights = find(source, "best_model.pt", what="the weights of scGPT (best_model.pt)")
    vocab = find(weights.parent if names is None else names, "vocab.json", what="the vocabulary of scGPT (vocab.json)")
    tokens = in_order(dictionary(vocab), vocab)
    state = torch_file(weights)
    values = tensor_in(state, weights, "encoder.embedding.weight", inside=_STATES)
    absent = sum(token not in tokens for token in _SCGPT_TOKENS)  # scGPT appends the tokens that the vocabulary lacks
    if not 0 <= len(values) - len(tokens) <= absent:
        msg = _disagree(weights, len(values), vocab, len(tokens))
        raise ValueError(msg)
    normed = _has(state, "encoder.enc_norm.weight")
    if normed:
        scale, shift = (
            tensor_in(state, weights, f"encoder.enc_norm.{part}", inside=_STATES) for part in ("weight", "bias")
        )
        values = _layer_norm(values, scale, shift)
    return _genes(tokens, values[: len(tokens)], where=str(weights), files=recorded(weights, vocab), enc_norm=normed)


def read_scfoundation(source: Any, names: Any) -> EmbeddingSource:
    """Read scFoundation: ``models.ckpt``, ``["gene"]["state_dict"]["model.pos_emb.weight"]``.

    Rows are the genes of ``OS_scRNA_gene_index.19264.tsv`` (column ``gene_name``), then three rows that are not genes
    (two totals and the padding). It was not possible to check that ``weights_only=True`` accepts the published
    checkpoint.
    """
    weights = find(source, "models.ckpt", "*.ckpt", what="the weights of scFoundation (models.ckpt)")
    listed = "the gene list of scFoundation (OS_scRNA_gene_index.19264.tsv); pass it as names="
    if names is None:
        names = find(weights.parent, "*gene_index*.tsv", what=listed)
    genes, files = names_of(names, what=listed)
    state = torch_file(weights)
    if isinstance(state, dict) and "gene" in state:
        state = state["gene"]
    values = tensor_in(state, weights, "pos_emb.weight", inside=_STATES)
    if len(values) != len(genes) + 3:
        msg = (
            f"{weights} has {len(values)} vectors; with {len(genes)} gene names it should have {len(genes) + 3} (three "
            "rows are not genes)."
        )
        raise ValueError(msg)
    return EmbeddingSource.of(genes, values[: len(genes)], where=str(weights), files=recorded(weights, *files))


def read_geneformer(source: Any, names: Any) -> EmbeddingSource:
    """Read Geneformer: ``model.safetensors`` (or ``pytorch_model.bin``), ``bert.embeddings.word_embeddings.weight``.

    ``token_dictionary*.pkl`` gives the row of each Ensembl id. It is published in another folder than the weights, so
    pass it as ``names``. If ``gene_name_id_dict*.pkl`` (symbol to Ensembl id) is in the same folder, symbols are found
    too.
    """
    weights = find(
        source, "model.safetensors", "pytorch_model.bin", what="the weights of Geneformer (model.safetensors)"
    )
    tokens_file = find(
        weights.parent if names is None else names,
        *("token_dictionary*.pkl", "token_dictionary*.json"),
        what="the token dictionary of Geneformer (token_dictionary*.pkl); pass it as names=",
    )
    tokens = in_order(dictionary(tokens_file), tokens_file)
    key = "bert.embeddings.word_embeddings.weight"
    if weights.suffix == ".safetensors":
        values = safetensor(weights, key)
    else:
        values = tensor_in(torch_file(weights), weights, key)
    if len(values) != len(tokens):
        msg = _disagree(weights, len(values), tokens_file, len(tokens))
        raise ValueError(msg)
    used, symbols = [weights, tokens_file], {}
    symbols_file = tokens_file.with_name(tokens_file.name.replace("token_dictionary", "gene_name_id_dict"))
    if symbols_file != tokens_file and symbols_file.is_file():
        symbols = {symbol: name for symbol, name in dictionary(symbols_file).items() if isinstance(name, str)}
        used.append(symbols_file)
    return _genes(tokens, values, where=str(weights), files=recorded(*used), aliases=symbols)


def read_scbert(source: Any, names: Any) -> EmbeddingSource:
    """Read scBERT: ``gene2vec_16906.npy``, or ``panglao_pretrain.pth`` (``pos_emb.emb.weight`` without its last row).

    Neither file has names. Rows are in the order of ``var_names`` of the authors' ``panglao_human.h5ad``. Pass that
    file, or the list of its genes, as ``names``.
    """
    file = find(source, "gene2vec_*.npy", "panglao_pretrain.pth", what="gene2vec of scBERT (gene2vec_16906.npy)")
    if names is None:
        msg = (
            f"{file} has no gene names. Pass them as names=, in the order of the training data of scBERT: its "
            "panglao_human.h5ad, a text file with one gene per line, or a list."
        )
        raise ValueError(msg)
    genes, files = names_of(names, what="the genes of scBERT")
    if file.suffix == ".npy":
        values = numpy_file(file)
    else:
        values = tensor_in(torch_file(file), file, "pos_emb.emb.weight", inside=_STATES)[:-1]
    return EmbeddingSource.of(genes, values, where=str(file), files=recorded(file, *files))


def read_gene2vec(source: Any, names: Any) -> EmbeddingSource:
    """Read Gene2vec or word2vec text: each line is a name and its numbers, after an optional first line ``n d``."""
    _no_names(names, "gene2vec")
    file = find(source, "gene2vec*.txt", what="vectors as text (gene2vec_dim_200_iter_9.txt)")
    genes, rows = [], []
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            parts = line.split()
            if not parts or (number == 0 and len(parts) == 2):
                continue
            genes.append(parts[0])
            try:
                rows.append(np.array(parts[1:], dtype=np.float32))
            except ValueError as error:
                msg = f"{file}, line {number + 1}: {error}. Each line is a name and its numbers."
                raise ValueError(msg) from error
    lengths = sorted({len(row) for row in rows})
    if len(lengths) != 1:
        msg = f"{file} has lines of {some(lengths)} numbers. All lines must have the same length."
        raise ValueError(msg)
    return EmbeddingSource.of(genes, np.stack(rows), where=str(file), files=recorded(file))


def read_uce(source: Any, names: Any) -> EmbeddingSource:
    """Read UCE: a dict of gene symbol to vector in one ``.pt`` file per species.

    The human file is ``protein_embeddings/Homo_sapiens.GRCh38.gene_symbol_to_embedding_ESM2.pt`` (ESM2, 5120 numbers
    per gene).
    """
    import torch

    _no_names(names, "uce")
    file = find(
        source, "*gene_symbol_to_embedding*.pt", what="protein embeddings of UCE (*gene_symbol_to_embedding*.pt)"
    )
    state = torch_file(file)
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(vector, torch.Tensor) and vector.ndim == 1
        for name, vector in state.items()
    ):
        msg = f"{file} must hold a dict of gene symbol to vector, like the files of UCE."
        raise ValueError(msg)
    lengths = sorted({len(vector) for vector in state.values()})
    if len(lengths) != 1:
        msg = f"{file} has vectors of {some(lengths)} numbers. All vectors must have the same length."
        raise ValueError(msg)
    values = np.empty((len(state), lengths[0]), dtype=np.float32)
    for row, vector in enumerate(state.values()):
        values[row] = vector.detach().float().numpy()
    return EmbeddingSource.of(state, values, where=str(file), files=recorded(file))


def _genes(tokens: list[str], values: np.ndarray, **about: Any) -> EmbeddingSource:
    """Keep the rows of genes, and drop special tokens such as ``<pad>``."""
    keep = np.array([not _TOKEN.fullmatch(token) for token in tokens], dtype=bool)
    return EmbeddingSource.of(np.array(tokens, dtype=object)[keep], values[keep], **about)


def _layer_norm(values: np.ndarray, scale: np.ndarray, shift: np.ndarray, epsilon: float = 1e-5) -> np.ndarray:
    """Apply a layer norm, like :class:`torch.nn.LayerNorm` with its default ``eps``."""
    centred = values - values.mean(axis=1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + epsilon) * scale + shift


def _has(state: dict[str, Any], key: str) -> bool:
    places = [state, *(state[name] for name in _STATES if name in state)]
    return any(str(name).endswith(key) for place in places for name in place)


def _disagree(weights: Path, n_vectors: int, names: Path, n_names: int) -> str:
    return (
        f"{weights} has {n_vectors} vectors, but {names} names {n_names} genes. Pass the file that was published with "
        "these weights as names=."
    )


def _no_names(names: Any, format: str) -> None:
    if names is not None:
        msg = f"names= is not used with format={format!r}, because the file contains names. Leave it out."
        raise ValueError(msg)

"""Files that would run code, are damaged, or do not belong together: refused, and nothing of them runs."""

import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch

import heldout as ho
from heldout.reading.embeddings.plain_pickle import read_plain_pickle
from tests.helpers.embeddings import (
    GENES,
    geneformer_folders,
    scfoundation_folder,
    scgpt_folder,
    screen,
    uce_file,
    vectors,
    write_safetensors,
)


class Trap:
    """Unpickling it makes a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def traps(folder):
    """For each format that could hide a pickle: the file, the call, and how it names itself."""
    trap = Trap(folder / "ran")
    scgpt_folder(folder)
    np.save(folder / "gene2vec_16906.npy", np.array([trap, trap], dtype=object))
    np.savez(folder / "a.npz", names=np.array([trap] * 5, dtype=object), values=vectors(5))
    model, dictionaries, _ = geneformer_folders(folder)
    (dictionaries / "token_dictionary_gc104M.pkl").write_bytes(pickle.dumps({"<pad>": 0, "x": trap}))
    (folder / "gene2go.pkl").write_bytes(pickle.dumps({"TP53": {"GO:1"}, "MYC": trap}))
    torch.save({"encoder.embedding.weight": torch.zeros(8, 4), "x": trap}, folder / "best_model.pt")
    torch.save({"gene": {"state_dict": {}, "config": trap}}, folder / "models.ckpt")
    torch.save({"TP53": trap}, folder / "human.gene_symbol_to_embedding_ESM2.pt")
    (folder / "panglao_pretrain.pth").write_bytes(pickle.dumps(trap))
    scbert = {"format": "scbert", "names": GENES}
    return {
        "scgpt": (folder, {"format": "scgpt"}),
        "scfoundation": (folder, {"format": "scfoundation", "names": GENES}),
        "geneformer": (model, {"format": "geneformer", "names": dictionaries}),
        "scbert": (folder / "gene2vec_16906.npy", scbert),
        "scbert_torch": (folder / "panglao_pretrain.pth", scbert),
        "uce": (folder, {"format": "uce"}),
        "gene2go": (folder, {"format": "gene2go"}),
        "npz": (folder / "a.npz", {}),
    }


@pytest.mark.parametrize(
    "which", ["scgpt", "scfoundation", "geneformer", "scbert", "scbert_torch", "uce", "gene2go", "npz"]
)
def test_a_file_that_would_run_code_is_refused_and_runs_nothing(tmp_path, which, unchanged):
    source, arguments = traps(tmp_path)[which]
    adata = screen()
    with unchanged(adata), pytest.raises(ValueError, match=r"[Nn]othing( else)? of it was run|can run code"):
        ho.pp.embedding(adata, source, **arguments)
    assert not (tmp_path / "ran").exists()


def test_the_trap_snaps_where_it_is_unpickled(tmp_path):
    pickle.loads(pickle.dumps(Trap(tmp_path / "ran")))
    assert (tmp_path / "ran").is_dir()


HAND_MADE = {
    "global": b"cos\nsystem\n(S'touch ran'\ntR.",
    "stack_global": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
    "built": b"\x80\x04\x8c\x0a__builtin__\x8c\x04eval\x93\x8c\x011\x85R.",
    "inst": b"(S'touch ran'\nios\nsystem\n.",
    "obj": b"(cos\nsystem\nS'true'\no.",
    "set_of_others": b"\x80\x03cbuiltins\nset\ncbuiltins\neval\n\x85R.",
    "set_of_nothing": b"\x80\x03}X\x01\x00\x00\x00acbuiltins\nset\n)Rs.",
    "dtype_of_objects": b"\x80\x03cnumpy\ndtype\nX\x02\x00\x00\x00O8\x89\x88\x87R.",
    "dtype_itself": b"\x80\x03}X\x01\x00\x00\x00acnumpy\ndtype\ns.",
    "scalar_of_text": b"\x80\x03cnumpy.core.multiarray\nscalar\nX\x01\x00\x00\x00aX\x01\x00\x00\x00a\x86R.",
    "other_numpy": b"\x80\x03cnumpy.core.multiarray\n_reconstruct\n)R.",
    "wrong_bytes": pickle.dumps({"a": np.int16(5)}, 3).replace(b"C\x02\x05\x00", b"C\x01\x05"),
    "build": b"\x80\x02}q\x00}b.",
    "persistent": b"Pabc\n.",
    "extension": b"\x80\x02\x82\x01.",
    "newobj": b"\x80\x02cbuiltins\nset\n)\x81.",
    "no_dict": b"\x80\x02K\x01.",
    "set_itself": b"\x80\x03}X\x01\x00\x00\x00acbuiltins\nset\ns.",
    "bytes": pickle.dumps({"a": b"x"}),
    "floats": pickle.dumps({"a": 1.5}),
    "nested": pickle.dumps({"a": {"b": 1}}),
    "number_as_key": pickle.dumps({1: 2}),
    "truth": pickle.dumps({"a": True}),
    "cut": pickle.dumps({"a": 1, "b": 2})[:-4],
    "empty": b"",
    "text": b"hello there",
    "mark_only": b"(.",
    "underflow": b"s.",
    "no_memo": b"h\x05.",
    "itself": b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s.",
    "mark_left": b"\x80\x02(}.",
    "tuple_as_key": b"\x80\x02})K\x01s.",
    "text_beyond_memory": b"\x80\x04}\x8d" + (2**62).to_bytes(8, "little") + b"a.",
}


@pytest.mark.parametrize("content", HAND_MADE.values(), ids=HAND_MADE.keys())
def test_the_reader_of_plain_pickles_refuses_anything_else(tmp_path, content, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.pkl").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.pkl"):
        read_plain_pickle(tmp_path / "a.pkl")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pkl"]


BOMBS = {
    "nested tuples as a key": b"\x80\x02})" + b"\x85" * 250_000 + b"K\x01s.",
    "nested tuples as a value": b"\x80\x02}X\x01\x00\x00\x00a)" + b"\x85" * 100_000 + b"s.",
    "nested lists": b"\x80\x02}X\x01\x00\x00\x00a" + b"]" * 50_000 + b"a" * 49_999 + b"s.",
    "nested dicts": b"\x80\x02" + b"}X\x01\x00\x00\x00a" * 49_999 + b"K\x01" + b"s" * 49_999 + b".",
    "shared tuples as a key": b"\x80\x02})" + b"".join(b"q%ch%c\x86" % (i, i) for i in range(60)) + b"K\x01s.",
    "shared tuples as a name": b"\x80\x04)" + b"".join(b"q%ch%c\x86" % (i, i) for i in range(60)) + b"\x93.",
    "many marks": b"\x80\x02" + b"(" * 60_000 + b"t" * 60_000 + b".",
    "one list in many sets": b"\x80\x03cbuiltins\nset\nq\x01]q\x02("
    + b"N" * 100_000
    + b"e"
    + b"h\x01h\x02\x85R" * 20_000
    + b".",
    "one set under many names": b"\x80\x04}(\x8c\x01a\x8f\x94("
    + b"".join(b"\x8c\x04%04d" % i for i in range(10_000))
    + b"\x90"
    + b"".join(b"\x8c\x05%05dh\x00" % i for i in range(10_000))
    + b"u.",
}


def test_bombs_are_refused_in_time_that_grows_with_the_file(tmp_path):
    """In a process of its own, because each file ended the interpreter or kept it busy for ever."""
    for name, content in BOMBS.items():
        (tmp_path / f"{name}.pkl").write_bytes(content)
    script = (
        "import pathlib, sys\n"
        "from heldout.reading.embeddings.plain_pickle import read_plain_pickle\n"
        "for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):\n"
        "    try: read_plain_pickle(path)\n"
        "    except ValueError: print(path.stem)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == sorted(BOMBS)


def header(text, size=16):
    raw = text.encode()
    return len(raw).to_bytes(8, "little") + raw + bytes(size)


def entry(dtype="F32", shape=(1, 4), offsets=(0, 16)):
    tensor = {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}
    return header(json.dumps({"bert.embeddings.word_embeddings.weight": tensor}))


DAMAGED = {
    "nothing": b"",
    "huge_header": (2**63).to_bytes(8, "little") + b"{}",
    "no_json": header("{oops"),
    "nested": header("[" * 100_000),
    "list": header("[]"),
    "beyond_the_end": entry(offsets=(0, 64), shape=(4, 4)),
    "negative": entry(offsets=(-16, 0)),
    "negative_shape": entry(shape=(-1, -4)),
    "other_size": entry(shape=(1, 3)),
    "integers": entry(dtype="I64"),
    "another_tensor": header(json.dumps({"x": {}})),
    "no_offsets": header(json.dumps({"bert.embeddings.word_embeddings.weight": {"dtype": "F32", "shape": [1, 4]}})),
    "text_as_offsets": entry(offsets=("a", "b")),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())
def test_damaged_safetensors_are_refused(tmp_path, content):
    (tmp_path / "model.safetensors").write_bytes(content)
    (tmp_path / "token_dictionary.json").write_text('["TP53"]')
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        ho.pp.embedding(screen(), tmp_path, format="geneformer")


def test_damaged_torch_file(tmp_path):
    path, _ = uce_file(tmp_path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match="cannot be read as tensors only"):
        ho.pp.embedding(screen(), path, format="uce")


def test_vectors_and_names_must_belong_together(tmp_path):
    scgpt_folder(tmp_path, n_rows=9)
    with pytest.raises(ValueError, match="9 vectors, but .*vocab.json names 8"):
        ho.pp.embedding(screen(), tmp_path, format="scgpt")
    scfoundation_folder(tmp_path, extra=2)
    with pytest.raises(ValueError, match="7 vectors; with 5 gene names it should have 8"):
        ho.pp.embedding(screen(), tmp_path, format="scfoundation")
    model, dictionaries, _ = geneformer_folders(tmp_path)
    tokens = dictionaries / "token_dictionary_gc104M.pkl"
    tokens.write_bytes(pickle.dumps({"<pad>": 0, "ENSG1": 1}))
    with pytest.raises(ValueError, match="7 vectors, but .* names 2"):
        ho.pp.embedding(screen(), model, format="geneformer", names=tokens)
    tokens.write_bytes(pickle.dumps({"<pad>": 0, "ENSG1": 0}))
    with pytest.raises(ValueError, match="a different row number from 0 to"):
        ho.pp.embedding(screen(), model, format="geneformer", names=tokens)


def test_missing_files_say_what_was_looked_for(tmp_path):
    (tmp_path / "readme.md").write_text("")
    for format, words in {
        "scgpt": "best_model.pt",
        "scfoundation": "models.ckpt",
        "geneformer": "model.safetensors",
        "uce": "gene_symbol_to_embedding",
        "gene2vec": "gene2vec",
        "graph": "go_essential_all.csv",
    }.items():
        with pytest.raises(FileNotFoundError, match=words) as caught:
            ho.pp.embedding(screen(), tmp_path, format=format)
        assert "readme.md" in str(caught.value)
        with pytest.raises(FileNotFoundError, match="no such file or folder"):
            ho.pp.embedding(screen(), tmp_path / "nowhere", format=format)
    scgpt_folder(tmp_path)
    (tmp_path / "vocab.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"vocab\.json"):
        ho.pp.embedding(screen(), tmp_path, format="scgpt")
    write_safetensors(tmp_path / "model.safetensors", {"x": vectors(2)})
    with pytest.raises(FileNotFoundError, match="pass it as names="):
        ho.pp.embedding(screen(), tmp_path, format="geneformer")


FRAME = pd.DataFrame(vectors(5), index=GENES)


@pytest.mark.parametrize(
    ("source", "arguments", "words"),
    [
        (FRAME, {"format": "scgtp"}, ["format='scgtp'", "'scgpt'"]),
        (FRAME, {"format": "scgpt"}, ["is a DataFrame"]),
        (FRAME, {"keep": "some"}, ["keep='some'", "'used'"]),
        (FRAME, {"names": GENES}, ["names="]),
        (FRAME, {"key_added": "a/b"}, ["key_added='a/b'"]),
        (FRAME, {"gene_ids_key": "ids"}, ["gene_ids_key='ids'"]),
        (FRAME, {"perturbation_key": "guides"}, ["perturbation_key='guides'", "'guide'"]),
        (FRAME, {"n_comps": 5}, ["n_comps=5", "must be an integer in [1, 4]"]),
        (FRAME, {"n_comps": True}, ["n_comps=True"]),
        ("unknown.bin", {}, ["format=", "'geneformer'"]),
        (FRAME.rename({"MYC": "TP53"}), {}, ["1 names more than once", "'TP53'"]),
        (FRAME.rename({"MYC": ""}), {}, ["1 rows without a name"]),
        (FRAME.replace(FRAME.iloc[1, 1], np.nan), {}, ["NaN", "1 of 5", "'MYC'"]),
        (FRAME.assign(gene=GENES), {}, ["not numbers", "'gene'", "set_index"]),
        (FRAME.iloc[:0], {}, ["0 names"]),
        (FRAME.set_axis([f"ENSG{i}" for i in range(5)]), {}, ["'ENSG0'", "'TP53'", "gene_ids_key="]),
    ],
)
def test_bad_input_is_refused(source, arguments, words, refuses):
    refuses(lambda adata: ho.pp.embedding(adata, source, **arguments), screen(), *words)


def test_a_source_of_another_kind_is_refused():
    with pytest.raises(TypeError, match="got ndarray"):
        ho.pp.embedding(screen(), vectors(5))


def test_a_torch_that_is_not_safe_opens_no_file(tmp_path, monkeypatch):
    scgpt_folder(tmp_path)
    monkeypatch.setattr(torch, "__version__", "2.5.1+cpu")
    with pytest.raises(RuntimeError, match=r"torch>=2\.6"):
        ho.pp.embedding(screen(), tmp_path, format="scgpt")


def test_names_that_fit_only_several_rows_are_no_overlap(refuses):
    source = pd.DataFrame(vectors(2), index=["Tp53", "tp53"])
    refuses(lambda adata: ho.pp.embedding(adata, source), screen(genes=["TP53"]), "No name of source matches", "'Tp53'")


@pytest.mark.parametrize("names", [["MYC+ctrl", "ctrl+MYC"], ["MYC", "MYC+ctrl"], ["MYC+ctrl", "MYC"], ["A+B", "B+A"]])
def test_a_perturbation_spelt_twice_is_refused(names, refuses):
    def call(adata):
        ho.pp.embedding(adata, pd.DataFrame(vectors(2), index=names), perturbation_key="guide", control="ctrl")

    refuses(call, screen(guides=("ctrl", "MYC")), "twice", *map(repr, names))

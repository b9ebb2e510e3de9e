"""Published screens as they are read; small files in their layouts stand for them."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import re
import urllib.error
import urllib.request
import warnings
from io import BytesIO

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import heldout as ho
from heldout.datasets import _screens

SMALL = {
    "norman19": pd.DataFrame(
        {
            "guide_id": ["NegCtrl0_NegCtrl0", "CBL_NegCtrl0", "CBL_UBASH3A", "UBASH3A_NegCtrl0", None],
            "gemgroup": [1, 2, 1, 8, 3],
            "perturbation": ["control", "CBL", "UBASH3A_CBL", "UBASH3A", None],
            "cell_line": "K562",
            "nperts": [0, 1, 2, 1, 0],
        }
    ),
    "adamson16": pd.DataFrame(
        {"perturbation": ["63(mod)_pBA580", "OST4_pDS353", "Gal4-4(mod)_pBA582", "OST4_pDS002", "*", np.nan]}
    ),
    "replogle22": pd.DataFrame(
        {
            "perturbation": ["control", "RPL3", "RPL3", "TAF1"],
            "guide_id": [
                "non-targeting_00001|non-targeting_00002",
                "RPL3_+_1|RPL3_-_2",
                "RPL3_+_1|RPL3_-_2",
                "TAF1_+_3",
            ],
            "batch": [1, 2, 48, 3],
            "cell_line": "hTERT-RPE1",
        }
    ),
    "srivatsan20": pd.DataFrame(
        {
            "perturbation": ["control", "(+)-JQ1", "Trametinib (GSK1120212)", None],
            "cell_line": ["A549", "MCF7", "K562", "A549"],
            "dose_value": [0.0, 10.0, 10000.0, np.nan],
            "time": [24.0, 24.0, 72.0, np.nan],
            "replicate": ["rep1", "rep2", "rep1", None],
            "plate": ["p1", "p2", "p1", None],
            "well": ["A1", "B2", "C3", None],
        }
    ),
}
FUNCTIONS = {name: getattr(ho.datasets, name) for name in SMALL}


def layout_of(name, line="K562"):
    return {
        "norman19": _screens.NORMAN,
        "adamson16": _screens.ADAMSON,
        "replogle22": _screens.REPLOGLE[line],
        "srivatsan20": _screens.SRIVATSAN,
    }[name]


def counts(name):
    return np.random.default_rng(0).poisson(1.0, (len(SMALL[name]), 7)).astype(np.int64)


def content(name, folder, *, kind=sparse.csr_matrix, obs=None):
    """Bytes of a small file in the layout of the published one."""
    obs = (SMALL[name] if obs is None else obs).copy()
    obs.index = [f"AAC{i}-1" for i in range(len(obs))]
    var = pd.DataFrame({"ensembl_id": [f"ENSG{i:011d}" for i in range(7)]}, index=[f"G{i}" for i in range(6)] + ["G0b"])
    var.index.name = "gene_symbol"
    path = folder / "made.h5ad"
    ad.AnnData(kind(counts(name)[: len(obs)]), obs=obs, var=var).write_h5ad(path)
    made = path.read_bytes()
    path.unlink()
    return made


def put(name, folder, monkeypatch, made, line="K562"):
    """Put a file where the published one would be, and let its checksum be the expected one."""
    layout = layout_of(name, line)
    small = dataclasses.replace(layout, md5=hashlib.md5(made).hexdigest())
    if name == "replogle22":
        monkeypatch.setitem(_screens.REPLOGLE, line, small)
    else:
        monkeypatch.setattr(
            _screens, {"norman19": "NORMAN", "adamson16": "ADAMSON", "srivatsan20": "SRIVATSAN"}[name], small
        )
    (folder / layout.file).write_bytes(made)
    return folder / layout.file


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*_, **__):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


def load(name, tmp_path, monkeypatch, **arguments):
    made = content(name, tmp_path, **arguments)
    put(name, tmp_path, monkeypatch, made)
    return FUNCTIONS[name](folder=tmp_path)


def test_norman(tmp_path, monkeypatch):
    adata = load("norman19", tmp_path, monkeypatch)
    assert adata.obs["perturbation"].tolist() == ["control", "CBL", "CBL+UBASH3A", "UBASH3A"]
    assert adata.obs["n_targets"].tolist() == [0, 1, 2, 1]
    assert adata.obs["cell_line"].unique().tolist() == ["K562"]
    assert adata.obs["library"].tolist() == ["1", "2", "1", "8"]
    assert adata.obs["guide"].tolist() == SMALL["norman19"]["guide_id"].tolist()[:4]
    assert adata.uns["norman19"]["n_dropped"] == 1
    np.testing.assert_array_equal(adata.X.toarray(), counts("norman19")[:4])
    assert adata.X.dtype == np.float32
    assert adata.var["ensembl_id"].iloc[0] == "ENSG00000000000"


def test_adamson(tmp_path, monkeypatch):
    adata = load("adamson16", tmp_path, monkeypatch)
    assert adata.obs["perturbation"].tolist() == ["control", "OST4", "control", "OST4"]
    assert adata.obs["guide"].tolist() == ["63(mod)_pBA580", "OST4_pDS353", "Gal4-4(mod)_pBA582", "OST4_pDS002"]
    assert adata.uns["adamson16"]["n_dropped"] == 2
    np.testing.assert_array_equal(adata.X.toarray(), counts("adamson16")[:4])


@pytest.mark.parametrize("line", ["K562", "RPE1"])
def test_replogle(tmp_path, monkeypatch, line):
    made = content("replogle22", tmp_path, kind=np.array)
    path = put("replogle22", tmp_path, monkeypatch, made, line)
    adata = ho.datasets.replogle22(cell_line=line, folder=tmp_path)
    assert adata.obs["perturbation"].tolist() == ["control", "RPL3", "RPL3", "TAF1"]
    assert adata.obs["n_targets"].tolist() == [0, 1, 1, 1]
    assert adata.obs["cell_line"].unique().tolist() == [line]
    assert adata.obs["library"].tolist() == ["1", "2", "48", "3"]
    assert sparse.issparse(adata.X)
    np.testing.assert_array_equal(adata.X.toarray(), counts("replogle22"))
    assert adata.uns["replogle22"]["url"].endswith(path.name)


def test_replogle_refuses_another_line(tmp_path):
    with pytest.raises(ValueError, match="cell_line='HepG2'"):
        ho.datasets.replogle22(cell_line="HepG2", folder=tmp_path)


def test_srivatsan(tmp_path, monkeypatch):
    adata = load("srivatsan20", tmp_path, monkeypatch)
    assert adata.obs["perturbation"].tolist() == ["control", "(+)-JQ1", "Trametinib (GSK1120212)"]
    assert adata.obs["n_targets"].tolist() == [0, 1, 1]
    assert adata.obs["cell_line"].tolist() == ["A549", "MCF7", "K562"]
    assert adata.obs["dose"].tolist() == [0, 10, 10000]
    assert adata.obs["time_h"].tolist() == [24, 24, 72]
    assert adata.obs["library"].tolist() == ["p1", "p2", "p1"]
    assert adata.uns["srivatsan20"]["n_dropped"] == 1


@pytest.mark.parametrize("kind", [np.array, sparse.csr_matrix, sparse.csc_matrix])
def test_any_kind_of_matrix_is_read_in_pieces(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(_screens, "row_chunks", lambda n: (slice(i, min(i + 2, n)) for i in range(0, n, 2)))
    adata = load("adamson16", tmp_path, monkeypatch, kind=kind)
    np.testing.assert_array_equal(adata.X.toarray(), counts("adamson16")[:4])
    assert adata.X.format == "csr"


@pytest.mark.parametrize("name", SMALL)
def test_it_is_stored_and_split(tmp_path, monkeypatch, name):
    rows = SMALL[name].loc[np.repeat(SMALL[name].index, 20)].reset_index(drop=True)
    monkeypatch.setitem(SMALL, name, rows)
    adata = load(name, tmp_path, monkeypatch)
    adata.write_h5ad(tmp_path / "stored.h5ad")
    again = ad.read_h5ad(tmp_path / "stored.h5ad")
    assert again.obs["perturbation"].tolist() == adata.obs["perturbation"].tolist()
    if name != "adamson16":  # which has one target only
        separator = None if name == "srivatsan20" else "+"
        ho.pp.split_perturbations(adata, "perturbation", val=0, test=0.5, separator=separator)
        assert {"train", "test"} <= set(adata.obs["split"])


def test_names_that_occur_twice_are_told_apart(tmp_path, monkeypatch):
    made = ad.read_h5ad(BytesIO(content("norman19", tmp_path)))
    made.var_names = ["G0", "G0", *made.var_names[2:]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # anndata says that names are not unique
        made.copy().write_h5ad(tmp_path / "made.h5ad")
    put("norman19", tmp_path, monkeypatch, (tmp_path / "made.h5ad").read_bytes())
    assert ho.datasets.norman19(folder=tmp_path).var_names.is_unique


@pytest.mark.parametrize("name", SMALL)
def test_offline_it_says_where_to_put_the_file(tmp_path, name):
    layout = layout_of(name)
    with pytest.raises(OSError, match=re.escape(f"put it at {tmp_path / layout.file}")) as caught:
        FUNCTIONS[name](folder=tmp_path)
    assert layout.url in str(caught.value)
    assert layout.url.startswith("https://zenodo.org/records/13350497/files/")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", SMALL)
def test_another_file_has_another_checksum(tmp_path, name):
    layout = layout_of(name)
    (tmp_path / layout.file).write_bytes(content(name, tmp_path))
    with pytest.raises(ValueError, match=rf"another checksum .*{layout.md5}.* Delete it"):
        FUNCTIONS[name](folder=tmp_path)


def test_a_download_is_checked_and_kept(tmp_path, monkeypatch):
    made = content("norman19", tmp_path)
    path = put("norman19", tmp_path, monkeypatch, made)
    path.unlink()
    requests = []

    class Answer(BytesIO):
        headers = {"Content-Length": str(len(made))}

    def opened(url, timeout):
        requests.append(url)
        return contextlib.closing(Answer(made))

    monkeypatch.setattr(urllib.request, "urlopen", opened)
    monkeypatch.setenv("HELDOUT_CACHE_DIR", str(tmp_path / "cache"))
    first, again = ho.datasets.norman19(), ho.datasets.norman19()
    assert requests == [_screens.NORMAN.url]
    assert (first.X != again.X).nnz == 0


def test_a_download_that_breaks_off_leaves_nothing(tmp_path, monkeypatch):
    made = content("norman19", tmp_path)

    class Answer(BytesIO):
        headers = {"Content-Length": str(len(made))}

    monkeypatch.setattr(urllib.request, "urlopen", lambda url, timeout: contextlib.closing(Answer(made[:100])))
    with pytest.raises(OSError, match=f"connection closed after 100 of {len(made)} bytes"):
        ho.datasets.norman19(folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("keep", [0, 100, -2000])
def test_a_broken_file_with_the_right_checksum_is_refused(tmp_path, monkeypatch, keep):
    put("norman19", tmp_path, monkeypatch, content("norman19", tmp_path)[:keep])
    with pytest.raises(ValueError, match="cannot be read"):
        ho.datasets.norman19(folder=tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda obs: obs.rename(columns={"perturbation": "condition"}), "no column 'perturbation'"),
        (lambda obs: obs[obs["perturbation"] != "control"], "no control cells"),
    ],
)
def test_another_layout_is_refused(tmp_path, monkeypatch, change, words):
    obs = change(SMALL["norman19"])
    put("norman19", tmp_path, monkeypatch, content("norman19", tmp_path, obs=obs))
    with pytest.raises(ValueError, match=words):
        ho.datasets.norman19(folder=tmp_path)

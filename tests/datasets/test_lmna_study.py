"""GSE269705 as it is read; a small archive in its layout stands for it."""

from __future__ import annotations

import contextlib
import gzip
import io
import re
import tarfile
import urllib.error
import urllib.request

import numpy as np
import pytest
from scipy import sparse
from scipy.io import mmwrite

import heldout as ho
from heldout.datasets import _lmna_study, _resume
from heldout.datasets._lmna import LIBRARIES

GENES = ["LMNA", "MT-ND1", "TTN", "TTN", "ACTB"]


def archive(folder, *, leave_out=(), genes=None, nested=""):
    """An archive with seven cells a library: cell i has i counts in each of its first genes."""
    path = folder / "GSE269705_RAW.tar"
    rng = np.random.default_rng(0)
    with tarfile.open(path, "w") as tar:
        for library, genotype, day in LIBRARIES:
            X = rng.poisson(2, size=(7, 5))
            X[0] = [3, 0, 0, 0, 0]
            matrix = io.BytesIO()
            mmwrite(matrix, sparse.coo_matrix(X.T))
            own = GENES if genes is None else genes(library)
            files = {
                "matrix.mtx": matrix.getvalue(),
                "barcodes.tsv": "".join(f"CELL{i}-1\n" for i in range(7)).encode(),
                "features.tsv": "".join(f"ENSG{i}\t{name}\tGene Expression\n" for i, name in enumerate(own)).encode(),
            }
            for kind, content in files.items():
                if (library, kind) in leave_out:
                    continue
                raw = gzip.compress(content)
                info = tarfile.TarInfo(f"{nested}{library}_{genotype}_D{day}_{kind}.gz")
                info.size = len(raw)
                tar.addfile(info, io.BytesIO(raw))
    return path


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_, **__):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


def test_libraries_days_and_people(tmp_path, no_network):
    path = archive(tmp_path)
    adata = ho.datasets.lmna(folder=tmp_path, min_genes=1)
    assert adata.shape == (84, 5)
    table = adata.obs.drop_duplicates("library").astype(str)[["library", "genotype", "day"]]
    assert [tuple(row) for row in table.to_numpy()] == [(a, b, str(c)) for a, b, c in LIBRARIES]
    assert adata.obs.groupby("donor", observed=True)["genotype"].nunique().to_dict() == {"patient": 1, "sister": 1}
    assert adata.var_names.tolist() == ["LMNA", "MT-ND1", "TTN", "TTN-1", "ACTB"]
    assert adata.obs_names[0] == "GSM8325046_CELL0-1"
    np.testing.assert_allclose(adata.obs["total_counts"], adata.X.toarray().sum(axis=1))
    np.testing.assert_allclose(
        adata.obs["pct_counts_mt"], 100 * adata.X.toarray()[:, 1] / adata.X.toarray().sum(axis=1), rtol=1e-5
    )
    assert adata.uns["lmna"] == {"url": _lmna_study.URL, "sha256": _lmna_study.sha256_of(path)}
    ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=19, val=0)


def test_poor_barcodes_are_left_out(tmp_path, no_network):
    archive(tmp_path, nested="raw/")
    assert (ho.datasets.lmna(folder=tmp_path, min_genes=2).obs["n_genes_by_counts"] >= 2).all()


def test_another_archive_is_refused(tmp_path, no_network):
    archive(tmp_path, leave_out={("GSM8325050", "barcodes.tsv")})
    with pytest.raises(ValueError, match="of 1 of 12 libraries .e.g. GSM8325050."):
        ho.datasets.lmna(folder=tmp_path)
    archive(tmp_path, genes=lambda library: GENES[::-1] if library == "GSM8325057" else GENES)
    with pytest.raises(ValueError, match="do not list the same genes"):
        ho.datasets.lmna(folder=tmp_path)
    path = archive(tmp_path)
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(ValueError, match="Delete it"):
        ho.datasets.lmna(folder=tmp_path)
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="cannot be read"):
        ho.datasets.lmna(folder=tmp_path)


def test_offline_it_says_where_to_put_the_archive(tmp_path, no_network):
    with pytest.raises(OSError, match=re.escape(f"put it at {tmp_path / 'GSE269705_RAW.tar'}")) as caught:
        ho.datasets.lmna(folder=tmp_path)
    assert _lmna_study.URL in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_download_goes_on_where_it_broke_off(tmp_path, monkeypatch):
    content, asked = bytes(range(200)), []

    class Answer(io.BytesIO):
        headers: dict[str, str]

    def opened(request, timeout):
        start = int(request.headers.get("Range", "bytes=0-")[6:-1])
        asked.append(start)
        answer = Answer(content[start : start + 120])
        answer.headers = {"Content-Length": str(len(content) - start)}
        if start:
            answer.headers["Content-Range"] = f"bytes {start}-199/200"
        return contextlib.closing(answer)

    monkeypatch.setattr(urllib.request, "urlopen", opened)
    url = "https://example.org/large.tar"
    with pytest.raises(OSError, match="connection closed after 120 of 200 bytes.*120 bytes are kept"):
        _resume.resumed(url, tmp_path)
    assert _resume.resumed(url, tmp_path).read_bytes() == content
    assert asked == [0, 120]
    assert [path.name for path in tmp_path.iterdir()] == ["large.tar"]
    assert _resume.resumed(url, tmp_path).read_bytes() == content
    assert asked == [0, 120], "what is whole is not asked for again"


def test_a_server_that_sends_no_parts_is_asked_for_all(tmp_path, monkeypatch):
    class Answer(io.BytesIO):
        headers = {"Content-Length": "5"}

    monkeypatch.setattr(urllib.request, "urlopen", lambda request, timeout: contextlib.closing(Answer(b"whole")))
    (tmp_path / "a.tar.part").write_bytes(b"old")
    assert _resume.resumed("https://example.org/a.tar", tmp_path).read_bytes() == b"whole"

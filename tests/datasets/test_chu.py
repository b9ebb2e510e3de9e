"""The file of Chu et al. 2016 as it is read; a small file in its layout stands for it."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import re
import urllib.error
import urllib.request
from io import BytesIO

import numpy as np
import pandas as pd
import pytest

import heldout as ho
from heldout.datasets import _chu, _download

NAME = "GSE75748_sc_time_course_ec.csv.gz"
HOURS = {"00hb4s": 0, "12h": 12, "24h": 24, "36h": 36, "72h": 72, "96h": 96}


def table(n_genes=30, cells=None):
    """Expected counts in the layout of the file: genes in rows, cells such as H9.00hb4s_001 in columns."""
    cells = dict.fromkeys(HOURS.values(), 2) if cells is None else cells
    names = [f"H9.{word}_{i:03d}" for word, hour in HOURS.items() for i in range(1, cells[hour] + 1)]
    rng = np.random.default_rng(0)
    values = np.round(rng.gamma(0.3, 50, (n_genes, len(names))), 2) * (rng.random((n_genes, len(names))) < 0.5)
    return pd.DataFrame(values, index=[f"G{i}" for i in range(n_genes)], columns=names)


def write(frame, folder):
    frame.to_csv(folder / NAME)
    return folder / NAME


@pytest.fixture
def small(monkeypatch):
    """What is expected of the file, for the small one."""
    monkeypatch.setattr(_chu, "CELLS", dict.fromkeys(HOURS.values(), 2))
    monkeypatch.setattr(_chu, "N_GENES", 30)


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_, **__):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


@pytest.fixture
def served(monkeypatch):
    """Function: serve these bytes, with this content length, and count the requests."""
    requests = []

    class Answer(BytesIO):
        headers: dict[str, str]

    def serve(content, length=None):
        def opened(url, timeout):
            requests.append(url)
            answer = Answer(content)
            answer.headers = {"Content-Length": str(len(content) if length is None else length)}
            return contextlib.closing(answer)

        monkeypatch.setattr(urllib.request, "urlopen", opened)
        return requests

    return serve


def test_times_and_values(tmp_path, small, no_network):
    frame = table()
    path = write(frame, tmp_path)
    adata = ho.datasets.chu16(folder=tmp_path)
    assert adata.shape == (12, 30)
    assert adata.obs["time_h"].tolist() == [0, 0, 12, 12, 24, 24, 36, 36, 72, 72, 96, 96]
    assert adata.obs["time_h"].dtype == np.float64
    assert adata.obs_names.tolist() == frame.columns.tolist()
    assert adata.var_names.tolist() == frame.index.tolist()
    np.testing.assert_allclose(adata.X.toarray(), frame.to_numpy().T, rtol=1e-6)
    assert adata.X.dtype == np.float32
    assert adata.uns["chu16"] == {"url": _chu.URL, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def test_the_published_numbers_are_expected(tmp_path, no_network):
    assert sum(_chu.CELLS.values()) == 758
    write(table(), tmp_path)
    with pytest.raises(ValueError, match=r"it has 30 genes, .* expected are 19189 and \{0: 92"):
        ho.datasets.chu16(folder=tmp_path)


def test_it_can_be_forecast(tmp_path, small, no_network):
    write(table(), tmp_path)
    adata = ho.datasets.chu16(folder=tmp_path)
    ho.pp.split_time(adata, "time_h", test=96)
    assert adata.obs["split"].value_counts()["test"] == 2


def test_a_gene_that_occurs_twice_gets_a_name_of_its_own(tmp_path, small, no_network):
    frame = table()
    frame.index = ["G0", *frame.index[:-1]]
    write(frame, tmp_path)
    assert ho.datasets.chu16(folder=tmp_path).var_names[:3].tolist() == ["G0", "G0-1", "G1"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f.rename(columns={"H9.12h_001": "H9.12_001"}), "1 columns .*H9.12_001"),
        (lambda f: f * -1, "negative"),
        (lambda f: f.where(f > 0), "missing"),
        (lambda f: f.astype(object).replace(0, "none"), "not numbers"),
        (lambda f: f.iloc[:, :0], "0 columns"),
    ],
)
def test_another_file_is_refused(tmp_path, small, no_network, change, words):
    write(change(table()), tmp_path)
    with pytest.raises(ValueError, match=words):
        ho.datasets.chu16(folder=tmp_path)


@pytest.mark.parametrize("keep", [0, 40, -20])
def test_a_broken_file_is_refused(tmp_path, small, no_network, keep):
    path = write(table(), tmp_path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match="Delete it"):
        ho.datasets.chu16(folder=tmp_path)


def test_offline_it_says_where_to_put_the_file(tmp_path, no_network):
    with pytest.raises(OSError, match=re.escape(f"put it at {tmp_path / NAME}")) as caught:
        ho.datasets.chu16(folder=tmp_path)
    assert _chu.URL in str(caught.value)
    assert "no route to host" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_it_is_downloaded_once(tmp_path, small, served, monkeypatch):
    monkeypatch.setenv("HELDOUT_CACHE_DIR", str(tmp_path / "cache"))
    requests = served(gzip.compress(table().to_csv().encode()))
    first, again = ho.datasets.chu16(), ho.datasets.chu16()
    assert requests == [_chu.URL]
    assert (first.X != again.X).nnz == 0
    assert [p.name for p in (tmp_path / "cache").iterdir()] == [NAME]


def test_a_download_that_breaks_off_leaves_nothing(tmp_path, served):
    content = gzip.compress(table().to_csv().encode())
    served(content[:50], length=len(content))
    with pytest.raises(OSError, match=f"connection closed after 50 of {len(content)} bytes"):
        ho.datasets.chu16(folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_known_checksum_is_checked(tmp_path, served):
    served(b"content")
    right = hashlib.sha256(b"content").hexdigest()
    url = "https://example.org/data/file.bin"
    assert _download.fetched(url, tmp_path, sha256=right).read_bytes() == b"content"
    with pytest.raises(ValueError, match=rf"{right}.*{'0' * 64}"):
        _download.fetched(url, tmp_path, sha256="0" * 64)


def test_the_cache_is_where_it_is_wanted(monkeypatch, tmp_path):
    monkeypatch.delenv("HELDOUT_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert _download.cache_dir() == tmp_path / "heldout"
    monkeypatch.setenv("HELDOUT_CACHE_DIR", str(tmp_path / "own"))
    assert _download.cache_dir() == tmp_path / "own"

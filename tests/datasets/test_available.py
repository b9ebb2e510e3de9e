"""The list of data sets agrees with the functions, and sees what was downloaded."""

from __future__ import annotations

import heldout as ho
from tests.helpers.paths import ROOT


def test_each_data_set_is_listed():
    names = ho.datasets.available().index.str.extract(r"^(\w+)\(.*\)$", expand=False)
    assert set(names) == set(ho.datasets.__all__) - {"available", "branching_cells"}


def test_sizes_are_those_of_the_docstrings():
    table = ho.datasets.available().dropna(subset="n_obs")
    for row in table.itertuples():
        documented = getattr(ho.datasets, row.Index.split("(")[0]).__doc__
        assert f"{row.n_obs:,}" in documented
        assert f"{row.n_vars:,}" in documented
        assert row.Index == "chu16()" or f"{row.download_gb:g}" in documented


def test_a_downloaded_file_is_seen(tmp_path):
    assert not ho.datasets.available(folder=tmp_path).query("download_gb > 0")["here"].any()
    (tmp_path / "NormanWeissman2019_filtered.h5ad").touch()
    found = ho.datasets.available(folder=tmp_path).query("download_gb > 0 and here")
    assert found.index.tolist() == ["norman19()"]


def test_the_page_has_the_same_sizes():
    page = (ROOT / "docs" / "api" / "datasets.md").read_text()
    for row in ho.datasets.available().dropna(subset=["download_gb", "n_obs"]).itertuples():
        call = row.Index.removesuffix("()")
        assert f"| `{call}` | {row.n_obs:,} × {row.n_vars:,} | {row.download_gb:g} GB |" in page

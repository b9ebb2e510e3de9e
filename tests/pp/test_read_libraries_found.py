"""Files as people really have them: sheets from spreadsheets, ids in different forms, older layouts, quoted names."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import heldout as ho
from tests.helpers.libraries_on_disk import write_folder

OPEN = {"min_genes": None, "max_genes": None, "max_pct_mito": None, "n_cells": None}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1252"])
def test_values_of_a_sheet_stay_what_they_say(encoding, tmp_path):
    for i, name in enumerate("ab"):
        write_folder(tmp_path / name, i)
    lines = ["library;path;treatment;donor;dose;clinic", "001;a;drug;001;0,5;Zürich", "NA;b;None;010;;Åbo"]
    (tmp_path / "sheet.csv").write_bytes("\r\n".join(lines).encode(encoding))
    adata = ho.pp.read_libraries(tmp_path / "sheet.csv", tmp_path / "o.zarr", **OPEN)
    found = adata.obs.groupby("library", observed=True).first()
    assert found.index.tolist() == ["001", "NA"]
    assert found["treatment"].tolist() == ["drug", "None"]
    assert found["donor"].tolist() == ["001", "010"]
    assert found["clinic"].tolist() == ["Zürich", "Åbo"]
    np.testing.assert_array_equal(found["dose"], [0.5, np.nan])
    again = ho.pp.read_libraries(tmp_path / "sheet.csv", tmp_path / "o.zarr", **OPEN)
    pd.testing.assert_frame_equal(again.obs, adata.obs)

"""Tables as people have them: encodings, separators, spreadsheets, and values that stay what they say."""

from __future__ import annotations

import bz2
import gzip
import logging

import numpy as np
import pandas as pd
import pytest

from heldout._core.text_tables import encoding_of, pandas_options, read_text_table

TEXT = "library,path,patient,arm\nL1,raw/L1,Müller,drug\nL2,raw/L2,Åsa,None\n"


def table(path, content, **kwargs):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_text_table(path, "sheet", kwargs.get("needed", ("library", "path")))


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "latin-1"]
)
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_encodings_and_separators(encoding, separator, newline, tmp_path):
    content = TEXT.replace(",", separator).replace("\n", newline).encode(encoding)
    found = table(tmp_path / "s.csv", content)
    assert found.to_dict("list") == {
        "library": ["L1", "L2"],
        "path": ["raw/L1", "raw/L2"],
        "patient": ["Müller", "Åsa"],
        "arm": ["drug", "None"],
    }


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress], ids=["gzip", "bz2"])
def test_compressed(compress, tmp_path):
    assert table(tmp_path / "s.csv.gz", compress(TEXT.encode("utf-16")))["patient"].tolist() == ["Müller", "Åsa"]


def test_a_guess_is_said(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "heldout"):
        table(tmp_path / "s.csv", TEXT.encode("cp1252"))
    assert "Windows-1252" in caplog.text


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1", "2"], [1, 2]),
        (["1", "2.5"], [1, 2.5]),
        (["1e-6", "5E-06"], [1e-6, 5e-6]),
        (["1", ""], [1, np.nan]),
        (["1.5", "NA"], [1.5, np.nan]),
        (["True", "FALSE"], [True, False]),
        (["001", "010"], ["001", "010"]),
        (["1", "02"], ["1", "02"]),
        (["NA", "None"], ["NA", "None"]),
        (["drug", "nan"], ["drug", "nan"]),
        (["001", "NA"], ["001", "NA"]),
        (["1E5", "2E5"], ["1E5", "2E5"]),
        (["20240131123456789", "20240131123456790"], ["20240131123456789", "20240131123456790"]),
        (["+1", "2"], ["+1", "2"]),
        (["inf", "info"], ["inf", "info"]),
        (["3 ", " 4"], [3, 4]),
        (["drug ", "drug"], ["drug", "drug"]),
        (["a", ""], ["a", None]),
        (["", ""], [None, None]),
    ],
)
def test_values(values, expected, tmp_path):
    found = table(tmp_path / "s.csv", "library,path,x\n" + "".join(f"L,p,{value}\n" for value in values))["x"]
    pd.testing.assert_series_equal(found, pd.Series(expected, name="x"), check_dtype=False)


def test_words_for_missing_are_named(tmp_path, caplog):
    with caplog.at_level(logging.INFO, "heldout"):
        table(tmp_path / "s.csv", "library,path,age,arm\nL,p,3,None\nM,q,NA,drug\n")
    assert "'age' has numbers; 'NA' is read as missing" in caplog.text
    assert "'arm' has the value 'None', kept as text" in caplog.text


def test_what_spreadsheets_add(tmp_path):
    text = 'sep=;\n\nlibrary;path;dose;note;;\nL1;a;0,5;"x;y";;\n;;;;;\nL2;b;1,25;z\n'
    found = table(tmp_path / "s.csv", text)
    assert found.to_dict("list") == {
        "library": ["L1", "L2"],
        "path": ["a", "b"],
        "dose": [0.5, 1.25],
        "note": ["x;y", "z"],
    }


def test_names_of_libraries_stay(tmp_path):
    found = table(tmp_path / "s.csv", "library,path\n001,1\nNA,2\n")
    assert found["library"].tolist() == ["001", "NA"]
    assert found["path"].tolist() == ["1", "2"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"library,path,x\nL,a,drug, high\n", "4 fields in line 2, but 3 columns"),
        (b"library,path,x,x\nL,a,1,2\n", "several columns named 'x'"),
        (b'library,path,x\nL,a,"open\nM,b,c\n', "quotation marks"),
        (b"PK\x03\x04rest", "Excel"),
        (b"\xd0\xcf\x11\xe0rest", "Excel"),
        (b"\x89HDF\r\n\x1a\n\x00\x00\x00\x01\x02\x03", "not a text file"),
    ],
)
def test_refused(content, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        table(tmp_path / "s.csv", content)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_options_of_pandas(encoding, separator, tmp_path):
    path = tmp_path / "s.csv"
    path.write_bytes(TEXT.replace(",", separator).encode(encoding))
    found = pd.read_csv(path, keep_default_na=False, **pandas_options(path))
    assert list(found.columns) == ["library", "path", "patient", "arm"]
    assert found["patient"].tolist() == ["Müller", "Åsa"]


def test_encoding_beyond_the_first_block(tmp_path):
    (tmp_path / "s.csv").write_bytes(b"a\n" * 2**20 + "ü\n".encode())
    assert encoding_of(tmp_path / "s.csv") == "utf-8"

"""The command ``heldout``: a pipeline from a file to a page, what it prints, its exit codes, and what it writes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import get_args

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from typer.testing import CliRunner

import heldout as ho
from heldout._cli._app import app
from heldout._cli._split import HeldOut
from heldout.pp._split_perturbations import HoldOut
from tests.helpers.evaluated import donors
from tests.helpers.perturbations import combinations

FEW = ["--n-bootstrap", "50", "--baseline", "majority"]


def run(*arguments: object, code: int = 0) -> str:
    """Standard output of a command that ends with this exit code, without a traceback."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.stdout


def error(*arguments: object, code: int = 1) -> str:
    """The message of a command that fails, in one line."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    return " ".join(re.sub(r"[│╭╮╰╯─]", " ", result.stderr).split())


@pytest.fixture(scope="module")
def study():
    """Donors, log-normalised, without a split."""
    adata = donors()
    for name in ("split", "genotype_prediction", "genotype_probability"):
        del adata.obs[name]
    del adata.uns["heldout"], adata.obsm["genotype_log_probability"]
    number = adata.obs["donor"].str[-2:].astype(int)
    adata.obs["day"] = np.select([number < 12, number < 26], [1.5, 2.0], 3.0)
    return adata


@pytest.fixture(params=[np.asarray, sparse.csr_matrix], ids=["dense", "csr"])
def file(request, study, tmp_path):
    adata = study.copy()
    adata.X = request.param(adata.X)
    adata.layers["counts"] = adata.X.copy()
    adata.write_h5ad(tmp_path / "cells.h5ad", compression="gzip")
    return tmp_path / "cells.h5ad"


@pytest.fixture
def cells(study, tmp_path):
    study.write_h5ad(tmp_path / "cells.h5ad")
    return tmp_path / "cells.h5ad"


GROUPS = ["--scheme", "groups", "--group-key", "donor", "--label-key", "status", "--test", "0.5"]


@pytest.mark.parametrize("file", [sparse.csr_matrix], indirect=True)
def test_a_pipeline(file, tmp_path):
    split, audited, judged = (tmp_path / name for name in ("split.h5ad", "audited.h5ad", "judged.h5ad"))
    made = json.loads(run("split", file, *GROUPS, "-o", split, "--json"))
    assert made["scheme"] == "groups"
    assert made["written"] == str(split)
    assert sum(made["cells"].values()) == 480
    found = json.loads(run("audit", split, "-o", audited, "--json", "--item", "integrity", "--item", "group_overlap"))
    assert found["failed"] is False
    assert {row["item"] for row in found["findings"] if row["status"] == "pass"} == {"integrity", "group_overlap"}
    adata = ad.read_h5ad(audited)
    ho.tl.genotype(adata, "status", method="pseudobulk_logistic")
    adata.write_h5ad(audited)
    answer = json.loads(run("evaluate", audited, *FEW, "-o", judged, "--json"))
    stored = ad.read_h5ad(judged)
    report = ho.get.evaluation(stored)
    assert answer["answer"] == report.answer
    assert answer["look"] == 1
    assert answer["leak"] is None
    assert len(answer["rows"]) == len(report)
    assert [row["verdict"] for row in answer["verdicts"] if row["metric"] == "auc"] == ["better"]
    page = json.loads(run("report", judged, "--out", tmp_path / "page.html", "--json"))
    assert Path(page["written"]).stat().st_size == page["bytes"]
    assert report.answer in Path(page["written"]).read_text(encoding="utf-8")
    assert len(ho.get.ledger(stored)) == 1
    assert made["hash"] == ho.get.ledger(stored)["split"].iloc[0]


def test_everything_else_in_the_file_stays(file, tmp_path):
    before = ad.read_h5ad(file)
    run("split", file, *GROUPS, "-o", tmp_path / "new.h5ad")
    after = ad.read_h5ad(tmp_path / "new.h5ad")
    assert type(after.X) is type(before.X)
    assert (after.X != before.X).sum() == 0
    assert (after.layers["counts"] != before.layers["counts"]).sum() == 0
    pd.testing.assert_frame_equal(after.obs.drop(columns="split"), before.obs)
    pd.testing.assert_frame_equal(after.var, before.var)
    with h5py.File(tmp_path / "new.h5ad") as new:
        matrix = new["X"] if isinstance(new["X"], h5py.Dataset) else new["X/data"]
        assert matrix.compression == "gzip", "it is copied, not written again"
    assert (tmp_path / "new.h5ad").stat().st_size < 2 * file.stat().st_size


SCHEMES = {
    "groups": (GROUPS, lambda adata: ho.pp.split_groups(adata, "donor", "status", test=0.5)),
    "matched": (
        ["--scheme", "matched", "--group-key", "donor", "--match-key", "day", "--label-key", "status", "--test", "3"],
        lambda adata: ho.pp.split_matched(adata, "donor", "day", label_key="status", test=3.0),
    ),
    "time": (
        ["--scheme", "time", "--time-key", "day", "--test", "3"],
        lambda adata: ho.pp.split_time(adata, "day", test=3.0),
    ),
    "cells": (
        ["--scheme", "cells", "--test", "0.3", "--val", "0", "--seed", "7"],
        lambda adata: ho.pp.split_cells(adata, test=0.3, val=0, rng=7),
    ),
}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_split_is_that_of_the_function(cells, study, scheme, tmp_path):
    options, function = SCHEMES[scheme]
    made = json.loads(run("split", cells, *options, "-o", tmp_path / "new.h5ad", "--json"))
    expected = study.copy()
    function(expected)
    assert made["hash"] == expected.uns["heldout"]["splits"]["split"]["hash"]
    assert ho.get.split(ad.read_h5ad(tmp_path / "new.h5ad")).equals(ho.get.split(expected))


def test_a_split_of_perturbations(tmp_path):
    screen = combinations(n_genes=60)
    del screen.uns["heldout"], screen.obs["split"]
    screen.write_h5ad(tmp_path / "screen.h5ad")
    options = ["--scheme", "perturbations", "--perturbation-key", "perturbation", "--hold-out", "combination"]
    made = json.loads(run("split", tmp_path / "screen.h5ad", *options, "--in-place", "--json", "--test", "0.4"))
    ho.pp.split_perturbations(screen, "perturbation", hold_out="combination", test=0.4)
    assert made["hash"] == screen.uns["heldout"]["splits"]["split"]["hash"]
    assert get_args(HeldOut) == get_args(HoldOut)


def test_an_audit_that_fails(cells, tmp_path):
    run("split", cells, "--scheme", "cells", "--val", "0", "--in-place")
    options = ["--group-key", "donor", "--label-key", "status", "--item", "group_overlap"]
    found = json.loads(run("audit", cells, *options, "-o", tmp_path / "audited.h5ad", "--json", code=3))
    assert found["failed"] is True
    assert found["counts"]["fail"] == 1
    row = next(row for row in found["findings"] if row["status"] == "fail")
    assert "split_groups" in row["advice"]
    assert len(ho.get.audit(ad.read_h5ad(tmp_path / "audited.h5ad"))) == len(found["findings"])
    assert "FAIL" in run("audit", cells, *options, code=3)
    assert "audits" not in ad.read_h5ad(cells).uns["heldout"]


def test_strict_counts_what_cannot_be_decided(cells):
    few = ["--scheme", "groups", "--group-key", "donor", "--label-key", "status", "--test", "0.1", "--val", "0"]
    run("split", cells, *few, "--in-place")
    found = json.loads(run("audit", cells, "--item", "power", "--json"))
    worst = {row["status"] for row in found["findings"]} & {"warn", "unidentifiable"}
    assert worst
    run("audit", cells, "--item", "power", "--strict", code=3)


def test_a_leak(cells):
    run("split", cells, "--scheme", "cells", "--val", "0", "--in-place")
    adata = ad.read_h5ad(cells)
    ho.tl.genotype(adata, "status", method="pseudobulk_logistic", group_key="donor")
    adata.write_h5ad(cells)
    answer = json.loads(run("evaluate", cells, *FEW, "--in-place", "--json", code=4))
    assert "donor" in answer["leak"]
    assert len(ho.get.ledger(ad.read_h5ad(cells))) == 1, "the look is counted"


def test_probabilities_of_another_tool(cells):
    run("split", cells, *GROUPS, "--in-place")
    adata = ad.read_h5ad(cells)
    adata.obs["p_sick"] = 1 / (1 + np.exp(-4 * (adata.X[:, :3].mean(axis=1) - 5.5)))
    adata.write_h5ad(cells)
    options = ["--probabilities", "p_sick", "--label-key", "status", "--key-added", "mine", "--in-place"]
    answer = json.loads(run("evaluate", cells, *options, "--json"))
    stored = ad.read_h5ad(cells)
    assert answer["key"] == "mine"
    assert answer["answer"] == ho.get.summary(stored, "mine")
    assert answer["rows"][0]["estimate"] == ho.get.comparison(stored, "mine", by="pooled")["estimate"].iloc[0]
    with pytest.warns(UserWarning, match="the wrong way round"):
        inverted = json.loads(run("evaluate", cells, *options, "--positive-class", "healthy", "--json"))
    assert inverted["rows"][0]["estimate"] == pytest.approx(1 - answer["rows"][0]["estimate"])


def test_a_failure_leaves_the_file(cells):
    before = cells.read_bytes()
    text = error("split", cells, "--scheme", "groups", "--group-key", "donr", "--in-place")
    assert "group_key='donr' is not a column of adata.obs. Did you mean 'donor'?" in text
    assert text.startswith("heldout: error:")
    error("evaluate", cells, "--in-place")
    assert cells.read_bytes() == before
    assert [path.name for path in cells.parent.iterdir()] == ["cells.h5ad"]


def test_where_to_write(cells, tmp_path):
    taken = tmp_path / "taken.h5ad"
    taken.write_text("old")
    assert "Pass --out FILE to write a new file, or --in-place" in error("split", cells, *GROUPS)
    assert "counts each look" in error("evaluate", cells)
    assert "Pass one of them" in error("split", cells, *GROUPS, "-o", tmp_path / "a.h5ad", "--in-place")
    assert "Pass --in-place to change this file" in error("split", cells, *GROUPS, "-o", cells)
    assert "pass --overwrite" in error("split", cells, *GROUPS, "-o", taken)
    assert "Make it first" in error("split", cells, *GROUPS, "-o", tmp_path / "no" / "a.h5ad")
    assert taken.read_text() == "old"
    run("split", cells, *GROUPS, "-o", taken, "--overwrite")
    assert "split" in ad.read_h5ad(taken).obs


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "text.h5ad").write_text("not a file of cells")
    with h5py.File(tmp_path / "other.h5ad", "w") as other:
        other["table"] = np.arange(3)
    assert "is not a file. Pass the path of an .h5ad file" in error("audit", tmp_path / "no.h5ad")
    assert "is not an .h5ad file" in error("audit", tmp_path / "text.h5ad")
    assert "is not an .h5ad file" in error("audit", tmp_path / "other.h5ad")
    assert "nothing to report" not in error("report", tmp_path / "text.h5ad", "-o", tmp_path / "page.html")


USAGE = [
    (["split", "--scheme", "groups"], "needs --group-key"),
    (["split", "--scheme", "matched", "--group-key", "donor"], "needs --match-key and --label-key and --test"),
    (
        ["split", "--scheme", "cells", "--group-key", "donor"],
        "does not use --group-key. It takes --test, --val, --seed",
    ),
    (["split", "--scheme", "groups", "--group-key", "donor", "--test", "many"], "--test must be a number here"),
    (["split", "--scheme", "cells", "--test", "0.1", "--test", "0.2"], "takes one --test"),
    (["split", "--scheme", "donors"], "donors"),
    (["evaluate", "--probabilities", "p"], "needs --label-key"),
    (["evaluate", "--key", "a", "--probabilities", "p"], "Pass one of them"),
    (["evaluate", "--label-key", "status"], "are for --probabilities"),
    (["evaluate", "--key-added", "b"], "has the name of the fit"),
    (["evaluate", "--probabilities", "p", "--label-key", "l", "--baseline", "majority"], "does not use --baseline"),
    (["report"], "--out"),
]


@pytest.mark.parametrize(("arguments", "message"), USAGE)
def test_wrong_options(cells, arguments, message):
    command, *options = arguments
    assert message in error(command, cells, *options, code=2)


@pytest.mark.parametrize("command", ["split", "audit", "evaluate", "report"])
def test_help_names_every_option(command):
    text = run(command, "--help")
    options = next(entry for entry in app.registered_commands if entry.callback.__name__ == command).callback
    for name in options.__annotations__.keys() - {"return", "file"}:
        assert f"--{name.replace('_', '-')}" in text
    assert command in run("--help")


def test_codes_and_version():
    assert "3 the audit failed" in " ".join(run("--help").split())
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*\n", run("--version"))


def test_an_audit_without_output_says_so(cells):
    run("split", cells, *GROUPS, "--in-place")
    result = CliRunner().invoke(app, ["audit", str(cells), "--item", "integrity"])
    assert result.exit_code == 0
    assert "nothing was written" in result.stderr
    assert "integrity" in result.stdout

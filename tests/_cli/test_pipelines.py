"""The pipelines of the documentation: the commands of the Snakefile run, and those of Nextflow are the same."""

from __future__ import annotations

import json
import re
import runpy
import shlex
import sys

import pytest
from typer.testing import CliRunner

import heldout as ho
from heldout._cli._app import app
from tests.helpers.paths import ROOT

FOLDER = ROOT / "docs" / "pipelines"
FILES = re.compile(r"\S+\.(?:h5ad|json|html|py)|\$?\{\w+(?:\[\d\])?\}")


def snakemake_rules() -> dict[str, tuple[str, list[str], str]]:
    """Input, outputs and command of each rule of the Snakefile."""
    rules = {}
    for text in (FOLDER / "Snakefile").read_text().split("\nrule ")[1:]:
        name, _, body = text.partition(":")
        source, _, rest = body.partition("output:")
        outputs, _, command = rest.partition("shell:")
        strings = ["".join(re.findall(r'"([^"]*)"', part)) for part in (source, command)]
        rules[name] = (strings[0], re.findall(r'"([^"]*)"', outputs), strings[1])
    return rules


def nextflow_commands() -> list[str]:
    blocks = re.findall(r'"""\n(.*?)"""', (FOLDER / "main.nf").read_text(), re.DOTALL)
    return [" ".join(block.replace("\\\n", " ").split()) for block in blocks]


def without_files(command: str) -> str:
    return " ".join(FILES.sub("FILE", command).split())


def test_both_have_the_same_commands():
    commands = [command for _, _, command in snakemake_rules().values()]
    assert len(commands) == 5
    assert [without_files(command) for command in commands] == [without_files(one) for one in nextflow_commands()]


@pytest.mark.slow
def test_the_commands_run_in_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ho.datasets.lmna_simulated(n_cells=20, n_genes=200).write_h5ad("cells.h5ad")
    for source, outputs, command in snakemake_rules().values():
        filled = command.replace("{input}", source).replace("{output}", outputs[0])
        for number, output in enumerate(outputs):
            filled = filled.replace(f"{{output[{number}]}}", output)
        words, _, to = filled.partition(" > ")
        program, *arguments = shlex.split(words)
        if program == "python":
            monkeypatch.setattr(sys, "argv", arguments)
            runpy.run_path(str(FOLDER / arguments[0]))
            continue
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
        if to:
            (tmp_path / to).write_text(result.stdout)
    assert json.loads((tmp_path / "audit.json").read_text())["failed"] is False
    assert json.loads((tmp_path / "evaluation.json").read_text())["look"] == 1
    assert "Which genotype does a new library have?" in (tmp_path / "report.html").read_text(encoding="utf-8")

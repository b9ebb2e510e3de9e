"""The settings: what they accept, and what changes."""

from __future__ import annotations

import logging
import sys
import types

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest

import heldout as ho
from heldout._core import progress as module
from heldout._core.progress import EVERY, Stage, progress, show_progress

mpl.use("Agg")


@pytest.fixture(autouse=True)
def defaults(monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    yield
    for name in ("n_jobs", "verbosity", "progress", "partition_colors", "class_colors"):
        setattr(ho.settings, name, None)
    plt.close("all")


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("verbosity", "loud", "settings.verbosity='loud' must be one of .*debug., 0 to 4, or None"),
        ("verbosity", 5, "settings.verbosity=5 must be one of"),
        ("verbosity", True, "settings.verbosity=True"),
        ("progress", "yes", "settings.progress='yes' must be True, False or None"),
        ("partition_colors", {"tests": "red"}, "settings.partition_colors='tests' must be one of"),
        ("partition_colors", {"test": "reddish"}, "'reddish' is not a colour of matplotlib"),
        ("class_colors", ["red", "blue"], "at least 4 colours"),
        ("class_colors", "red", "at least 4 colours"),
        ("class_colors", ["red", "blue", "green", 3], "3 is not a colour"),
    ],
)
def test_a_value_that_cannot_be_is_refused(name, value, says):
    before = repr(ho.settings)
    with pytest.raises(ValueError, match=says):
        setattr(ho.settings, name, value)
    assert repr(ho.settings) == before


def test_messages_are_shown_from_the_chosen_level_on(monkeypatch, capsys):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # a program that has not configured logging
    logger = logging.getLogger("heldout")
    for level in ("warning", "info", 1, None):
        ho.settings.verbosity = level
        logger.info("told %s", level)
    assert capsys.readouterr().err == "told info\n"
    ho.settings.verbosity = 3
    assert ho.settings.verbosity == "info"
    ho.settings.verbosity = "error"
    logger.warning("quiet")
    logger.error("loud")
    assert capsys.readouterr().err == "loud\n"


def test_a_program_that_configures_logging_gets_each_message_once(capsys, caplog):
    ho.settings.verbosity = "info"
    logging.getLogger("heldout").info("once")
    assert [record.message for record in caplog.records] == ["once"]
    assert capsys.readouterr().err == ""


def test_bars_are_for_terminals_and_notebooks(monkeypatch):
    assert not show_progress()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert show_progress()
    monkeypatch.setenv("TQDM_DISABLE", "1")
    assert not show_progress()
    ho.settings.progress = True
    assert show_progress()
    ho.settings.progress = None
    monkeypatch.delenv("TQDM_DISABLE")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    shell = type("ZMQInteractiveShell", (), {})()
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    assert show_progress()
    ho.settings.progress = False
    assert not show_progress()


def test_without_a_bar_each_stage_is_a_line(caplog, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    with caplog.at_level("INFO", logger="heldout"):
        for _ in progress(range(3), "fits"):
            list(progress(range(2), "inner"))
            clock[0] += 0.6 * EVERY
    assert [record.message for record in caplog.records] == ["fits: 3", "fits: 2 of 3, 12 s"]
    caplog.clear()
    with caplog.at_level("DEBUG", logger="heldout"):
        for _ in progress(range(1), "fits"):
            list(progress(range(2), "inner"))
    assert [record.message for record in caplog.records] == ["fits: 1", "inner: 2"]


def test_a_stage_that_fails_is_closed(caplog):
    with pytest.raises(RuntimeError), Stage("first", 1):
        raise RuntimeError
    with caplog.at_level("INFO", logger="heldout"):
        list(progress([1], "second"))
    assert [record.message for record in caplog.records] == ["second: 1"]


def test_training_without_a_bar_tells_its_epochs(caplog):
    adata = ho.datasets.lmna_simulated(n_cells=10, n_genes=100)
    ho.pp.split_groups(adata, "library", "genotype")
    with caplog.at_level("INFO", logger="heldout"):
        ho.tl.genotype(adata, method="mlp", config=ho.model.MLPConfig(max_epochs=2, n_hidden=4))
    assert "epochs of training, at most: 2" in [record.message for record in caplog.records]


def test_pictures_have_the_chosen_colours():
    adata = ho.datasets.lmna_simulated(n_cells=10, n_genes=100)
    ho.pp.split_groups(adata, "library", "genotype")

    def drawn():
        shapes = ho.pl.split(adata).findobj(mpl.patches.Rectangle)
        return {mpl.colors.to_hex(shape.get_facecolor()) for shape in shapes}

    assert "#b8174a" in drawn()
    ho.settings.partition_colors = {"test": "black"}
    assert "#000000" in drawn()
    assert "#b8174a" not in drawn()
    assert ho.settings.partition_colors["train"] == "#5588BB"

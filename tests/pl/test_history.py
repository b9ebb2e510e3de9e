"""The curves of a training are those that are stored."""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import heldout as ho
from heldout.pl._history import best_epoch


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def labels_of(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_history_lines_are_the_stored_columns(fitted):
    table = ho.get.history(fitted, "mlp")
    loss, accuracy = ho.pl.history(fitted, "mlp")
    drawn = {"loss": loss.lines[:3], "accuracy": accuracy.lines[:3]}
    for panel, columns in (
        ("loss", ["train_label_loss", "val_label_loss", "val_group_loss"]),
        ("accuracy", ["train_accuracy", "val_accuracy", "val_auc"]),
    ):
        for line, column in zip(drawn[panel], columns, strict=True):
            np.testing.assert_array_equal(line.get_xdata(), table["epoch"])
            np.testing.assert_array_equal(line.get_ydata(), table[column])
    epoch, column, value = best_epoch(table, "val_group_loss")
    assert (column, value) == ("val_group_loss", table["val_group_loss"].min())
    assert {tuple(panel.lines[-1].get_xdata()) for panel in (loss, accuracy)} == {(epoch, epoch)}
    assert loss.get_title(loc="left") == f"mlp: weights of epoch {epoch} kept (val group loss {value:.2f})"
    assert labels_of(accuracy) == ["train", "val", "val AUC (cells)"]


def test_history_uses_the_two_axes_it_is_given(fitted):
    _, axes = plt.subplots(2, 1)
    assert list(ho.pl.history(fitted, "mlp", axes=axes)) == list(axes)
    with pytest.raises(ValueError, match="two Axes"):
        ho.pl.history(fitted, "mlp", axes=axes[:1])


def test_history_of_a_closed_form_names_a_fit_that_has_one(fitted):
    with pytest.raises(ValueError, match=r"no training history.*'mlp'"):
        ho.pl.history(fitted, "genotype")


def test_best_epoch_falls_back_to_the_loss():
    table = pd.DataFrame({"epoch": [0, 1, 2], "val_loss": [3.0, 1.0, 2.0], "train_loss": [3.0, 2.0, 1.0]})
    assert best_epoch(table) == (1, "val_loss", 1.0)
    assert best_epoch(table.assign(val_auc=[0.5, 0.6, 0.9])) == (2, "val_auc", 0.9)
    assert best_epoch(table, "") is None
    assert best_epoch(table.drop(columns="val_loss")) is None
    assert best_epoch(table.assign(val_auc=[0.5, 0.6, 0.6])) == (1, "val_auc", 0.6)


def test_of_several_networks_the_first_is_drawn(fitted):
    config = ho.model.MLPConfig(max_epochs=2, n_hidden=4, n_members=2)
    ho.tl.genotype(fitted, "genotype", config=config, key_added="both")
    loss, _ = ho.pl.history(fitted, "both")
    table = ho.get.history(fitted, "both").query("member == 0")
    np.testing.assert_array_equal(loss.lines[0].get_ydata(), table["train_loss"])
    title = loss.get_title(loc="left").replace("\n", " ")
    assert title.startswith("both, first of 2 networks: weights of epoch ")

"""Forecasts of held-out genes: what is refused, and what is told."""

from __future__ import annotations

import logging

import numpy as np
import pytest

import heldout as ho
from tests.helpers.courses import course


@pytest.fixture
def adata():
    return course()


def hours(change):
    """Spoil the times."""

    def spoil(adata):
        adata.obs = adata.obs.assign(hour=change(adata.obs["hour"]))

    return spoil


BAD = {
    "no column": (lambda a: None, {"time_key": "hours"}, ["hours", "hour"]),
    "text": (hours(lambda h: h.map("{:g} h".format)), {}, ["not numeric", "0 h"]),
    "missing": (hours(lambda h: h.where(h > 0)), {}, ["missing"]),
    "infinite": (hours(lambda h: h.replace(8, np.inf)), {}, ["infinite"]),
    "few cells": (hours(lambda h: np.r_[3.0, h[1:]]), {}, ["time 3", "1 cells", "10"]),
    "no such target": (lambda a: None, {"at": 5}, ["at=5", "0, 1, 2, 4, 8"]),
    "no such history": (lambda a: None, {"history": [0, 1, 3]}, ["history=3"]),
    "history is a number": (lambda a: None, {"history": 3}, ["list"]),
    "target in the history": (
        lambda a: None,
        {"at": 4, "history": [0, 1, 2, 4]},
        ["at=4 must be later than all times of the history"],
    ),
    "target before": (lambda a: None, {"at": 2, "history": [0, 1, 4]}, ["must be later than all times of the history"]),
    "two times": (lambda a: None, {"at": 2}, ["2 times", "at least 3"]),
    "not a split": (lambda a: None, {"split_key": "split"}, ["split"]),
    "no such method": (lambda a: None, {"method": "ridgee"}, ["ridge"]),
    "replicates": (lambda a: None, {"n_replicates": 1}, ["n_replicates=1"]),
    "no library": (lambda a: None, {"group_key": "lib"}, ["group_key", "library"]),
    "nan": (lambda a: a.X.__setitem__((0, 0), np.nan), {}, ["NaN"]),
    "key": (lambda a: None, {"key_added": "a/b"}, ["/"]),
}


@pytest.mark.parametrize(("spoil", "arguments", "words"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_refused_and_changes_nothing(adata, refuses, spoil, arguments, words):
    spoil(adata)
    call = {"time_key": "hour", "method": "ridge", **arguments}
    refuses(lambda a: ho.tl.forecast_genes(a, **call), adata, *words)


def test_a_wrong_config_is_refused(adata):
    with pytest.raises(TypeError, match="GeneNetworkConfig"):
        ho.tl.forecast_genes(adata, "hour", method="lstm", config={"dropout": 0.1})
    for name, value in (
        ("n_hidden", ()),
        ("dropout", 1),
        ("correction", 0),
        ("lr", 0),
        ("n_members", 1.5),
        ("weight_decay", -1),
    ):
        with pytest.raises(ValueError, match=name):
            ho.model.GeneNetworkConfig(**{name: value})


def test_ct_values_and_counts_are_told(adata, caplog):
    adata.X = np.minimum(adata.X, np.quantile(adata.X, 0.7))
    with caplog.at_level(logging.WARNING, "heldout"):
        ho.tl.forecast_genes(adata, "hour", method="ridge")
    assert "Ct values" in caplog.text
    caplog.clear()
    adata.X = np.round(adata.X * 20).clip(0)
    with caplog.at_level(logging.WARNING, "heldout"):
        ho.tl.forecast_genes(adata, "hour", method="ridge")
    assert "Ct values" in caplog.text
    caplog.clear()
    adata.X = np.round(np.exp(course().X))
    with caplog.at_level(logging.WARNING, "heldout"):
        ho.tl.forecast_genes(adata, "hour", method="ridge")
    assert "raw counts" in caplog.text


def test_a_split_that_moved_is_refused(adata):
    ho.tl.forecast_genes(adata, "hour", method="ridge")
    ho.pp.split_genes(adata, rng=5)
    with pytest.raises(ValueError, match="another split"):
        ho.tl.predict(adata, "forecast_genes")
    with pytest.raises(ValueError, match="another split"):
        ho.tl.evaluate(adata, "forecast_genes")


def test_predict_says_what_it_cannot_do(adata):
    ho.tl.forecast_genes(adata, "hour", method="ridge")
    with pytest.raises(ValueError, match="reference cannot be used with fit 'forecast_genes'"):
        ho.tl.predict(adata, "forecast_genes", reference=adata.copy())

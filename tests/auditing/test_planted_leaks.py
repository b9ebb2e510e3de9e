"""The audit names every leak that is planted, and stays silent on the clean twin."""

from __future__ import annotations

import pytest

import heldout as ho
from heldout.auditing.registry import ITEMS
from tests.helpers.paths import ROOT
from tests.helpers.scripts import load

planted_leaks = load("tutorials/planted_leaks.py")


@pytest.fixture(scope="module")
def clean():
    return planted_leaks.hold_out(planted_leaks.simulate(0))


@pytest.fixture(scope="module")
def real():
    try:
        adata = planted_leaks.onek1k(0)
    except FileNotFoundError:
        pytest.skip("onek1k/onek1k_40donors.h5ad is not in HELDOUT_DATA_DIR")
    return planted_leaks.hold_out(adata)


def test_every_item_has_its_leak():
    planted = {item for _, item, _ in planted_leaks.LEAKS}
    assert set(ITEMS) - planted == {"effective_size"}, "which only informs"
    assert len(planted_leaks.LEAKS) >= 15


@pytest.mark.parametrize("data", ["clean", "real"])
def test_the_clean_twin_raises_nothing(data, request):
    adata = request.getfixturevalue(data).copy()
    assert planted_leaks.alarms(planted_leaks.audited(adata, items="all")) == []


@pytest.mark.parametrize(
    ("what", "item", "plant"), planted_leaks.LEAKS, ids=[what for what, _, _ in planted_leaks.LEAKS]
)
@pytest.mark.parametrize("data", ["clean", "real"])
def test_a_planted_leak_is_named(data, what, item, plant, request):
    adata = request.getfixturevalue(data).copy()
    options = plant(adata)
    options["items"] = [item]
    table = planted_leaks.audited(adata, **options)
    assert planted_leaks.alarms(table) == [item], what
    found = table[(table["item"] == item) & (table["status"] != "pass")]
    assert found["finding"].str.len().gt(20).all()


def test_few_false_alarms_on_clean_simulations():
    rates = planted_leaks.false_alarms(5, n_cells=15, n_genes=150)
    assert (rates["alarms"] <= 2).all(), rates


def test_documented_items_are_those_of_the_registry():
    text = (ROOT / "docs" / "audit.md").read_text()
    documented = ho.tl.audit.__doc__
    for item in ITEMS.values():
        assert f"``{item.name}``" in documented, item.name
        assert f"`{item.name}`" in text, item.name

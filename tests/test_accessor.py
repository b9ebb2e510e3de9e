"""``adata.ho``: what a chain goes on with, and what it prints."""

from __future__ import annotations

import anndata as ad
import pytest

import heldout as ho
from tests.helpers import forecasts
from tests.helpers.perturbations import combinations
from tests.test_public_api import WITHOUT_ADATA


def test_predicted_cells_and_profiles_are_new():
    course = forecasts.split(forecasts.adata_of())
    assert course.ho.tl.forecast("h", method="persistence") is course
    cells = course.ho.tl.predict_cells(at=8)
    assert type(cells) is ad.AnnData
    assert cells.obs["h"].unique().tolist() == [8.0]
    screen = combinations(n_genes=60)
    profiles = screen.ho.tl.perturbation(method="additive").ho.tl.predict_profiles()
    assert profiles.n_obs < screen.n_obs
    assert "change" in profiles.layers


def test_other_calls_return_the_adata(split):
    fitted = split.ho.tl.genotype(method="majority")
    assert fitted is split
    assert fitted.ho.tl.predict() is split
    assert fitted.ho.tl.evaluate(baselines=[]) is split
    assert fitted.ho.tl.evaluate_genotype(baselines=[]) is split
    copied = fitted.ho.tl.predict(copy=True)
    assert copied is not split


@pytest.mark.parametrize("name", ["pp", "tl", "get", "pl"])
def test_a_space_lists_its_functions(lmna, name):
    shown = repr(getattr(lmna.ho, name)).split("\n")
    module = getattr(ho, name)
    listed = [line.split()[0] for line in shown[1:]]
    without_adata = {member for space, member in WITHOUT_ADATA if space == name}
    assert listed == [member for member in module.__all__ if member not in without_adata]
    for line in shown[1:]:
        first = getattr(module, line.split()[0]).__doc__.split("\n")[0]
        assert line.endswith(first)
        assert len(line) <= 140
        assert not set("`*") & set(first), "a terminal shows markup as it is"
        assert first.endswith(".")


def test_the_accessor_lists_everything(lmna):
    shown = repr(lmna.ho)
    assert max(map(len, shown.split("\n"))) <= 120
    assert "`" not in shown
    for name in ("split_groups", "evaluate_genotype", "leaderboard", "predict_cells"):
        assert name in shown
    assert shown in lmna.ho._repr_html_().replace("&#x27;", "'")


def test_a_notebook_completes_functions_and_their_arguments(lmna):
    pytest.importorskip("jedi")
    completer = pytest.importorskip("IPython.core.completer")
    found = completer.IPCompleter(namespace={"adata": lmna}, use_jedi=True)

    def completed(line):
        with completer.provisionalcompleter():
            return {completion.text.lstrip(".") for completion in found.completions(line, len(line))}

    assert {"pp", "tl", "get", "pl", "report"} <= completed("adata.ho.")
    assert set(ho.get.__all__) <= completed("adata.ho.get.")
    assert completed("adata.ho.tl.forec") == {"forecast", "forecast_genes"}
    assert {"group_key=", "label_key=", "test="} <= completed("adata.ho.pp.split_groups(")


def test_an_unknown_function_is_named(lmna):
    with pytest.raises(AttributeError, match=r"adata\.ho\.tl has no function 'evaluat'"):
        lmna.ho.tl.evaluat()
    assert not hasattr(lmna.ho.pl, "power"), "it needs no AnnData"

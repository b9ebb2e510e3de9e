"""The page about everything that is stored: its content for each task, its safety, and the file."""

from __future__ import annotations

import html
import json
import re
from html.parser import HTMLParser
from importlib.metadata import version
from pathlib import Path

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib import rcParams
from scipy import sparse

import heldout as ho
from heldout._report import _parts
from heldout._report._figures import INK, PAPER
from tests.helpers.evaluated import EVALUATED, FEW, donors

VOID = {"meta", "br", "hr", "wbr", "link", "img", "input"}
NETWORK = {"script", "link", "img", "iframe", "object", "embed", "base", "form"}


class Page(HTMLParser):
    """A page as a browser reads it: checks that tags are closed in order, and collects what is in it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(self.source)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    @property
    def words(self) -> str:
        return " ".join(" ".join(text for tag, text in self.texts if tag != "style").split())

    @property
    def drawn(self) -> list[str]:
        """Texts inside pictures."""
        return [text for tag, text in self.texts if tag in ("text", "tspan")]


def reported(adata, folder, **options) -> Page:
    return Page(ho.report(adata, folder / "report.html", **options))


@pytest.fixture(scope="module")
def study():
    """Forty donors with a fit of which nothing is evaluated yet."""
    return donors()


@pytest.fixture(scope="module")
def judged(study):
    adata = study.copy()
    ho.tl.audit(adata, items=["integrity", "group_overlap", "power"])
    ho.tl.evaluate(adata, baselines=["majority"], **FEW)
    return adata


@pytest.fixture(scope="module")
def small(study):
    """A split and an audit: a page with one picture."""
    adata = study.copy()
    ho.tl.audit(adata, items=["integrity", "group_overlap", "power"])
    del adata.uns["heldout"]["fits"]
    return adata


@pytest.fixture(scope="module")
def page(judged, tmp_path_factory):
    """The page of the evaluated study."""
    return reported(judged, tmp_path_factory.mktemp("page"))


@pytest.mark.parametrize("task", ["perturbation", "forecast", "forecast_genes"])
def test_a_page_of_each_task(task, tmp_path, unchanged):
    make, baselines, question = EVALUATED[task]
    adata = make()
    ho.tl.evaluate(adata, task, baselines=baselines, **FEW)
    with unchanged(adata):
        page = reported(adata, tmp_path)
    check_content(page, adata, task, question)


def test_the_page_of_a_classifier(judged, page):
    check_content(page, judged, "genotype", EVALUATED["genotype"][2])
    assert "p_smallest" in page.words, "the table of claims"
    assert page.tags.count("svg") == 6


def check_content(page, adata, task, question):
    """The question, the answer, each method with its verdict, pictures, looks, hashes and versions."""
    table = ho.get.evaluation(adata, task)
    assert question in page.words
    assert table.answer in page.words
    for method in table["method"].unique():
        assert method in page.words
    verdicts = re.findall(r"(?:better|undecided|unidentifiable) \w+ \w+", str(ho.get.leaderboard(adata)))
    for words in verdicts:
        assert words in page.words
    assert page.tags.count("svg") >= 2
    fits = ho.get.fits(adata)
    for value in [*fits["hash"], *fits["split_hash"], ho.get.ledger(adata)["test_set"].iloc[0]]:
        assert value[:12] in page.words
    assert set(fits["hash"]) <= set(page.words.split())
    assert "look 1 at this test set" in page.words
    assert f"anndata {version('anndata')}" in page.words


def test_it_needs_no_network_and_no_scripts(page):
    assert not NETWORK & set(page.tags)
    for name, value in page.attributes:
        assert not name.startswith("on")
        if name in ("href", "src", "xlink:href"):
            assert value.startswith(("#", "data:image/png;base64,"))
    assert "url(http" not in page.source
    assert "@import" not in page.source
    assert "default-src 'none'" in html.unescape(page.source)
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids)) > 10
    for name, value in page.attributes:
        for used in [
            *re.findall(r"url\(#([^)]+)\)", value),
            *([value[1:]] if name == "href" and value[0] == "#" else []),
        ]:
            assert used in ids


EVIL = "<script>alert('x')</script>&amp;"


def test_names_stay_text(tmp_path):
    adata = donors()
    adata.obs["donor"] = [f"{EVIL}{name}" for name in adata.obs["donor"]]
    adata.obs["status"] = [f"{EVIL}\u0007{name}" for name in adata.obs["status"]]
    adata.obs[EVIL] = adata.obs["donor"]
    del adata.uns["heldout"]
    ho.pp.split_groups(adata, EVIL, "status", val=0.2, test=0.5, key_added=EVIL.replace("/", ""))
    split_key = EVIL.replace("/", "")
    ho.tl.genotype(adata, "status", method="pseudobulk_logistic", split_key=split_key, key_added=split_key)
    ho.tl.evaluate(adata, baselines=["majority"], **FEW)
    ho.tl.audit(adata, split_key=split_key, items=["group_overlap", "class_coverage"], key_added=split_key)
    page = reported(adata, tmp_path, title=EVIL)
    assert "script" not in page.tags
    assert "<script" not in page.source
    assert page.words.startswith(EVIL)
    assert any(EVIL in text for text in page.drawn), "the name is in a picture too"
    for result in (ho.get.audit(adata, split_key), ho.get.evaluation(adata), ho.get.leaderboard(adata)):
        assert "<script" not in result._repr_html_()


def test_a_name_in_the_sign_of_formulas_is_drawn_or_told(tmp_path):
    adata = donors()
    adata.obs["status"] = [rf"$\frac{{{name}" for name in adata.obs["status"]]
    adata.obs["status"] += "$"
    del adata.uns["heldout"]
    ho.pp.split_groups(adata, "donor", "status", val=0.2, test=0.5)
    page = reported(adata, tmp_path)
    assert "svg" in page.tags or "Not drawn" in page.words


def test_only_a_split(study, tmp_path):
    adata = study.copy()
    del adata.uns["heldout"]["fits"]
    page = reported(adata, tmp_path)
    assert "The split was not audited. Call heldout.tl.audit(adata)" in page.words
    assert "Nothing was fitted" in page.words
    assert "40" in page.words
    assert page.tags.count("svg") == 1
    ho.tl.audit(adata, items="integrity")
    assert "was not audited" not in reported(adata, tmp_path, overwrite=True).words


def test_only_an_audit(lmna, tmp_path):
    lmna.obs["set"] = np.where(lmna.obs["day"].astype(str) == "19", "test", "train")
    ho.tl.audit(lmna, "library", "genotype", split_key="set", items=["integrity", "group_overlap"])
    page = reported(lmna, tmp_path)
    assert "No split is recorded" in page.words
    for row in ho.get.audit(lmna).query("status != 'not run'").itertuples():
        assert " ".join(row.finding.split()) in page.words
        assert " ".join(row.advice.split()) in page.words


def test_a_fit_without_evaluation_is_missing(study, tmp_path):
    page = reported(study, tmp_path)
    assert "The fit 'genotype' was not evaluated. Call heldout.tl.evaluate(adata, 'genotype')" in page.words


def test_findings_are_sorted_and_have_advice(lmna, tmp_path):
    ho.pp.split_cells(lmna, val=0)
    table = ho.tl.audit(lmna, "library", "genotype", items=["integrity", "group_overlap", "power"])
    page = reported(lmna, tmp_path)
    at = page.words.index
    failed = table.query("status == 'fail'")
    assert len(failed) > 0
    for row in failed.itertuples():
        assert f"What to do: {' '.join(row.advice.split())}" in page.words
        assert at(" ".join(row.finding.split())) < at(
            " ".join(table.query("status == 'pass'")["finding"].iloc[0].split())
        )
    assert page.tags.count("svg") == 1, "the audit knows the groups, so the leaking split is drawn"


def test_a_leak_comes_first(tmp_path):
    adata = donors()
    ho.pp.split_cells(adata, val=0, key_added="cells")
    ho.tl.genotype(
        adata, "status", method="pseudobulk_logistic", split_key="cells", group_key="donor", key_added="leak"
    )
    ho.tl.evaluate(adata, "leak", baselines=["majority"], **FEW)
    page = reported(adata, tmp_path, key="leak")
    assert "LEAKS: units are on both sides of the split." in page.words
    assert page.words.index("LEAKS") < page.words.index("hash of the split")


def test_an_altered_split_and_an_old_audit_are_told(small, tmp_path):
    adata = small.copy()
    adata.obs.loc[adata.obs_names[adata.obs["split"] == "train"][:3], "split"] = "test"
    assert "does not match its record" in reported(adata, tmp_path).words
    again = small.copy()
    ho.pp.split_groups(again, "donor", "status", val=0.2, test=0.4)
    assert "was made again after this audit" in reported(again, tmp_path, overwrite=True).words


def test_an_altered_evaluation_is_told(judged, tmp_path):
    adata = judged.copy()
    adata.uns["heldout"]["evaluations"]["genotype"]["json"] = "{"
    page = reported(adata, tmp_path)
    assert "was altered. Evaluate the fit again" in page.words
    assert "Ledger" in page.words


def test_a_comparison_a_curve_and_a_sweep(tmp_path):
    adata = ho.datasets.lmna_simulated(n_cells=10, n_genes=100)
    adata.X = np.log1p(adata.X.toarray())
    ho.pp.folds(adata, "library", "genotype", n_folds=3, val=0)
    ho.tl.compare(adata, "genotype", methods=["majority", "nearest_centroid"], seeds=[0])
    ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=19, val=16)
    ho.tl.learning_curve(adata, methods=["nearest_centroid"], sizes=[2, 4], n_repeats=2)
    ho.tl.sweep(adata, grid={"C": [0.1, 1.0]}, method="pseudobulk_logistic", baselines=["majority"])
    page = reported(adata, tmp_path)
    for words in ("Comparison 'comparison' over folds", "Learning curve 'learning_curve'", "Sweep 'sweep'"):
        assert words in page.words
    assert "Cross-validation in 3 folds: 'fold_0' to 'fold_2'" in page.words
    assert ho.get.summary(adata, "comparison").split("\n")[0] in page.words
    only = reported(adata, tmp_path, key=["sweep"], overwrite=True)
    assert "Comparison" not in only.words
    assert "Sweep 'sweep'" in only.words


def without_time(source: str) -> str:
    return re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d[^<]*", "", source)


def test_a_sparse_matrix_on_disk_gives_the_same_page(judged, page, tmp_path):
    adata = judged.copy()
    adata.X = sparse.csr_matrix(adata.X)
    adata.write_h5ad(tmp_path / "study.h5ad")
    backed = ad.read_h5ad(tmp_path / "study.h5ad", backed="r")
    assert without_time(reported(backed, tmp_path).source) == without_time(page.source)


def test_the_page_decides_on_the_colours(page):
    assert "prefers-color-scheme: dark" in page.source
    assert "@media print" in page.source
    pictures = page.source[page.source.index("<svg") :]
    assert "currentColor" in pictures
    assert "var(--paper)" in pictures
    for marker in (INK, PAPER, "#000000"):
        assert marker not in pictures


def test_pictures_do_not_depend_on_the_session(small, tmp_path):
    figures = plt.get_fignums()
    before = without_time(reported(small, tmp_path).source)
    plt.rcParams.update({"font.size": 30, "axes.facecolor": "red"})
    try:
        assert without_time(reported(small, tmp_path, overwrite=True).source) == before
        assert rcParams["font.size"] == 30
    finally:
        plt.rcdefaults()
    assert plt.get_fignums() == figures


def test_many_points_are_an_image(tmp_path):
    from heldout._report._figures import Pen

    def cloud(n, ax):
        ax.scatter(np.arange(n), np.arange(n))

    few, many = (Pen().draw("Cloud.", cloud, n).svg for n in (100, 5000))
    assert "data:image/png" not in few
    assert "data:image/png" in many
    assert len(many) < 100_000


def test_a_long_table_is_cut_with_the_call(small, tmp_path, monkeypatch):
    monkeypatch.setattr(_parts, "MOST_ROWS", 25)
    assert "15 more rows: heldout.get.split(adata, 'split')" in reported(small, tmp_path).words


def test_the_call_of_the_accessor(small, tmp_path):
    assert small.ho.report(tmp_path / "a.html") == tmp_path / "a.html"
    assert "report" in repr(small.ho)


def test_nothing_to_report(lmna, tmp_path):
    with pytest.raises(ValueError, match="nothing to report. Start with a split"):
        ho.report(lmna, tmp_path / "report.html")
    with pytest.raises(TypeError, match="adata must be an AnnData"):
        ho.report("study.h5ad", tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_result(judged, tmp_path):
    with pytest.raises(ValueError, match=r"key='genotyp' is not an evaluation.* Did you mean 'genotype'\?"):
        ho.report(judged, tmp_path / "report.html", key="genotyp")


def test_where_it_cannot_be_written(small, tmp_path):
    (tmp_path / "old.html").write_text("old")
    with pytest.raises(FileExistsError, match="pass overwrite=True"):
        ho.report(small, tmp_path / "old.html")
    with pytest.raises(FileNotFoundError, match="the folder .* does not exist. Make it first"):
        ho.report(small, tmp_path / "no" / "report.html")
    with pytest.raises(IsADirectoryError, match="is a folder. Pass the name of a file in it"):
        ho.report(small, tmp_path)
    assert (tmp_path / "old.html").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["old.html"]


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a file system that nobody can write to")
def test_a_folder_that_cannot_be_written(small):
    with pytest.raises(PermissionError, match="no file can be written in this folder"):
        ho.report(small, "/proc/report.html")


def test_a_file_is_replaced_at_once(small, tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("old")

    def full(self, text, **options):
        self.write_bytes(text[:100].encode())
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(OSError, match="No space left"):
            ho.report(small, path, overwrite=True)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]
    ho.report(small, path, overwrite=True)
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_options_of_a_fit_are_those_that_were_used(judged, page):
    config = json.loads(str(judged.uns["heldout"]["fits"]["genotype"]["json"]))["config"]
    assert json.dumps(config, sort_keys=True) in page.words

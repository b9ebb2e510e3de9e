"""The drafts for conda-forge and for the list of scverse agree with the package."""

from __future__ import annotations

import re
import tomllib

import yaml

from tests.helpers.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONDA_NAMES = {"dask[array]": "dask-core", "isal": "python-isal", "matplotlib": "matplotlib-base", "torch": "pytorch"}


def read(name: str) -> dict:
    return yaml.safe_load((ROOT / name).read_text())


def test_versions_are_the_same():
    versions = {read(name)["version"] for name in ("packaging/meta.yaml", "CITATION.cff")}
    assert versions | {read("packaging/recipe.yaml")["context"]["version"]} == {PROJECT["version"]}


def test_the_recipe_has_the_dependencies_of_the_package():
    run = read("packaging/recipe.yaml")["requirements"]["run"]
    expected = [re.match(r"([\w\-\[\]]+)(.*)", text).groups() for text in PROJECT["dependencies"]]
    assert run == [
        f"python {PROJECT['requires-python']}",
        *(f"{CONDA_NAMES.get(name, name)} {limit}" for name, limit in expected),
    ]


def test_the_entry_of_the_list_is_that_of_the_package():
    entry = read("packaging/meta.yaml")
    required = {"name", "description", "project_home", "documentation_home", "install", "license", "tags", "authors"}
    assert required <= set(entry)
    assert (entry["name"], entry["license"]) == (PROJECT["name"], PROJECT["license"])
    assert entry["project_home"] == PROJECT["urls"]["Source"]
    assert entry["documentation_home"] == PROJECT["urls"]["Documentation"]

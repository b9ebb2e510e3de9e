"""The script that collects changelog fragments."""

from __future__ import annotations

import pytest

from tests.helpers.paths import ROOT
from tests.helpers.scripts import load

BEFORE = """# Changelog

Text.

## [Unreleased]

### Added

- First.

## [0.1.0] - 2026-01-01

### Fixed

- Old.
"""


@pytest.fixture(scope="module")
def changelog():
    return load(".ci/changelog.py")


@pytest.fixture
def project(tmp_path):
    (tmp_path / "CHANGELOG.md").write_text(BEFORE)
    (tmp_path / "changelog.d").mkdir()
    (tmp_path / "changelog.d" / "README.md").write_text("How to write one.")
    (tmp_path / "changelog.d" / "b.fixed.md").write_text("Repaired\nthis.\n")
    (tmp_path / "changelog.d" / "a.added.md").write_text("Second.\n")
    return tmp_path


def test_fragments_go_to_the_end_of_their_kind(changelog, project):
    changelog.main(project)
    expected = BEFORE.replace("- First.\n", "- First.\n- Second.\n\n### Fixed\n\n- Repaired this.\n")
    assert (project / "CHANGELOG.md").read_text() == expected
    assert [path.name for path in (project / "changelog.d").iterdir()] == ["README.md"]


def test_a_second_call_changes_nothing(changelog, project):
    changelog.main(project)
    once = (project / "CHANGELOG.md").read_text()
    changelog.main(project)
    assert (project / "CHANGELOG.md").read_text() == once


def test_a_release_and_the_section_after_it(changelog, project):
    changelog.main(project, "0.2.0")
    text = (project / "CHANGELOG.md").read_text()
    assert "## [0.2.0] - 20" in text
    assert "Unreleased" not in text
    (project / "changelog.d" / "c.removed.md").write_text("Gone.")
    changelog.main(project)
    text = (project / "CHANGELOG.md").read_text()
    assert text.index("## [Unreleased]\n\n### Removed\n\n- Gone.\n\n## [0.2.0]") < text.index("- Second.")


def test_another_kind_is_refused(changelog, project):
    (project / "changelog.d" / "c.improved.md").write_text("Better.")
    with pytest.raises(SystemExit, match=r"c\.improved\.md.*added, changed"):
        changelog.main(project)


def test_the_fragments_of_this_project_can_be_collected(changelog):
    paths = changelog.fragments(ROOT / "changelog.d")
    text = (ROOT / "CHANGELOG.md").read_text()
    assert changelog.collected(text, {}) == text, "the section keeps its form"
    assert all(path.read_text().strip() for found in paths.values() for path in found)

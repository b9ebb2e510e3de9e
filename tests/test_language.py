"""The English of the package: no phrases that the style guide replaces, no pronouns as names, no long lines.

Each test lists every offence with its line. ``docs/developer/style.md`` has the words to use instead.
"""

from __future__ import annotations

import ast
import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAX_LENGTH = 120
PRONOUNS = {"one", "own", "beside", "said"}

PHRASES = {
    r"\bwhole numbers?\b": "integer",
    r"\bnumber from \d(?! to)": "integer >= 1, number in [0, 1]",
    r"\bfrom \d up\b": "integer >= 0",
    r"\bmust be (?:above|at least) \d": "must be > 0, must be >= 1",
    r"\bmust be a share\b": "must be a number in (0, 1]",
    r"\bthere cannot be\b": "must be >= 0, got -1",
    r"\bis too small; it must\b": "must be an integer >= 1",
    r"\bwanted (?:is|are)\b": "must be",
    r"(?:^|[.;:] )Of (?:a|an|the|each|its|all|several)\b": "subject first: 'For a MuData, pass one modality.'",
    r"\b(?:Written|Returned) are\b": "Writes, Returns",
    r"\b[Ww]hoever\b": "name who it is",
    r"\b(?:be|is|was) said\b": "say who says what",
    r"\bsays? nothing (?:of|either|yet)\b": "name what is not known",
    r"\bsays? where to\b": "name the path",
    r"\bnothing is known\b": "name what is not known",
    r"\bmust stand in\b|\b(?:is|what) stands in\b": "is in",
    r"\bstands? (?:beside|above|behind|near)\b": "is next to, has priority over",
    r"\b(?:put|show) (?:it |them )?beside\b": "next to it",
    r"\brests? on a\b": "uses, falls back to",
    r"\bis a look at it\b": "counts as a look",
    r"\bholds? what (?:it|they) promises?\b": "compare nominal and actual coverage",
    r"\bcan take it\b": "supports it",
    r"\b(?:that|it|which) is no (?!longer|more|less|better|worse)\w": "is not a",
    r"(?<!there )\bis no (?:value|group|column|count|time|perturbation|context|integer|number|fold|key)\b": "is not a",
    r"\b[Oo]ne (?:row|column|table|file|line|vector|entry|value|panel|point|number|record) an? \w": "one row per cell",
    r"\bvalues? a (?:gene|row|group|cell)\b": "per gene",
    r"\bpredicts nothing\b": "has no predictions",
    r"\bcannot be had\b": "is not possible",
    r"\b(?:already|more than once|is) asked for\b": "is requested, is needed",
    r"\bhas the last word\b": "decides",
    r"\bas ever\b": "as before",
    r"\bas it was then\b|\bof then\b": "as it was when ...",
    r"\bas (?:long|far|old) as it stands\b": "say what happens",
    r"\b(?:as|so) near as\b": "as close as",
    r"\bdo(?:es)? not go together\b": "cannot be combined",
    r"\bgoes? (?:its|their) own way\b": "say what happens",
    r"\bhas a name of its own\b|\ba value of its own\b|\bpools? of their own\b": "has a separate ...",
    r"\bby turns\b": "in turn",
    r"\bbe rid of\b": "avoid",
    r"\bsave for\b": "except",
    r"\bperhaps it broke off\b": "may be incomplete",
    r"\bmend(?:ed|s)? (?:this|one|it|next|below|here)\b": "corrected",
    r"\bfresh entropy\b": "a random seed",
}
"""Regular expressions of phrases that no text may have, and what to write instead."""

TABLE_WITH_LINK = re.compile(r"^\|.*(?:\]\(|https?://).*\|$")
"""Rows of a Markdown table cannot be broken; one with a link may be long."""

SEPARATOR = "\n\n"
"""Between two texts of a file. No phrase has it, because texts have single spaces only."""

Offences = Iterator[tuple[int, str]]


def files(*patterns: str) -> list[Path]:
    found = sorted(path for pattern in patterns for path in ROOT.glob(pattern))
    assert found
    return [path for path in found if not {"_build", "generated"} & set(path.parts)]


SOURCE = files("src/**/*.py")
TESTS = files("tests/**/*.py")
PROSE = files("docs/**/*.md", "*.md")


@cache
def nodes(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text())))


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Everything a reader sees in a file, with its line: docstrings, other strings and comments, or paragraphs."""
    text = path.read_text()
    if path.suffix == ".md":
        line = 1
        for paragraph in text.split("\n\n"):
            if path.name != "style.md" or not paragraph.startswith("|"):  # its tables show what not to write
                yield line, paragraph
            line += paragraph.count("\n") + 2
        return
    inside = set()
    for node in nodes(path):
        if isinstance(node, ast.JoinedStr):
            inside |= {id(part) for part in node.values}
            yield (
                node.lineno,
                "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values),
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield node.lineno, node.value
    for number, line in enumerate(text.splitlines(), start=1):  # a # within a string is taken too: it is text as well
        if "#" in line:
            yield number, line.partition("#")[2].lstrip("# ")


def banned_phrases(path: Path) -> Offences:
    """Search all texts of a file at once, because a search of each text alone takes ten times as long."""
    found = [(line, " ".join(text.split())) for line, text in texts(path)]
    whole, starts = SEPARATOR.join(text for _, text in found), [0]
    for _, text in found:
        starts.append(starts[-1] + len(text) + len(SEPARATOR))
    for phrase, better in PHRASES.items():
        for match in re.finditer(phrase, whole):
            number = bisect_right(starts, match.start()) - 1
            line, text = found[number]
            start, end = (place - starts[number] for place in match.span())
            yield line, f"{match.group()!r} in {text[max(0, start - 30) : end + 30]!r}: {better}"


def long_lines(path: Path) -> Offences:
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if len(line) > MAX_LENGTH and not (path.suffix == ".md" and TABLE_WITH_LINK.match(line)):
            yield number, f"{len(line)} characters"


def pronouns_as_names(path: Path) -> Offences:
    for node in nodes(path):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            name = node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            name = node.attr
        elif isinstance(node, ast.arg):
            name = node.arg
        elif isinstance(node, ast.ExceptHandler | ast.alias):
            name = node.name if isinstance(node, ast.ExceptHandler) else node.asname
        else:
            continue
        if name in PRONOUNS:
            yield node.lineno, f"{name} is no name of a thing"


CHECKS: dict[str, tuple[Callable[[Path], Offences], list[Path]]] = {
    "banned phrases": (banned_phrases, [*SOURCE, *PROSE]),
    "long lines": (long_lines, [*SOURCE, *TESTS, *PROSE]),
    "pronouns as names": (pronouns_as_names, SOURCE),
}


@pytest.fixture(scope="module")
def offences() -> dict[str, dict[str, list[str]]]:
    """By file and check, every offence."""
    found: dict[str, dict[str, list[str]]] = defaultdict(dict)
    for name, (check, paths) in CHECKS.items():
        for path in paths:
            if lines := [f"line {line}: {what}" for line, what in check(path)]:
                found[path.relative_to(ROOT).as_posix()][name] = lines
    return found


@pytest.mark.parametrize("check", CHECKS)
def test_no_offences(offences, check):
    wrong = {file: lines[check] for file, lines in offences.items() if check in lines}
    assert not wrong, "\n".join(f"{file} {line}" for file, lines in wrong.items() for line in lines)


def test_offences_are_found(tmp_path):
    file = tmp_path / "file.py"
    file.write_text(
        '"""One row a cell.\n\nOf a MuData pass\none modality."""\n'
        "# whoever has one\n"
        'def f(own, *, n=0):\n    raise ValueError(f"n={n} must be a whole number")\n'
        "for one in []:\n    self.said = [beside for beside in []]\n" + "x" * 121 + "\n"
    )
    assert sorted(line for line, _ in banned_phrases(file)) == [1, 1, 5, 7]
    assert [line for line, _ in long_lines(file)] == [10]
    assert sorted(line for line, _ in pronouns_as_names(file)) == [6, 8, 9, 9]
    prose = tmp_path / "page.md"
    row = "| " + "x" * 130
    prose.write_text(f"Fine.\n\nWhoever\nreads.\n\n{row} |\n{row} [a](https://b.c) |\n")
    assert [line for line, _ in banned_phrases(prose)] == [3]
    assert [line for line, _ in long_lines(prose)] == [6]

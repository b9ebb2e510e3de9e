"""Move the fragments of changelog.d/ into "Unreleased" of CHANGELOG.md; with a version, release the section.

python .ci/changelog.py            # collect the fragments
python .ci/changelog.py 0.2.0      # and give the section this version and the date of today
"""

from __future__ import annotations

import re
import sys
import textwrap
from datetime import UTC, datetime
from pathlib import Path

KINDS = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")
UNRELEASED = "## [Unreleased]"
WIDTH = 120


def fragments(folder: Path) -> dict[str, list[Path]]:
    """The fragments of each kind, by name."""
    found: dict[str, list[Path]] = {kind: [] for kind in KINDS}
    for path in sorted(folder.glob("*")):
        if path.name == "README.md":
            continue
        match = re.fullmatch(r".+\.([a-z]+)\.md", path.name)
        if match is None or match[1].title() not in KINDS:
            allowed = ", ".join(kind.lower() for kind in KINDS)
            msg = f"{path}: the name must be NAME.KIND.md, where KIND is one of {allowed}."
            raise SystemExit(msg)
        found[match[1].title()].append(path)
    return found


def item(text: str) -> str:
    """One list item; lines are wrapped and indented."""
    return textwrap.fill(
        " ".join(text.split()),
        WIDTH,
        initial_indent="- ",
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def collected(changelog: str, new: dict[str, list[str]]) -> str:
    """The changelog with more items at the end of their kind in the section "Unreleased"."""
    head, found, rest = changelog.partition(UNRELEASED)
    if not found:
        first = re.search(r"^## \[", head, re.MULTILINE)
        at = first.start() if first else len(head)
        head, rest = head[:at].rstrip("\n") + "\n\n", "\n\n" + head[at:]
    next_section = re.search(r"^## \[", rest, re.MULTILINE)
    at = next_section.start() if next_section else len(rest)
    section, after = rest[:at], rest[at:]
    parts = re.split(r"^### (\w+)\n", section, flags=re.MULTILINE)
    items = dict(zip(parts[1::2], (part.strip("\n") for part in parts[2::2]), strict=True))
    for kind, texts in new.items():
        lines = [items[kind]] if kind in items else []
        if texts:
            items[kind] = "\n".join([*lines, *map(item, texts)])
    body = "\n\n".join(f"### {kind}\n\n{items[kind]}" for kind in KINDS if kind in items)
    return f"{head}{UNRELEASED}\n\n{body}\n" + (f"\n{after}" if after else "")


def released(changelog: str, version: str, day: str) -> str:
    """The changelog whose section "Unreleased" has a version."""
    return changelog.replace(UNRELEASED, f"## [{version}] - {day}", 1)


def main(root: Path, version: str | None = None) -> None:
    """Write CHANGELOG.md and delete the fragments."""
    paths = fragments(root / "changelog.d")
    path = root / "CHANGELOG.md"
    text = collected(path.read_text(), {kind: [p.read_text() for p in found] for kind, found in paths.items()})
    if version is not None:
        text = released(text, version, f"{datetime.now(UTC):%Y-%m-%d}")
    path.write_text(text)
    for fragment in sum(paths.values(), []):
        fragment.unlink()
    print(f"{sum(map(len, paths.values()))} fragments moved into {path.name}")


if __name__ == "__main__":
    main(Path(__file__).parents[1], *sys.argv[1:2])

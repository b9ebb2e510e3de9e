"""How large heldout and its dependencies are, and what each extra adds.

    python benchmarks/install_size.py [--largest 8]

The script reads the records of the packages that are installed in this environment. An extra is counted only if its
packages are installed. A package that several extras need is counted in each.
"""

from __future__ import annotations

import argparse
import re
from importlib import metadata

from packaging.requirements import Requirement


def plain(name: str) -> str:
    """Name of a package as an index writes it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def needed(name: str, extras: frozenset[str] = frozenset(), found: dict[str, set[str]] | None = None) -> set[str]:
    """Names of a package and all packages that it needs; a package that is not installed is marked with a '?'."""
    found = {} if found is None else found
    seen = found.setdefault(plain(name), set())
    if seen and extras <= seen:
        return set(found)
    seen |= extras | {""}
    try:
        requirements = metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        found[f"{plain(name)}?"] = found.pop(plain(name))
        return set(found)
    for text in requirements:
        requirement = Requirement(text)
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in seen):
            needed(requirement.name, frozenset(requirement.extras), found)
    return set(found)


def megabytes(name: str) -> float:
    """Size of the files of an installed package."""
    if name.endswith("?"):
        return 0.0
    places = [file.locate() for file in metadata.files(name) or []]
    return sum(place.stat().st_size for place in places if place.is_file()) / 1e6


def main() -> None:
    """Print the sizes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--largest", type=int, default=8, help="number of packages to list")
    largest = parser.parse_args().largest
    base = needed("heldout")
    sizes = {name: megabytes(name) for name in base}
    print(f"heldout and {len(base) - 1} packages: {sum(sizes.values()):.0f} MB")
    for name in sorted(sizes, key=lambda name: -sizes[name])[:largest]:
        print(f"  {name} {metadata.version(name)}: {sizes[name]:.0f} MB")
    for extra in metadata.metadata("heldout").get_all("Provides-Extra") or []:
        more = needed("heldout", frozenset({extra})) - base
        if absent := sorted(name.removesuffix("?") for name in more if name.endswith("?")):
            print(f"[{extra}]: not installed: {', '.join(absent)}")
            continue
        print(f"[{extra}] adds {sum(map(megabytes, more)):.0f} MB: {', '.join(sorted(more)) or 'nothing'}")


if __name__ == "__main__":
    main()

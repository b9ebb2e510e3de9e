"""Names that stand for cells of an unknown group, or of several groups."""

from __future__ import annotations

import re

_PLACEHOLDER = re.compile(
    r"|un(assigned|known|determined|classified|mapped|specified|k)|not (assigned|available|determined)"
    r"|(doublet|multiplet)s?|negative|ambiguous|missing|n[./]?a\.?|<na>|nan|none|null|[?-]",
    re.IGNORECASE,
)
"""A value that demultiplexing and sheets give to cells without a donor, as a whole word."""


def is_placeholder(name: str) -> bool:
    """Whether a name says that the group is not known, or that there are several groups."""
    return bool(_PLACEHOLDER.fullmatch(re.sub(r"[\s_-]+(?=\S)", " ", name).strip()))

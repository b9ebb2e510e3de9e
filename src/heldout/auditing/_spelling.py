"""Forms of names that are equal for two spellings of the same name."""

from __future__ import annotations

import re

_SUFFIX = re.compile(
    r"(?:[ _.\-]+(?:again|aliquot|bis|copy|dup|duplicate|new|old|rep|repeat|replicate|reseq|resequenced|run|tech|"
    r"techrep)[ _.\-]*\d*|(?<=\d)(?:rep|bis)\d*|(?<=\d)[ _.\-]?[a-d])$"
)


def same_spelling(name: str) -> str:
    """The name in lower case, without spaces, punctuation, zeros at the start of a number, and ``.0`` at the end.

    Punctuation between two digits stays, because ``1-11`` and ``11-1`` are different names.
    """
    plain = name.strip().casefold()
    plain = re.sub(r"(?<=\d)\.0+$", "", plain)
    plain = re.sub(r"(?<=[^\W\d_])[\s_.\-]+(?=[^\W_])|(?<=\d)[\s_.\-]+(?=[^\W\d_])", "", plain)
    plain = re.sub(r"(?<=\d)[\s_.\-]+(?=\d)", "-", plain)
    return re.sub(r"(?<![\d])0+(?=\d)", "", plain)


def without_suffix(name: str) -> str:
    """The spelling of a name without a suffix of replicates, such as ``_rep2`` or the ``b`` of ``D1b``."""
    plain = name.strip().casefold()
    return same_spelling(_SUFFIX.sub("", plain))


_GENERIC = frozenset(
    ["cmpd", "compound", "condition", "drug", "gene", "guide", "molecule", "pert", "perturbation", "sgrna", "target"]
)
_DOSED = re.compile(r"\W*['\"]([^'\"]+)['\"]\s*,\s*[\d.eE+\-]+")
_NUMBER = r"\d+(?:\.\d+)?(?:e[+\-]?\d+)?"
_UNIT = r"(?:[pnuµμm]?m|[nuµμm]?g(?:/m?l)?|ng|%|x|h|hr|hrs|d)"
_EXTRA = re.compile(rf"(?:{_NUMBER}{_UNIT}?|{_UNIT}|(?:sg|g|sgrna|grna|guide|sh|shrna|si|sirna)\d*|(?:low|mid|high))")


def stem(name: str) -> str:
    """The drug or gene in a name, without doses, units and numbers of guides. Empty if nothing else is left.

    A number after a hyphen stays, because ``NKX2-1`` and ``NKX2-2`` are different genes.
    """
    dosed = _DOSED.match(name)
    if dosed:
        return dosed[1].casefold()
    words = [word for word in re.split(r"[\s_,;:|@()\[\]{}'\"]+", name.casefold()) if word]
    kept = [words[0], *(word for word in words[1:] if not _EXTRA.fullmatch(word))] if words else []
    plain = "_".join(kept)
    return "" if plain in _GENERIC else plain

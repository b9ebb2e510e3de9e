"""Columns of obs that are named like an independent unit: a donor, a library, a lane."""

from __future__ import annotations

import re

import pandas as pd

UNIT_WORDS = re.compile(
    r"(?:^|[^a-z])(animal|batch|capture|channel|chip|clone|cohort|culture|dish|donor|embryo|flowcell|gem|gsm|hashtag|"
    r"ident|indiv|individual|lane|library|litter|mouse|organoid|participant|patient|person|plate|pool|rep|replicate|"
    r"run|sample|site|slide|specimen|subject|well)(?:[^a-z]|$)|^id$"
)
"""A column with one of these words in its name looks like a unit that was not declared."""

PROPERTY_WORDS = re.compile(
    r"[^a-z](age|color|colour|condition|count|diagnosis|disease|dose|ethnicity|gender|group|label|organism|race|score|"
    r"sex|source|stage|state|status|strain|term|time|tissue|treatment|type)(?:[^a-z]|$)"
)
"""A column that ends in one of these words is a property of units, e.g. ``donor_sex``. It may be on both sides."""

ORGANISM_WORDS = re.compile(
    r"(?:^|[^a-z])(animal|donor|embryo|indiv|individual|mouse|organoid|participant|patient|person|subject)(?:[^a-z]|$)"
)
"""A column with one of these words says which organism a cell is from."""

SAMPLE_WORDS = re.compile(r"(?:^|[^a-z])(culture|dish|gsm|ident|library|sample|specimen)(?:[^a-z]|$)")
"""A column with one of these words says which sample of an organism a cell is from."""


def plain(key: str) -> str:
    """Name of a column in lower case, with the words of ``donorId`` apart."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key).lower()


def looks_like_unit(key: str) -> bool:
    """Whether a column is named like a unit and not like a property of units."""
    return bool(UNIT_WORDS.search(plain(key))) and not PROPERTY_WORDS.search(plain(key))


def is_unit(values: pd.Series, key: str) -> bool:
    """Whether a column is named like a unit and has values that cells share."""
    if not looks_like_unit(key):
        return False
    if pd.api.types.is_float_dtype(values.dtype) or pd.api.types.is_bool_dtype(values.dtype):
        return False
    n = values.nunique()
    return 1 < n <= len(values) / 2

"""Which split the options ask for, and which options belong to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData


Scheme = Literal["groups", "matched", "time", "perturbations", "cells"]
HeldOut = Literal["single", "combination", "context", "dose"]

_REQUIRED: dict[Scheme, tuple[str, ...]] = {
    "groups": ("group_key",),
    "matched": ("group_key", "match_key", "label_key", "test"),
    "time": ("time_key", "test"),
    "perturbations": ("perturbation_key",),
    "cells": (),
}
_ALLOWED: dict[Scheme, tuple[str, ...]] = {
    "groups": ("label_key", "covariate_keys", "pair_key", "test", "val", "rng"),
    "matched": ("val",),
    "time": ("val",),
    "perturbations": ("control", "hold_out", "covariate_keys", "group_key", "test", "val", "rng"),
    "cells": ("test", "val", "rng"),
}
_OPTIONS = {"covariate_keys": "--covariate-key", "rng": "--seed"}
"""Options whose name is not that of the argument."""

_VALUES = ("matched", "time")
"""Schemes whose ``--test`` and ``--val`` are values of a column. The others take a share of the units."""


def make_split(adata: AnnData, scheme: Scheme, given: Mapping[str, Any], key_added: str) -> None:
    """Split the AnnData with the function of the scheme.

    Parameters
    ----------
    adata
        AnnData to split, (n_obs × n_vars).
    scheme
        What is held out.
    given
        Options by the name of their argument; None where the user passed none.
    key_added
        Name of the split.

    Raises
    ------
    typer.BadParameter
        If an option that the scheme needs is missing, or does not belong to it.
    """
    from heldout import pp

    options = checked(scheme, given)
    functions: dict[Scheme, Any] = {
        "groups": pp.split_groups,
        "matched": pp.split_matched,
        "time": pp.split_time,
        "perturbations": pp.split_perturbations,
        "cells": pp.split_cells,
    }
    functions[scheme](adata, **options, key_added=key_added)


def checked(scheme: Scheme, given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of the function of a scheme."""
    options = {name: value for name, value in given.items() if value not in (None, [], ())}
    missing = [_option(name) for name in _REQUIRED[scheme] if name not in options]
    if missing:
        msg = f"--scheme {scheme} needs {' and '.join(missing)}."
        raise typer.BadParameter(msg)
    other = [_option(name) for name in options if name not in (*_REQUIRED[scheme], *_ALLOWED[scheme])]
    if other:
        allowed = ", ".join(_option(name) for name in (*_REQUIRED[scheme], *_ALLOWED[scheme]))
        msg = f"--scheme {scheme} does not use {' and '.join(other)}. It takes {allowed}."
        raise typer.BadParameter(msg)
    for name in ("test", "val"):
        if name in options:
            options[name] = _held_out(scheme, name, options[name])
    return options


def _option(name: str) -> str:
    return _OPTIONS.get(name, "--" + name.replace("_", "-"))


def _held_out(scheme: Scheme, name: str, texts: Sequence[str]) -> Any:
    """Values of a column, or one share."""
    if scheme in _VALUES:
        return [_number(text, name) for text in texts] if scheme == "time" else list(texts)
    if len(texts) > 1:
        msg = f"--scheme {scheme} takes one --{name}, the share that is held out; {len(texts)} were given."
        raise typer.BadParameter(msg)
    return _number(texts[0], name)


def _number(text: str, name: str) -> float:
    try:
        return float(text)
    except ValueError:
        msg = f"--{name} must be a number here, got {text!r}."
        raise typer.BadParameter(msg) from None

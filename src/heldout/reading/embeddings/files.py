"""Open published files without running any code in them."""

from __future__ import annotations

import hashlib
import zipfile
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from heldout._core.plain_json import read_json
from heldout._core.store import some
from heldout._core.text_tables import pandas_options, read_text
from heldout.reading.embeddings.plain_pickle import read_plain_pickle

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

NamesLike = Any
"""A path, or names in order."""

_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_LONGEST_HEADER = 100_000_000  # as in the reference implementation
_SAFE_TORCH = (2, 6)
_WRAPPERS = ("", "module.", "model.", "_orig_mod.")


def find(source: Any, *candidates: str, what: str) -> Path:
    """Return the path of a file: ``source`` itself, or the first candidate (pattern) in the folder ``source``.

    Raises
    ------
    FileNotFoundError
        If there is no such file. The message names the expected files and the files that were found.
    """
    path = Path(source)
    if path.is_file():
        return path
    if not path.is_dir():
        msg = f"source={str(source)!r}: there is no such file or folder. Looked for {what}."
        raise FileNotFoundError(msg)
    for candidate in candidates:
        found = sorted(path.glob(candidate))
        if len(found) > 1:
            msg = f"{path} has several files {candidate!r}: {some([p.name for p in found])}. Pass the path of one file."
            raise ValueError(msg)
        if found:
            return found[0]
    there = [p.name for p in sorted(path.iterdir())]
    msg = (
        f"source={str(path)!r} is a folder without {what}: looked for {some(candidates, 5)}; it has "
        f"{some(there, 8) if there else 'no files'}. Pass the path of the file."
    )
    raise FileNotFoundError(msg)


def recorded(*paths: Path) -> list[dict[str, str]]:
    """Return names and checksums of the files that were read."""
    found = []
    for path in paths:
        with path.open("rb") as file:
            found.append({"name": path.name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()})
    return found


def torch_file(path: Path) -> Any:
    """Load a torch file: tensors and plain containers only (``weights_only=True``)."""
    import torch

    if tuple(map(int, torch.__version__.split(".")[:2])) < _SAFE_TORCH:
        msg = (
            f"In torch {torch.__version__} a file can run code even with weights_only=True (CVE-2025-32434). Update "
            "torch to read checkpoints: pip install -U 'torch>=2.6'"
        )
        raise RuntimeError(msg)
    try:
        return torch.load(str(path), map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # a damaged file can make torch raise anything
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        msg = (
            f"{path} cannot be read as tensors only (torch.load with weights_only=True: {first[:200]}). Nothing else "
            "of it was run. If you trust the file, export its vectors as a table, and pass the table."
        )
        raise ValueError(msg) from error


def tensor_in(state: Any, path: Path, key: str, *, inside: Sequence[str] = ()) -> np.ndarray:
    """Find a matrix in a (nested) state dict. Prefixes of the key, such as ``module.``, are ignored."""
    import torch

    places = [state, *(state[name] for name in inside if isinstance(state, dict) and name in state)]
    for place in places:
        for prefix in _WRAPPERS:
            if isinstance(place, dict) and prefix + key in place:
                tensor = place[prefix + key]
                if not isinstance(tensor, torch.Tensor):
                    msg = f"{path} holds a {type(tensor).__name__} under {prefix + key!r}, not a tensor."
                    raise ValueError(msg)
                return tensor.detach().float().numpy()
    has = [str(name) for place in places if isinstance(place, dict) for name in place]
    msg = (
        f"{path} has no tensor {key!r} (also not with the prefixes {some(_WRAPPERS[1:])}). It has "
        f"{some(has, 8) if has else 'none'}."
    )
    raise ValueError(msg)


def safetensor(path: Path, key: str) -> np.ndarray:
    """Read a matrix of a safetensors file: eight bytes of header length, a JSON header, then the numbers.

    Raises
    ------
    ValueError
        If the header is damaged, does not match the size of the file, or has no such matrix.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(_LONGEST_HEADER, size - 8):
            msg = (
                f"{path} is not a complete safetensors file: its header claims {length} of {size} bytes. "
                "Download it again."
            )
            raise ValueError(msg)
        kind, shape, first, last = _entry(file.read(length), path, key)
        dtype = np.dtype(_DTYPES[kind])
        n_bytes = int(np.prod(shape, dtype=object)) * dtype.itemsize
        if min(shape, default=0) < 0 or not 0 <= first <= last <= size - 8 - length or last - first != n_bytes:
            msg = (
                f"{path} is not a complete safetensors file: it should have {shape} {kind} at {first} to {last}. "
                "Download it again."
            )
            raise ValueError(msg)
        file.seek(8 + length + first)
        raw = np.frombuffer(file.read(n_bytes), dtype=dtype).reshape(shape)
    if kind == "BF16":  # the upper half of a float32
        return (raw.astype(np.uint32) << 16).view(np.float32)
    return raw.astype(np.float32)


def _entry(header: bytes, path: Path, key: str) -> tuple[str, tuple[int, ...], int, int]:
    """Return the type of the numbers, the shape, and the first and last byte of a matrix."""
    try:
        entries = dict(read_json(header))
    except (ValueError, TypeError) as error:
        msg = f"{path} is not a complete safetensors file: its header cannot be read ({error}). Download it again."
        raise ValueError(msg) from error
    names = [prefix + key for prefix in _WRAPPERS if prefix + key in entries]
    if not names:
        msg = f"{path} has no tensor {key!r}. It has {some([name for name in entries if name != '__metadata__'], 8)}."
        raise ValueError(msg)
    match entries[names[0]]:
        case {"dtype": str(kind), "shape": [*shape], "data_offsets": [int(first), int(last)]} if (
            kind in _DTYPES and all(isinstance(n, int) for n in shape)
        ):
            return kind, tuple(shape), first, last
        case other:
            msg = f"{path} describes {names[0]!r} as {other}. It must be a matrix of {some(_DTYPES, 4)}."
            raise ValueError(msg)


def numpy_file(path: Path) -> Any:
    """Load an array, or the arrays of an npz file. Arrays of Python objects are refused: they would be unpickled."""
    try:
        loaded = np.load(path)
        return {name: loaded[name] for name in loaded.files} if hasattr(loaded, "files") else loaded
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        msg = (
            f"{path} cannot be read as arrays of numbers and text ({error}). Arrays of Python objects are refused, "
            "because opening them can run code. Store names as text: np.asarray(names, dtype=str)."
        )
        raise ValueError(msg) from error


def names_of(names: NamesLike, *, what: str) -> tuple[list[str], list[Path]]:
    """Return the names in the order of the rows, and the file that they come from.

    ``names`` is a sequence or a path. A file can be JSON (a list, or a dict of name to row), text with one name per
    line, a table with the names in ``gene_name`` or the first column, or h5ad, whose ``var_names`` are taken.
    """
    if isinstance(names, str | PathLike):
        path = find(names, what=what)
        return _names_in(path), [path]
    return [str(name) for name in names], []


def _names_in(path: Path) -> list[str]:
    suffix = path.suffix.lower()
    if suffix == ".h5ad":
        import anndata as ad

        opened = ad.read_h5ad(path, backed="r")
        try:
            return [str(name) for name in opened.var_names]
        finally:
            opened.file.close()
    if suffix in {".json", ".pkl", ".pickle"}:
        return in_order(dictionary(path), path)
    if suffix in {".csv", ".tsv"}:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, **pandas_options(path))
        return table["gene_name" if "gene_name" in table else table.columns[0]].tolist()
    return [line.strip() for line in read_text(path).splitlines() if line.strip()]


def dictionary(path: Path) -> dict[str, Any]:
    """Read a dict with text as keys from JSON or a plain pickle. A JSON list becomes a dict of name to position."""
    if path.suffix.lower() in {".pkl", ".pickle"}:
        return read_plain_pickle(path)
    try:
        found = read_json(read_text(path))
    except ValueError as error:
        msg = f"{path} is not JSON ({error})."
        raise ValueError(msg) from error
    if isinstance(found, list):
        found = {str(name): row for row, name in enumerate(found)}
    if not isinstance(found, dict):
        msg = f"{path} holds a {type(found).__name__}, not a dictionary of name to row."
        raise ValueError(msg)
    return found


def in_order(rows: dict[str, Any], path: Path) -> list[str]:
    """Sort names by their row numbers, which must be 0, 1, 2, …"""
    numbers: Iterable[Any] = rows.values()
    if sorted(n for n in numbers if isinstance(n, int)) != list(range(len(rows))):
        msg = f"{path} must give each name a different row number from 0 to {len(rows) - 1}."
        raise ValueError(msg)
    return sorted(rows, key=lambda name: rows[name])

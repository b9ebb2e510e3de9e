"""Public files: fetched once, kept in a cache, checked by what is known of them."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
import urllib.request
from pathlib import Path

logger = logging.getLogger("heldout")

_TIMEOUT = 60  # seconds without an answer


def cache_dir() -> Path:
    """Where downloads are kept: ``HELDOUT_CACHE_DIR``, or ``heldout`` in the cache folder of the user."""
    own = os.environ.get("HELDOUT_CACHE_DIR")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "heldout"


def fetched(
    url: str, folder: str | os.PathLike[str] | None, *, sha256: str | None = None, md5: str | None = None
) -> Path:
    """Path of the file behind ``url``: as it lies in ``folder`` (default the cache), or else downloaded to it.

    Raises
    ------
    OSError
        If it is not there and cannot be downloaded; says where to put it by hand.
    ValueError
        If it has another checksum than ``sha256`` or ``md5``, whichever is published.
    """
    path = (cache_dir() if folder is None else Path(folder)) / url.rsplit("/", 1)[1]
    if not path.is_file():
        logger.info("downloading %s to %s", url, path)
        try:
            _download(url, path)
        except OSError as problem:
            msg = (
                f"{path.name} is not in {path.parent}, and could not be downloaded ({problem}). Without a connection download it "
                f"elsewhere, from {url}, and put it at {path}."
            )
            raise OSError(msg) from problem
    for expected, checksum in ((sha256, sha256_of), (md5, md5_of)):
        if expected is not None and (found := checksum(path)) != expected:
            msg = f"{path} has another checksum ({found}) than it should ({expected}). Delete it, so that it is downloaded again."
            raise ValueError(msg)
    return path


def sha256_of(path: Path) -> str:
    """Checksum of a file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def md5_of(path: Path) -> str:
    """Checksum of a file, read in blocks: it finds a broken file, not a forged one."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _download(url: str, path: Path) -> None:
    """Write to a file beside it first, so that what stands at ``path`` is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as part:
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer:
                shutil.copyfileobj(answer, part)
                promised = answer.headers.get("Content-Length")
            part.flush()
            got = Path(part.name).stat().st_size
            if promised is not None and got != int(promised):
                msg = f"it broke off after {got} of {promised} bytes"
                raise OSError(msg)
        except OSError:
            Path(part.name).unlink()
            raise
    Path(part.name).replace(path)

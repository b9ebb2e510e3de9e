"""Public files that are downloaded once, kept in a cache, and checked."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
import urllib.request
from pathlib import Path

logger = logging.getLogger("heldout")

TIMEOUT = 60  # seconds without an answer

DELETE = "Delete it; the next call downloads it again."


def cache_dir() -> Path:
    """Return the folder of downloads: ``HELDOUT_CACHE_DIR``, or ``heldout`` in the cache folder of the user."""
    chosen = os.environ.get("HELDOUT_CACHE_DIR")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "heldout"


def fetched(
    url: str, folder: str | os.PathLike[str] | None, *, sha256: str | None = None, md5: str | None = None
) -> Path:
    """Return the path of the file behind ``url``, in ``folder`` or the cache; download it if it is not there.

    Raises
    ------
    OSError
        If the file is not there and cannot be downloaded. The message names the path to copy it to.
    ValueError
        If its checksum differs from ``sha256`` or ``md5``.
    """
    path = (cache_dir() if folder is None else Path(folder)) / url.rsplit("/", 1)[1]
    if not path.is_file():
        logger.info("downloading %s to %s", url, path)
        try:
            _download(url, path)
        except OSError as problem:
            raise OSError(not_downloaded(path, url, problem)) from problem
    for expected, checksum in ((sha256, sha256_of), (md5, md5_of)):
        if expected is not None and (found := checksum(path)) != expected:
            msg = f"{path} has another checksum ({found}) than the published one ({expected}). {DELETE}"
            raise ValueError(msg)
    return path


def not_downloaded(path: Path, url: str, problem: OSError, kept: str = "") -> str:
    """Return the message for a failed download: what to do without a connection."""
    return (
        f"{path.name} is not in {path.parent}, and could not be downloaded ({problem}). {kept}"
        f"Without a connection, download it elsewhere from {url} and put it at {path}."
    )


def check_complete(received: int, expected: int) -> None:
    """Refuse a download that ended early.

    Raises
    ------
    OSError
        If the numbers of bytes differ.
    """
    if received != expected:
        msg = f"the connection closed after {received} of {expected} bytes"
        raise OSError(msg)


def sha256_of(path: Path) -> str:
    """Compute the SHA-256 checksum of a file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def md5_of(path: Path) -> str:
    """Compute the MD5 checksum of a file, read in blocks. It detects a broken file, but not a forged one."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _download(url: str, path: Path) -> None:
    """Download to a temporary file in the same folder first, so that the file at ``path`` is always complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as part:
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
                shutil.copyfileobj(answer, part)
                expected = answer.headers.get("Content-Length")
            part.flush()
            received = Path(part.name).stat().st_size
            if expected is not None:
                check_complete(received, int(expected))
        except OSError:
            Path(part.name).unlink()
            raise
    Path(part.name).replace(path)

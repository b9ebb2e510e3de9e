"""Large public files: a download that broke off goes on where it stopped."""

from __future__ import annotations

import logging
import shutil
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from heldout.datasets._download import cache_dir

if TYPE_CHECKING:
    import os

logger = logging.getLogger("heldout")

_TIMEOUT = 60  # seconds without an answer
_WHOLE_ALREADY = 416  # the range that was asked for begins behind the end


def resumed(url: str, folder: str | os.PathLike[str] | None) -> Path:
    """Path of the file behind ``url``: as it lies in ``folder`` (default the cache), or else downloaded to it.

    What has come stands in ``<name>.part`` beside it; the next call asks for the rest.

    Raises
    ------
    OSError
        If it is not there and cannot be downloaded; says how much has come, and where to put it by hand.
    """
    path = (cache_dir() if folder is None else Path(folder)) / url.rsplit("/", 1)[1]
    if path.is_file():
        return path
    part = path.with_name(f"{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    logger.info("downloading %s to %s", url, path)
    try:
        _rest(url, part)
    except OSError as problem:
        come = f"{part.stat().st_size} bytes have come and are kept, call again to go on; " if part.is_file() else ""
        msg = (
            f"{path.name} is not in {path.parent}, and could not be downloaded ({problem}). {come}without a connection download it "
            f"elsewhere, from {url}, and put it at {path}."
        )
        raise OSError(msg) from problem
    part.replace(path)
    return path


def _rest(url: str, part: Path) -> None:
    """Append what is missing; start anew where the server does not send parts."""
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
            continues = have > 0 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
            start, promised = have if continues else 0, answer.headers.get("Content-Length")
            with part.open("ab" if continues else "wb") as file:
                shutil.copyfileobj(answer, file)
    except urllib.error.HTTPError as problem:
        if problem.code == _WHOLE_ALREADY and have:
            return
        raise
    got = part.stat().st_size - start
    if promised is not None and got != int(promised):
        msg = f"it broke off after {start + got} of {start + int(promised)} bytes"
        raise OSError(msg)

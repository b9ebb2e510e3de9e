"""Large public files whose interrupted download continues where it stopped."""

from __future__ import annotations

import logging
import shutil
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from heldout.datasets._download import TIMEOUT, cache_dir, check_complete, not_downloaded

if TYPE_CHECKING:
    import os

logger = logging.getLogger("heldout")

_COMPLETE = 416  # HTTP status: the requested range starts after the end of the file


def resumed(url: str, folder: str | os.PathLike[str] | None) -> Path:
    """Return the path of the file behind ``url``, in ``folder`` or the cache; download it if it is not there.

    The part that was received is kept in ``<name>.part`` in the same folder. The next call asks for the rest.

    Raises
    ------
    OSError
        If the file is not there and cannot be downloaded. The message gives the number of received bytes, and the path
        to copy the file to.
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
        received = f"{part.stat().st_size} bytes are kept; call again to continue. " if part.is_file() else ""
        raise OSError(not_downloaded(path, url, problem, received)) from problem
    part.replace(path)
    return path


def _rest(url: str, part: Path) -> None:
    """Append the missing bytes; start again from the beginning if the server does not send parts."""
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            continues = have > 0 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
            start, expected = have if continues else 0, answer.headers.get("Content-Length")
            with part.open("ab" if continues else "wb") as file:
                shutil.copyfileobj(answer, file)
    except urllib.error.HTTPError as problem:
        if problem.code == _COMPLETE and have:
            return
        raise
    if expected is not None:
        check_complete(part.stat().st_size, start + int(expected))

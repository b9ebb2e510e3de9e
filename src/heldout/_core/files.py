"""Write files so that a file is either complete or absent."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator


def check_target(path: str | os.PathLike[str], argument: str, *, overwrite: bool, instead: str) -> Path:
    """Check that a file can be written, before long work.

    Parameters
    ----------
    path
        The file to write.
    argument
        Name of the argument, for the message.
    overwrite
        Whether a file that is there may be replaced.
    instead
        What to pass to replace the file, for the message.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    IsADirectoryError
        If the path is a folder.
    FileExistsError
        If the file is there.
    PermissionError
        If files cannot be made in the folder.
    """
    target = Path(path)
    if not target.parent.is_dir():
        msg = f"{argument}={str(target)!r}: the folder {str(target.parent)!r} does not exist. Make it first."
        raise FileNotFoundError(msg)
    if target.is_dir():
        msg = f"{argument}={str(target)!r} is a folder. Pass the name of a file in it."
        raise IsADirectoryError(msg)
    if target.exists() and not overwrite:
        msg = f"{argument}={str(target)!r} is there already. Choose another name, or {instead}."
        raise FileExistsError(msg)
    try:
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except OSError as error:
        msg = f"{argument}={str(target)!r}: no file can be written in this folder ({error.strerror}). Choose another."
        raise PermissionError(msg) from error
    return target


@contextmanager
def written_at_once(target: Path) -> Iterator[Path]:
    """A temporary path in the folder of the target, which becomes the target if the block succeeds.

    If the block fails, the temporary file is removed and the target stays as it was.
    """
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
        part = Path(folder) / target.name
        yield part
        part.replace(target)

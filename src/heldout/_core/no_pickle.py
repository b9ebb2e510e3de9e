"""What all model classes refuse: scvi-tools' files are pickles, and opening one can run code."""

from __future__ import annotations

from typing import Any, NoReturn


class NoPickle:
    """Mixin that refuses to save and load files, and says what to do; goes before scvi-tools' own base class."""

    def save(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse: scvi-tools writes a pickle. Use :meth:`to_adata`."""
        raise TypeError(_said(type(self)))

    @classmethod
    def load(cls, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse: scvi-tools reads a pickle. Use :meth:`from_adata`."""
        raise TypeError(_said(cls))

    @classmethod
    def load_registry(cls, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse: scvi-tools reads a pickle. Use :meth:`from_adata`."""
        raise TypeError(_said(cls))

    @classmethod
    def convert_legacy_save(cls, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse: scvi-tools reads and writes a pickle. Use :meth:`to_adata`."""
        raise TypeError(_said(cls))


def _said(cls: type) -> str:
    return (
        f"{cls.__name__} keeps no pickle files. Store the model in its AnnData with model.to_adata(adata, key) and write "
        f"that with adata.write_h5ad; {cls.__name__}.from_adata(adata, key) reads it back."
    )

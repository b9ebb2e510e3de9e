"""Refuse the files of scvi-tools in all model classes: they are pickles, and opening a pickle can run code."""

from __future__ import annotations

from typing import Any, NoReturn


class NoPickle:
    """Mixin that refuses to save and load files. It precedes the base class of scvi-tools."""

    def save(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse: scvi-tools writes a pickle. Use :meth:`to_adata`."""
        raise TypeError(_message(type(self)))

    @classmethod
    def load(cls, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse: scvi-tools reads a pickle. Use :meth:`from_adata`."""
        raise TypeError(_message(cls))

    @classmethod
    def load_registry(cls, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse: scvi-tools reads a pickle. Use :meth:`from_adata`."""
        raise TypeError(_message(cls))

    @classmethod
    def convert_legacy_save(cls, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse: scvi-tools reads and writes a pickle. Use :meth:`to_adata`."""
        raise TypeError(_message(cls))


def _message(cls: type) -> str:
    return (
        f"{cls.__name__} does not read or write pickle files. Store the model in its AnnData with "
        "model.to_adata(adata, key), and write the AnnData with adata.write_h5ad. Read the model back with "
        f"{cls.__name__}.from_adata(adata, key)."
    )

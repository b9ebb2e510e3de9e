"""The command ``heldout`` for pipelines: split, audit, evaluate, report."""

from __future__ import annotations


def main() -> None:
    """Run the command. It is imported when it is called, so that ``import heldout`` does not load typer."""
    import logging

    from heldout._cli._app import app

    logging.basicConfig(format="heldout: %(message)s", level=logging.WARNING)
    app()

"""The commands. Each reads a file, calls one function of heldout, and writes what it stored."""

from __future__ import annotations

import logging
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from heldout._cli._files import check_output, read, save
from heldout._cli._show import Code, problems_shown, show, written
from heldout._cli._split import HeldOut, Scheme, checked, make_split

app = typer.Typer(
    name="heldout",
    help="Hold out single-cell data, and show that a prediction of it was honest.",
    epilog="Exit codes: 0 done, 1 the input cannot be used, 2 wrong options, 3 the audit failed, 4 the split leaks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

File = Annotated[Path, typer.Argument(metavar="FILE", help="An .h5ad file.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", metavar="FILE", help="New .h5ad file with the result.")]
InPlace = Annotated[bool, typer.Option("--in-place", help="Change FILE itself.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the file of --out if it is there.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
Groups = Annotated[
    list[str] | None, typer.Option("--group-key", metavar="COLUMN", help="Column of obs with the independent unit.")
]
Label = Annotated[str | None, typer.Option("--label-key", metavar="COLUMN", help="Column of obs that is predicted.")]
Covariates = Annotated[
    list[str] | None, typer.Option("--covariate-key", metavar="COLUMN", help="Column of obs to balance or check.")
]
Match = Annotated[
    str | None, typer.Option("--match-key", metavar="COLUMN", help="Column of obs that both sides share, e.g. day.")
]
Time = Annotated[str | None, typer.Option("--time-key", metavar="COLUMN", help="Column of obs with the time.")]
Perturbation = Annotated[
    str | None, typer.Option("--perturbation-key", metavar="COLUMN", help="Column of obs with the perturbation.")
]
Control = Annotated[list[str] | None, typer.Option("--control", metavar="NAME", help="Name of the control.")]
Split = Annotated[str, typer.Option("--split-key", metavar="COLUMN", help="Column of obs with the split.")]
Seed = Annotated[int, typer.Option("--seed", metavar="N", help="Seed of the random numbers.")]


def _print_version(asked: bool) -> None:  # noqa: FBT001
    if asked:
        typer.echo(version_of("heldout"))
        raise typer.Exit


@app.callback()
def start(
    *,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Tell each step on stderr.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Set up what all commands share."""
    if verbose:
        logging.getLogger("heldout").setLevel(logging.INFO)


@app.command()
def split(
    file: File,
    *,
    scheme: Annotated[Scheme, typer.Option("--scheme", help="What is held out.")],
    group_key: Groups = None,
    label_key: Label = None,
    match_key: Match = None,
    time_key: Time = None,
    perturbation_key: Perturbation = None,
    control: Control = None,
    hold_out: Annotated[HeldOut | None, typer.Option("--hold-out", help="Which perturbations.")] = None,
    covariate_key: Covariates = None,
    pair_key: Annotated[
        str | None, typer.Option("--pair-key", metavar="COLUMN", help="Column whose groups stay together.")
    ] = None,
    test: Annotated[
        list[str] | None, typer.Option("--test", metavar="VALUE", help="Share, or values of the column.")
    ] = None,
    val: Annotated[
        list[str] | None, typer.Option("--val", metavar="VALUE", help="Share, or values of the column.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", metavar="N", help="Seed of the random numbers.")] = None,
    key_added: Annotated[str, typer.Option("--key-added", metavar="NAME", help="Column of obs to write.")] = "split",
    out: Out = None,
    in_place: InPlace = False,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Split the cells into train, val and test.

    The matrix is not read. Options that take several values are repeated: --test 16 --test 19.
    """
    given: dict[str, Any] = {
        "group_key": group_key,
        "label_key": label_key,
        "match_key": match_key,
        "time_key": time_key,
        "perturbation_key": perturbation_key,
        "control": control,
        "hold_out": hold_out,
        "covariate_keys": covariate_key,
        "pair_key": pair_key,
        "test": test,
        "val": val,
        "rng": seed,
    }
    checked(scheme, given)
    with problems_shown():
        target = check_output(file, out, in_place=in_place, overwrite=overwrite, needed="A split must be written.")
        source = read(file, backed=True)
        make_split(source.adata, scheme, given, key_added)
        from heldout._core.partition import read_partition

        made = read_partition(source.adata, key_added)
        assert target is not None
        save(source, target)
    counts = made.counts()
    answer = {"split_key": key_added, "scheme": made.scheme, "hash": made.hash, "cells": counts, "written": str(target)}
    cells = ", ".join(f"{n:,} {name}" for name, n in counts.items() if n)
    show(answer, f"{key_added}: {cells} cells; hash {made.hash[:12]}\nwrote {target}", as_json=json)


@app.command()
def audit(
    file: File,
    *,
    group_key: Groups = None,
    label_key: Label = None,
    covariate_key: Covariates = None,
    match_key: Match = None,
    time_key: Time = None,
    perturbation_key: Perturbation = None,
    control: Control = None,
    split_key: Split = "split",
    item: Annotated[list[str] | None, typer.Option("--item", metavar="NAME", help="Item, or 'cheap' or 'all'.")] = None,
    layer: Annotated[str | None, typer.Option("--layer", metavar="NAME", help="Layer to use instead of X.")] = None,
    seed: Seed = 0,
    key_added: Annotated[str, typer.Option("--key-added", metavar="NAME", help="Name of the audit.")] = "audit",
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 3 on warn and unidentifiable too.")] = False,
    out: Out = None,
    in_place: InPlace = False,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Look for leaks in a split. Exits with 3 if an item fails.

    Columns that the split records need not be passed again. The result is written before the command exits with 3.
    """
    with problems_shown():
        target = check_output(file, out, in_place=in_place, overwrite=overwrite)
        source = read(file)
        from heldout import tl
        from heldout.auditing._finding import conclusion

        items: Any = (item or ["cheap"])[0] if not item or item in (["cheap"], ["all"]) else item
        table = tl.audit(
            source.adata,
            group_key or None,
            label_key,
            covariate_keys=covariate_key or (),
            match_key=match_key,
            time_key=time_key,
            perturbation_key=perturbation_key,
            control=control or (),
            split_key=split_key,
            items=items,
            layer=layer,
            rng=seed,
            key_added=key_added,
        )
        if target is not None:
            save(source, target)
    found = set(table["status"].astype(str))
    failed = bool(found & ({"fail", "warn", "unidentifiable"} if strict else {"fail"}))
    answer = {
        "key": key_added,
        "failed": failed,
        "conclusion": conclusion(table),
        "counts": table["status"].astype(str).value_counts().to_dict(),
        "findings": table,
        "written": written(target),
    }
    show(answer, str(table), as_json=json)
    if failed:
        raise typer.Exit(Code.AUDIT_FAILED)


@app.command()
def evaluate(
    file: File,
    *,
    key: Annotated[
        str | None, typer.Option("--key", metavar="NAME", help="Name of a fit in FILE. The last fit if left out.")
    ] = None,
    probabilities: Annotated[
        str | None,
        typer.Option(
            "--probabilities", metavar="COLUMN", help="Column of obs with the probability of --positive-class."
        ),
    ] = None,
    positive_class: Annotated[
        str | None,
        typer.Option("--positive-class", metavar="CLASS", help="Class of --probabilities. The second one if left out."),
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option("--predictions", metavar="FILE", help="File with predicted perturbations (.h5ad, .csv, .tsv)."),
    ] = None,
    label_key: Label = None,
    group_key: Groups = None,
    split_key: Split = "split",
    partition: Annotated[Literal["test", "val", "train"], typer.Option("--partition", help="Cells to score.")] = "test",
    baseline: Annotated[
        list[str] | None, typer.Option("--baseline", metavar="NAME", help="Baseline to score too.")
    ] = None,
    n_bootstrap: Annotated[int, typer.Option("--n-bootstrap", metavar="N", help="Number of bootstrap draws.")] = 2000,
    seed: Seed = 0,
    key_added: Annotated[str | None, typer.Option("--key-added", metavar="NAME", help="Name of the result.")] = None,
    out: Out = None,
    in_place: InPlace = False,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Score a fit, or predictions of another tool, with baselines and a verdict. Exits with 4 if the split leaks.

    The result must be written, because the file counts each look at its test set.
    """
    from heldout._cli._evaluate import ScoredInput, score

    scored = ScoredInput(
        key,
        probabilities,
        positive_class,
        predictions,
        label_key,
        tuple(group_key or ()),
        split_key,
        partition,
        key_added,
    )
    scored.check(baselines=bool(baseline))
    with problems_shown():
        needed = "An evaluation must be written, because the file counts each look at its test set."
        target = check_output(file, out, in_place=in_place, overwrite=overwrite, needed=needed)
        source = read(file)
        answer, text, leaks = score(
            source.adata, scored, baselines=baseline or None, n_bootstrap=n_bootstrap, seed=seed
        )
        assert target is not None
        save(source, target)
    show({**answer, "written": str(target)}, text, as_json=json)
    if leaks:
        raise typer.Exit(Code.LEAKS)


@app.command()
def report(
    file: File,
    *,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="HTML file to write.")],
    key: Annotated[
        list[str] | None, typer.Option("--key", metavar="NAME", help="Result to report. All if left out.")
    ] = None,
    title: Annotated[str | None, typer.Option("--title", metavar="TEXT", help="Title of the page.")] = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Write one HTML page about everything that is stored in the file."""
    with problems_shown():
        from heldout._core.files import check_target

        check_target(out, "--out", overwrite=overwrite, instead="pass --overwrite")
        from heldout._report import report as write_report

        source = read(file)
        path = write_report(source.adata, out, key=key or None, title=title, overwrite=overwrite)
    show({"written": str(path), "bytes": path.stat().st_size}, f"wrote {path}", as_json=json)

"""Partition codes of the groups in each fold of a cross-validation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from heldout._core import store
from heldout.splitting import _folds
from heldout.splitting._group_draws import by_fraction
from heldout.splitting._groups import CODE, Groups, check_classes

if TYPE_CHECKING:
    from heldout.splitting._folds import FoldUnits


def fold_masks(
    units: FoldUnits, scheme: str, rng: np.random.Generator, *, n_folds: int, match: np.ndarray | None, pairs: str
) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the mask of the test groups of each fold, (n_folds × G), and the parameters to record for this scheme."""
    if scheme == "kfold":
        return _folds.kfold(units, n_folds, rng) == np.arange(n_folds)[:, None], {}
    if scheme == "leave_one_group_out":
        return _folds.leave_one_group_out(units), {}
    if scheme == "leave_one_pair_out":
        return _folds.leave_one_pair_out(units, rng, pairs=pairs), {"pairs": pairs}
    assert match is not None
    tests, values, never = _folds.leave_one_match_out(units, match)
    if never:
        store.logger.warning(
            "These values of match_key lack a class. Their groups are in train in each fold: %s.", ", ".join(never)
        )
    return tests, {"values": values, "never_test": never}


def fold_codes(
    groups: Groups,
    units: FoldUnits,
    tests: np.ndarray,
    rng: np.random.Generator,
    *,
    scheme: str,
    val: Literal["next"] | float,
    n_inner: int | None,
) -> dict[str, np.ndarray]:
    """Return the partition code of each group, (G,), for each fold.

    The keys are the number of the fold, or ``"fold_inner"`` for nested cross-validation.
    """
    if n_inner is not None:
        inner = [_folds.inner_folds(units, test, n_inner, rng) for test in tests]
        return {
            f"{fold}_{number}": _coded(tests[fold], folds == number)
            for fold, folds in enumerate(inner)
            for number in range(n_inner)
        }
    if val != "next":
        return {str(fold): _with_share(groups, test, float(val), rng) for fold, test in enumerate(tests)}
    by_fold = scheme in ("kfold", "leave_one_match_out")
    vals = np.roll(tests, -1, axis=0) if by_fold else _folds.next_groups(units, tests)
    return {str(fold): _coded(*pair) for fold, pair in enumerate(zip(tests, vals, strict=True))}


def _coded(test: np.ndarray, val: np.ndarray) -> np.ndarray:
    """Return partition codes from the masks of test and val. All other groups are train."""
    return np.select([test, val], [CODE["test"], CODE["val"]], CODE["train"]).astype(np.int8)


def _with_share(groups: Groups, test: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Return partition codes with a random share of the groups outside test in val."""
    codes = _coded(test, np.zeros_like(test))
    if share:
        labels = None if groups.labels is None else groups.labels[~test]
        rest = Groups(groups.names[~test], np.empty(0, dtype=int), labels)
        codes[~test] = by_fraction(rest, {"train": 1 - share, "val": share}, rng)
    return codes


def check_fold(groups: Groups, codes: np.ndarray, *, scheme: str, label_key: str | None, val: Any) -> None:
    """Refuse a fold that lacks train, val (if it was asked for) or one of the classes."""
    for partition in ("train", "val") if val else ("train",):
        if not (codes == CODE[partition]).any():
            msg = (
                f"val={val!r} leaves no group for {partition}. Test has "
                f"{store.some(groups.names[codes == CODE['test']])} of {len(groups.names)} groups. Ask for more "
                "folds, or for no val (val=0)."
            )
            raise ValueError(msg)
    if label_key is not None:
        single_class = scheme == "leave_one_group_out"
        seen = np.where(codes == CODE["test"], CODE["unused"], codes) if single_class else codes
        check_classes(groups, seen, label_key=label_key)

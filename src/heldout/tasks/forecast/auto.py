"""A mixture of forecasts. The weights depend on how well each predicts train times from other train times."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from scipy.spatial.distance import cdist

from heldout._core.method import Fitted, with_prefix, without_prefix
from heldout._core.progress import progress
from heldout._core.times import times_text
from heldout.tasks.forecast.config import AutoConfig
from heldout.tasks.forecast.damping import FIRST, MOST_LEARNT, MOST_SCORED, NOTHING, ORIGINS, horizon
from heldout.tasks.forecast.interface import some_rows
from heldout.tasks.forecast.mixing import Choice, Past, assigned, choose
from heldout.tasks.forecast.shared import shared_couplings
from heldout.tasks.forecast.words import auto_note

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from heldout._core.method import Registry
    from heldout.tasks.forecast.interface import ForecastMethod, Snapshots

logger = logging.getLogger("heldout")

REFERENCE = "persistence"

DEFAULTS: Mapping[str, tuple[str, ...]] = {
    "forecast": ("ot_linear", "var_ridge", "reversion", "ridge_reversion", "states"),
    "interpolation": ("blend", "ot_interpolation", "neighbour_mixture"),
}
"""Candidates for each kind of question, in closed form."""

USUAL: Mapping[str, str] = {"forecast": REFERENCE, "interpolation": "blend"}
"""Candidate that is taken without any evidence, for each kind of question."""


@dataclass(frozen=True)
class _Question:
    """A known time that is predicted from others.

    Parameters
    ----------
    rest
        The times that it is predicted from.
    truth
        Its cells, in the space of ``rest``.
    at
        The time.
    """

    rest: Snapshots
    truth: np.ndarray
    at: float

    @property
    def start(self) -> int:
        """Number of the last time before."""
        return int(np.searchsorted(self.rest.times, self.at)) - 1

    @property
    def start_time(self) -> float:
        """The last time before."""
        return float(self.rest.times[self.start])


class Auto:
    """Stack forecasts by the energy distance on past times, or repeat the last cells if nothing was better there.

    After the last train time, each train time from the third on is forecast from the times before it. Between train
    times, each inner train time is predicted from the others. The weights are chosen by
    :func:`heldout.tasks.forecast.mixing.choose`, for each target with regard to how far ahead it is. Each start cell is
    then predicted by one of the candidates, in proportion to the weights.
    """

    default_config: ClassVar[AutoConfig] = AutoConfig()
    min_times: ClassVar[int] = 1
    stochastic: ClassVar[bool] = False
    keeps_cells: ClassVar[bool] = True

    def __init__(self) -> None:
        self.registry: Registry | None = None

    def candidates(self, config: AutoConfig, kind: str, n_times: int) -> tuple[list[str], dict[str, str]]:
        """Names of the candidates for a kind of question, persistence first, and why others are left out."""
        assert self.registry is not None
        names, left_out = [REFERENCE], {}
        for name in DEFAULTS[kind] if config.candidates is None else config.candidates:
            method = self.registry[name]
            need = _times_needed(method.load(), kind)
            if name == "auto":
                msg = "AutoConfig: candidates must not contain 'auto'. Name other methods."
                raise ValueError(msg)
            if kind not in method.kinds:
                left_out[name] = f"cannot do {kind}"
            elif n_times < need:
                left_out[name] = f"needs {need} train times"
            elif name not in names:
                names.append(name)
        return names, left_out

    @shared_couplings()
    def fit(self, data: Snapshots, config: AutoConfig, *, seed: int) -> Fitted:
        """Fit the candidates, predict train times with them, and find the weights for each target."""
        arrays: dict[str, np.ndarray] = {}
        info: dict[str, Any] = {"kinds": {}, "members": {}, "shrinkage": config.shrinkage, "times": data.times.tolist()}
        for kind in _kinds(data):
            names, left_out = self.candidates(config, kind, len(data.times))
            where = "after the last train time" if kind == "forecast" else "between train times"
            logger.info("auto fits %d candidates %s: %s", len(names), where, ", ".join(names))
            members = {name: self._fitted(name, data, seed) for name in names if name not in info["members"]}
            for name, fitted in members.items():
                arrays |= with_prefix(fitted.arrays, f"{name}.")
                info["members"][name] = fitted.info
            known = {name: self._member(name, Fitted(arrays, info)) for name in names}
            past, record = self._past(data, kind, known, seed)
            measured = {name: value for name, value in asdict(past).items() if name not in ("at", "reference")}
            arrays |= with_prefix(measured, f"past.{kind}.")
            info["kinds"][kind] = {"names": names, "left_out": left_out, "backtests": record}
        stored, info["same"] = _without_copies(arrays)
        fitted = Fitted(stored, info)
        for kind, about in info["kinds"].items():
            targets = [at for at in data.targets if _kind(data.times, at) == kind] or [_next(data.times, kind)]
            about["chosen"] = [self.words_of_choice(fitted, at) for at in targets]
        logger.info("auto %s", auto_note(info))
        return fitted

    def predict(
        self, fitted: Fitted, start: np.ndarray, start_time: float, at: float, rng: np.random.Generator
    ) -> np.ndarray:
        """Predict each start cell by one candidate, in proportion to the weights."""
        names, choice = self.choice(fitted, at)
        which = assigned(choice.weights, start)
        cells = np.empty_like(start)
        for i in np.unique(which):
            member, name = self._member(names[i], fitted), names[i]
            rows = which == i
            cells[rows] = self._implementation(name).predict(member, start[rows], start_time, at, rng)
        return cells

    def kept(self, fitted: Fitted, start: np.ndarray, at: float) -> np.ndarray:
        """Whether each predicted cell is the start cell after its movement, (n,)."""
        names, choice = self.choice(fitted, at)
        which = assigned(choice.weights, start)
        keeps = np.empty(len(start), dtype=bool)
        for i in np.unique(which):
            method, rows = self._implementation(names[i]), which == i
            of_rows = getattr(method, "kept", None)  # a method in which some cells are the start cells
            member = self._member(names[i], fitted)
            keeps[rows] = method.keeps_cells if of_rows is None else of_rows(member, start[rows], at)
        return keeps

    def choice(self, fitted: Fitted, at: float) -> tuple[list[str], Choice]:
        """Candidates and their weights for a target time."""
        times = np.array(fitted.info["times"])
        kind = _kind(times, at)
        if kind not in fitted.info["kinds"]:
            made = " and ".join(fitted.info["kinds"])
            msg = (
                f"at={at:g} asks for {kind}, but the candidates of this fit were compared for {made}, as its split "
                "asks. Fit on a split whose test time lies like the time that you want to predict."
            )
            raise ValueError(msg)
        names: list[str] = fitted.info["kinds"][kind]["names"]
        at_past = np.array([test["at"] for test in fitted.info["kinds"][kind]["backtests"]])
        past = Past(**without_prefix(fitted.arrays, f"past.{kind}."), at=at_past, reference=0)
        start_time = float(times[np.searchsorted(times, at) - 1])
        ahead = horizon(times, start_time, at) if kind == "forecast" else 1.0
        return names, choose(past, _prior(names, kind), ahead=ahead, shrinkage=fitted.info["shrinkage"])

    def words_of_choice(self, fitted: Fitted, at: float) -> dict[str, Any]:
        """What was chosen for a target and why, as JSON values."""
        names, choice = self.choice(fitted, at)
        tested = choice.gains[np.isfinite(choice.gains)]
        return {
            "at": float(at),
            "weights": {name: round(float(w), 4) for name, w in zip(names, choice.weights, strict=True) if w > 5e-4},
            "reason": choice.reason,
            "gain_on_past": tested.round(4).tolist(),
            "n_better": int((tested > 0).sum()),
            "n_tested": len(tested),
        }

    def members(self, fitted: Fitted) -> dict[str, Fitted]:
        """All candidates that were fitted, by name."""
        return {name: self._member(name, fitted) for name in fitted.info["members"]}

    def _member(self, name: str, fitted: Fitted) -> Fitted:
        arrays = without_prefix(fitted.arrays, f"{name}.")
        same: dict[str, str] = fitted.info.get("same", {})
        copies = {alias: fitted.arrays[known] for alias, known in same.items()}
        return Fitted(arrays | without_prefix(copies, f"{name}."), fitted.info["members"][name])

    def _implementation(self, name: str) -> ForecastMethod:
        assert self.registry is not None
        found: ForecastMethod = self.registry.implementation(name)
        return found

    def _fitted(self, name: str, data: Snapshots, seed: int) -> Fitted:
        method = self._implementation(name)
        return method.fit(data, method.default_config, seed=seed)

    def _past(
        self, data: Snapshots, kind: str, members: Mapping[str, Fitted], seed: int
    ) -> tuple[Past, list[dict[str, Any]]]:
        """Predict train times by all candidates. Returns the distances, and a record of JSON values."""
        asked = list(_origins(data) if kind == "forecast" else _inner_times(data))
        stage = f"candidates predict the train times {times_text(np.unique([question.at for question in asked]))}"
        rows = [
            _distances(self._predicted(question, members, seed), question)
            for question in (progress(asked, stage) if asked else ())
        ]
        m, reference = len(members), list(members).index(REFERENCE)
        past = Past(
            within=np.array([row[0] for row in rows]).reshape(-1, m, m),
            to_truth=np.array([row[1] for row in rows]).reshape(-1, m),
            of_truth=np.array([row[2] for row in rows]),
            least=np.array([NOTHING * row[3] for row in rows]),
            ahead=np.array([_ahead(question, kind) for question in asked]),
            evidence=np.array([_evidence(question, data, kind) for question in asked]),
            at=np.array([question.at for question in asked]),
            reference=reference,
        )
        distances = np.array([past.distances(past.alone(i)) for i in range(m)]).reshape(m, -1)
        skills = np.array([past.gains(past.alone(i)) for i in range(m)]).reshape(m, -1)
        if kind == "interpolation" and len(rows):  # much changes around some times and little around others
            past = replace(past, least=np.maximum(past.least, distances[reference].mean()))
        record = [
            {
                "at": question.at,
                "start_time": question.start_time,
                "n_times": len(question.rest.times),
                "energy_distance": dict(zip(members, distances[:, b].round(6).tolist(), strict=True)),
                "skill": dict(zip(members, skills[:, b].round(4).tolist(), strict=True)),
            }
            for b, question in enumerate(asked)
        ]
        return past, record

    def _predicted(
        self, question: _Question, members: Mapping[str, Fitted], seed: int
    ) -> list[tuple[np.ndarray, bool]]:
        """Cells of each candidate, and whether row i is start cell i."""
        rest, found = question.rest, []
        start = rest.cells[question.start]
        start = start[some_rows(len(start), MOST_SCORED)]
        for name, whole in members.items():
            method = self._implementation(name)
            if hasattr(method, "earlier") and "damping" in whole.info:
                fitted = method.earlier(whole, rest, method.default_config, seed=seed)
            else:
                fitted = method.fit(rest, method.default_config, seed=seed)
            rng = np.random.default_rng(seed)
            cells = method.predict(fitted, start, question.start_time, question.at, rng)
            found.append((cells, bool(method.keeps_cells)))
        return found


def _times_needed(method: Any, kind: str) -> int:
    """Number of train times that a candidate needs, also to learn how much to move."""
    learns = kind == "forecast" and getattr(method.default_config, "damping", 0.0) is None
    least = method.min_times if kind == "forecast" else min(method.min_times, 2)
    return max(least, FIRST + 1 if learns else 1)


def _kind(times: np.ndarray, at: float) -> str:
    return "forecast" if at > times[-1] else "interpolation"


def _kinds(data: Snapshots) -> list[str]:
    """Kinds of questions that the targets ask; both if they are not known."""
    targets = data.targets or tuple(_next(data.times, kind) for kind in DEFAULTS)
    found = {_kind(data.times, at) for at in targets}
    return [kind for kind in DEFAULTS if kind in found and (kind == "forecast" or len(data.times) > 1)]


def _next(times: np.ndarray, kind: str) -> float:
    """A time that a kind of question can ask for."""
    step = float(np.diff(times).max()) if len(times) > 1 else 1.0
    return float(times[-1]) + step if kind == "forecast" else float(times[:2].mean())


def _prior(names: Sequence[str], kind: str) -> np.ndarray:
    """Weights without any evidence: the usual candidate, or equal weights of the defaults for middle times."""
    usual = [USUAL[kind]] if USUAL[kind] in names else [name for name in names if name in DEFAULTS[kind]]
    usual = usual or [REFERENCE]
    return np.array([name in usual for name in names]) / len(usual)


def _origins(data: Snapshots) -> Iterator[_Question]:
    """Each train time from the third on, forecast from at most the last four sets of times before it."""
    for n in range(FIRST, len(data.times))[-ORIGINS:]:
        past, later = data.origin(n)
        rest = past.thinned(MOST_LEARNT)
        for time, truth in zip(data.times[n:], later, strict=True):
            yield _Question(rest, truth, float(time))


def _inner_times(data: Snapshots) -> Iterator[_Question]:
    """Each inner train time, predicted from the others."""
    thin = data.thinned(MOST_LEARNT)
    for i in range(1, len(data.times) - 1):
        yield _Question(thin.without(i), thin.cells[i], float(data.times[i]))


def _ahead(question: _Question, kind: str) -> float:
    return horizon(question.rest.times, question.start_time, question.at) if kind == "forecast" else 1.0


def _evidence(question: _Question, data: Snapshots, kind: str) -> float:
    """Number of changes that were learnt from, as a share of those of the whole fit."""
    return (len(question.rest.times) - 1) / (len(data.times) - 1) if kind == "forecast" else 1.0


def _distances(
    clouds: Sequence[tuple[np.ndarray, bool]], question: _Question
) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Mean distances within and between candidates, to the truth and within it, and the spread of the truth."""
    truth = question.truth[some_rows(len(question.truth), MOST_SCORED)]
    within = np.empty((len(clouds), len(clouds)))
    for i, (first, first_keeps) in enumerate(clouds):
        for j, (second, second_keeps) in enumerate(clouds[: i + 1]):
            within[i, j] = within[j, i] = _mean(first, second, same=i == j or (first_keeps and second_keeps))
    to_truth = np.array([_mean(cells, truth, same=False) for cells, _ in clouds])
    spread = 2 * float(np.linalg.norm(truth - truth.mean(axis=0), axis=1).mean())
    return within, to_truth, _mean(truth, truth, same=True), spread


def _mean(first: np.ndarray, second: np.ndarray, *, same: bool) -> float:
    """Mean distance of a row of the first to a row of the second, without row i to row i if they are the same cell."""
    distance = cdist(first, second)
    if not same:
        return float(distance.mean())
    return float((distance.sum() - np.trace(distance)) / (len(first) * (len(first) - 1)))


def _without_copies(arrays: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Arrays without those that another candidate has too, and the names under which those are stored."""
    stored: dict[str, np.ndarray] = {}
    same: dict[str, str] = {}
    first: dict[tuple[str, tuple[int, ...], bytes], str] = {}
    for name, array in arrays.items():
        known = first.setdefault((array.dtype.str, array.shape, np.ascontiguousarray(array).tobytes()), name)
        if known == name or name.startswith("past."):
            stored[name] = array
        else:
            same[name] = known
    return stored, same

"""Options of methods are checked for type and range, once for all option classes."""

import inspect
from dataclasses import dataclass
from importlib import import_module
from typing import ClassVar, Literal

import numpy as np
import pytest

from heldout._core.method import FITTED, Fitted, Method, Registry, with_prefix, without_prefix
from heldout._core.options import Config, NoConfig, option


@dataclass(frozen=True)
class Options(Config):
    """One option of each type."""

    renamed: ClassVar[dict[str, str]] = {"n_components": "n_comps"}

    n_comps: int = option(2, at_least=1)
    penalty: float | None = option(None, above=0, at_most=2)
    noise: float = option(0.5, at_least=0, below=1, hint="it is a share")
    rollout: Literal["straight", "steps"] = "straight"
    n_hidden: tuple[int, ...] = option((16,), at_least=1)
    residual: bool = True
    embedding: str | None = None


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("n_comps", True, "an integer >= 1"),
        ("n_comps", 0, "an integer >= 1"),
        ("n_comps", 2.0, "an integer >= 1"),
        ("n_comps", "2", "an integer >= 1"),
        ("n_comps", None, "an integer >= 1"),
        ("penalty", 0, r"a number in \(0, 2\] or None"),
        ("penalty", 2.5, r"a number in \(0, 2\] or None"),
        ("penalty", True, r"a number in \(0, 2\] or None"),
        ("penalty", float("nan"), r"a number in \(0, 2\] or None"),
        ("noise", 1, r"a number in \[0, 1\): it is a share"),
        ("noise", "x", r"a number in \[0, 1\): it is a share"),
        ("rollout", "step", "one of 'straight', 'steps'"),
        ("n_hidden", (), "a sequence of one or more integers >= 1"),
        ("n_hidden", 3, "a sequence of one or more integers >= 1"),
        ("n_hidden", "34", "a sequence of one or more integers >= 1"),
        ("n_hidden", (8, True), "a sequence of one or more integers >= 1"),
        ("residual", 1, "True or False"),
        ("embedding", 3, "a string or None"),
    ],
)
def test_a_wrong_option_is_refused_by_name_value_and_what_is_allowed(name, value, allowed):
    import re

    with pytest.raises(ValueError, match=rf"^Options: {name}={re.escape(repr(value))} must be {allowed}\.$"):
        Options(**{name: value})


def test_numpy_numbers_and_lists_become_plain_values():
    options = Options(n_comps=np.int64(3), penalty=np.float32(0.5), n_hidden=[8, np.int32(4)], residual=np.True_)
    assert (options.n_comps, options.penalty, options.n_hidden, options.residual) == (3, 0.5, (8, 4), True)
    assert {type(options.n_comps), type(options.penalty), type(options.n_hidden[1])} == {int, float}
    assert options.residual is True


def test_stored_options_of_an_older_fit_are_read_under_their_new_names():
    stored = {"n_components": 5.0, "penalty": None, "n_hidden": [4, 4], "seed": 3}
    assert Options.from_stored(stored) == Options(n_comps=5, n_hidden=(4, 4))
    with pytest.raises(ValueError, match="has the option 'later', which Options does not know"):
        Options.from_stored({"later": 1})


class Echo:
    """A method that does nothing."""

    default_config = Options(n_comps=7)
    stochastic = False


REGISTRY = Registry(
    "echoes",
    Method("plain", "baseline", "the input", f"{__name__}:Echo", kinds=frozenset({"a"}), default_baseline=True),
    Method("wide", "baseline", "the input", f"{__name__}:Echo", default_baseline=True, requires="covariates"),
    Method("deep", "model", "the input", f"{__name__}:Echo", kinds=frozenset({"a", "b"})),
)


def test_baselines_are_the_default_ones_or_those_asked_for():
    assert REGISTRY.baselines(None) == ["plain"]
    assert REGISTRY.baselines(None, known=["covariates"]) == ["plain", "wide"]
    assert REGISTRY.baselines(None, known=["covariates"], kinds=["a"]) == ["plain"]
    assert REGISTRY.baselines(["deep", "wide"]) == ["deep", "wide"]
    assert REGISTRY.names("baseline") == ["plain", "wide"]
    assert REGISTRY.names(kinds=["a", "b"]) == ["deep"]
    with pytest.raises(ValueError, match=r"baselines='plain' must be a list of methods, e\.g\. \['plain'\]"):
        REGISTRY.baselines("plain")
    with pytest.raises(ValueError, match="method='plan' is not a echoes method. Did you mean 'plain'"):
        REGISTRY.baselines(["plan"])


def test_options_of_another_class_are_refused():
    assert REGISTRY["deep"].check_config(None) == Options(n_comps=7)
    assert REGISTRY["deep"].check_config(Options(3)).n_comps == 3
    with pytest.raises(TypeError, match="config must be a Options for method='deep', got NoConfig"):
        REGISTRY["deep"].check_config(NoConfig())


def test_a_fit_is_read_back_as_it_was_packed(whole):
    from heldout._core.partition import read_partition

    fitted = Fitted({"w": np.arange(3.0)}, {"k": 1})
    partition = read_partition(whole, "split")
    fit = REGISTRY.to_fit(
        "deep",
        Options(n_comps=4),
        fitted,
        partition,
        seed=9,
        genes=np.array(["g"], dtype=object),
        info={"layer": None},
        arrays={"space": np.zeros(2)},
    )
    assert (fit.method, fit.config["seed"], fit.config["n_comps"]) == ("echoes.deep", 9, 4)
    assert set(fit.arrays) == {"space", f"{FITTED}w"}
    assert isinstance(REGISTRY.implementation_of(fit), Echo)
    assert REGISTRY.config_of(fit) == Options(n_comps=4)
    again = Fitted.of(fit)
    assert set(again.arrays) == {"w"}
    assert again.info == {"k": 1}
    np.testing.assert_array_equal(again.arrays["w"], fitted.arrays["w"])


def test_prefixes_are_added_and_removed():
    arrays = {"w": np.ones(1)}
    assert without_prefix({**with_prefix(arrays, "net."), "other": np.zeros(1)}, "net.") == arrays


@pytest.mark.parametrize("wing", ["genotype", "forecast", "forecast_genes", "perturbation"])
def test_every_method_has_the_shape_that_its_wing_declares(wing):
    """Registries are read by name at run time, so the type checker does not compare a method with its protocol."""
    interface = import_module(f"heldout.tasks.{wing}.interface")
    (protocol,) = [
        found
        for found in vars(interface).values()
        if getattr(found, "_is_protocol", False) and found.__module__ == interface.__name__
    ]
    for method in import_module(f"heldout.tasks.{wing}").METHODS:
        loaded = method.load()
        for name in protocol.__annotations__:
            assert hasattr(loaded, name), f"{method.name} lacks {name}"
        for verb in ("fit", "predict"):
            declared, found = (list(inspect.signature(getattr(of, verb)).parameters) for of in (protocol, loaded))
            assert found[: len(declared)] == declared, f"{method.name}.{verb}"

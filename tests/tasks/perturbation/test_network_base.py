"""What all networks of perturbations share: conditions, training, weights as arrays, and starting from a fit."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
import torch
from scvi.module.base import BaseModuleClass, LossOutput

import heldout as ho
from heldout.tasks.perturbation.config_networks import TrainedConfig
from heldout.tasks.perturbation.networks._condition import ConditionEncoder, Conditions
from heldout.tasks.perturbation.networks._network import NetworkMethod, n_epochs
from heldout.tasks.perturbation.networks._trainingplan import check_trainer_options, schedule
from heldout.tasks.perturbation.pairs import Pairs
from heldout.tasks.perturbation.predictions import Controls, Shifted
from heldout.tasks.perturbation.side_information import side_information
from tests.helpers.perturbations import combinations, contexts, simulated, task_of


@dataclass(frozen=True)
class ToyConfig(TrainedConfig):
    """Options of the network of these tests."""

    width: int = 8


TOY = ToyConfig(batch_size=64, lr=1e-2, max_epochs=3, n_updates=100)


class MeanModule(BaseModuleClass):
    """The mean of each condition, by squared error."""

    def __init__(self, config, conditions, arrays):
        super().__init__()
        self.encoder = ConditionEncoder(conditions, config.width)
        self.out = torch.nn.Linear(config.width, len(arrays["centre"]))

    def _get_inference_input(self, tensors, **kwargs):
        return {"batch": tensors}

    def _get_generative_input(self, tensors, inference_outputs, **kwargs):
        return inference_outputs

    def inference(self, batch):
        return {"mean": self.out(self.encoder(batch))}

    def generative(self, mean):
        return {}

    def loss(self, tensors, inference_outputs, generative_outputs):
        off = (inference_outputs["mean"] - tensors["X"]).square().mean(dim=1)
        return LossOutput(loss=off.mean(), n_obs_minibatch=len(off))

    def sample(self):
        raise TypeError


class Toy(NetworkMethod):
    """A network in ten lines."""

    default_config = TOY
    gene_axes = {"centre": 0, "spread": 0, "net.out.weight": 0, "net.out.bias": 0}

    def build(self, blueprint):
        return MeanModule(blueprint.config, blueprint.conditions, blueprint.arrays)

    def predict(self, fitted, pairs, controls, *, seed):
        module = self.module(fitted)
        encoded, fallback = self.conditions(fitted).encode(pairs)
        with torch.no_grad():
            mean = module.out(module.encoder(encoded)).numpy().astype(np.float64)
        return Shifted.of(pairs, controls, mean - controls.mean[pairs.context], fallback)


def data_of(adata, **options):
    task = task_of(adata, **options)
    return task.data(task.observed("train"))


@pytest.fixture(scope="module")
def screen():
    return combinations()


@pytest.fixture(scope="module")
def fitted(screen):
    return Toy().fit(data_of(screen), TOY, seed=0)


def same(one, other):
    assert one.arrays.keys() == other.arrays.keys()
    for name, array in one.arrays.items():
        np.testing.assert_array_equal(other.arrays[name], array, err_msg=name)


def test_a_condition_is_the_sum_of_the_vectors_of_its_targets(screen):
    conditions = Conditions.of(data_of(screen))
    encoder = ConditionEncoder(conditions, 5)
    a, b = conditions.targets[:2]
    encoded, fallback = conditions.encode(Pairs([(a,), (b,), (a, b), (), (a, "new")], np.zeros(5, int)))
    of_a, of_b, of_both, of_control, partly = encoder.perturbation(encoded)
    torch.testing.assert_close(of_both, of_a + of_b)
    torch.testing.assert_close(of_control, torch.zeros(5))
    torch.testing.assert_close(partly, of_a)
    assert fallback.tolist() == [False, False, False, False, True]


def test_an_unknown_context_has_the_mean_of_the_known_ones():
    conditions = Conditions.of(data_of(contexts()))
    encoder = ConditionEncoder(conditions, 5)
    encoded, fallback = conditions.encode(Pairs([()] * 3, np.array([0, 1, 9])))
    assert fallback.tolist() == [False, False, True]
    torch.testing.assert_close(encoder.contexts.weight.mean(dim=0), encoder.contexts.weight[:2].mean(dim=0))
    found = encoder(encoded)[2]
    torch.testing.assert_close(found, encoder.mix(encoder.contexts.weight.mean(dim=0)))


def test_hidden_perturbations_share_one_condition_in_each_context():
    conditions = Conditions.of(data_of(contexts()))
    encoder = ConditionEncoder(conditions, 5)
    a, b = conditions.targets[:2]
    encoded, _ = conditions.encode(Pairs([(a,), (b,), (b,)], np.array([0, 0, 1])))
    one, two, other = encoder(encoded, drop=torch.tensor([True, True, True]))
    torch.testing.assert_close(one, two)
    assert not torch.allclose(two, other)


def test_vectors_of_an_embedding_give_unseen_targets_a_condition(screen):
    adata = screen.copy()
    names = sorted({t for name in adata.obs["perturbation"].unique() for t in str(name).split("+")} - {"control"})
    unseen = next(gene for gene in adata.var_names if gene not in names)
    values = pd.DataFrame(np.random.default_rng(0).normal(size=(len(names), 3)), index=[*names[:-1], unseen])
    ho.pp.embedding(adata, values, key_added="v")
    task = task_of(adata)
    config = replace(TOY, perturbation_embedding="v")
    data = task.data(task.observed("train"))
    data = replace(data, **side_information(adata, task.genes, names, config, None, separator="+", seed=0))
    conditions = Conditions.of(data)
    assert conditions.targets == (names[-1],)  # the only train target without a fixed vector has a learned one
    again = Conditions.load(conditions.to_json(), conditions.arrays())
    pairs = Pairs([(unseen,), (names[0], names[-1]), ("OTHER",)], np.zeros(3, int))
    (before, fallback), (after, _) = conditions.encode(pairs), again.encode(pairs)
    assert fallback.tolist() == [False, False, True]
    for name, tensor in before.items():
        assert torch.equal(after[name], tensor), name
    one, two, nothing = ConditionEncoder(conditions, 4).perturbation(before)
    assert (one != 0).all()
    assert (two != 0).all()
    assert (nothing == 0).all()
    fitted = Toy().fit(data, config, seed=0)
    found = Toy().predict(fitted, pairs, Controls.without_cells(data.profiles.control), seed=0)
    assert np.isfinite(found.change).all()


def test_one_seed_one_fit_whatever_the_order_of_the_cells(screen, fitted):
    same(fitted, Toy().fit(data_of(screen), TOY, seed=0))
    shuffled = screen[np.random.default_rng(0).permutation(screen.n_obs)].copy()
    found = Toy().fit(data_of(shuffled), TOY, seed=0)
    for name, array in fitted.arrays.items():
        np.testing.assert_allclose(found.arrays[name], array, atol=1e-5, err_msg=name)
    other = Toy().fit(data_of(screen), TOY, seed=1)
    assert not np.array_equal(other.arrays["net.out.weight"], fitted.arrays["net.out.weight"])


def test_training_stops_on_held_out_perturbations():
    adata = simulated()
    ho.pp.split_perturbations(adata, "perturbation", hold_out="combination", val=0.3, test=0.3)
    history = Toy().fit(data_of(adata), replace(TOY, max_epochs=4), seed=0).history
    assert list(history["epoch"]) == [0, 1, 2, 3]
    assert np.isfinite(history[["train_loss", "val_loss"]].to_numpy()).all()


def test_a_fit_continues_where_the_earlier_one_ended(screen, fitted):
    """Without steps of a size, the weights are those of the start, with genes, targets and contexts by name."""
    data = data_of(screen)
    slow = replace(TOY, lr=1e-12, max_epochs=1)
    found = Toy().fit(data, slow, seed=3, start=fitted)
    np.testing.assert_allclose(found.arrays["net.out.weight"], fitted.arrays["net.out.weight"], atol=1e-6)
    fewer = [name for name in screen.obs["perturbation"].cat.categories if name != "control"][4:]
    part = screen[screen.obs["perturbation"].isin([*fewer, "control"])].copy()
    part.obs["perturbation"] = part.obs["perturbation"].cat.rename_categories({fewer[0]: "NEW"})
    ho.pp.split_perturbations(part, "perturbation", hold_out="combination", val=0, test=0.5)
    found = Toy().fit(data_of(part), slow, seed=3, start=fitted)
    targets, before = found.info["conditions"]["targets"], fitted.info["conditions"]["targets"]
    assert set(before) < set(targets)
    rows = [targets.index(name) for name in before]
    np.testing.assert_allclose(
        found.arrays["net.encoder.targets.weight"][rows], fitted.arrays["net.encoder.targets.weight"][:-1], atol=1e-6
    )
    with pytest.raises(ValueError, match="other layers"):
        Toy().fit(data, replace(TOY, width=4), seed=0, start=fitted)


def test_accumulated_batches_make_one_step(screen):
    data = data_of(screen)
    whole = Toy().fit(data, replace(TOY, batch_size=2000, max_epochs=2), seed=0)
    parts = Toy().fit(data, replace(TOY, batch_size=100, accumulate=1000, max_epochs=2), seed=0)
    initial = Toy().fit(data, replace(TOY, lr=1e-12, max_epochs=1), seed=0)
    np.testing.assert_allclose(parts.arrays["net.out.weight"], initial.arrays["net.out.weight"], atol=1e-6)
    assert not np.allclose(whole.arrays["net.out.weight"], initial.arrays["net.out.weight"], atol=1e-4)


def test_epochs_follow_from_the_number_of_steps():
    assert n_epochs(replace(TOY, max_epochs=7), 1000) == 7
    assert n_epochs(replace(TOY, max_epochs=None), 640) == 10  # 100 steps of 64 rows
    assert n_epochs(replace(TOY, max_epochs=None, accumulate=2), 640) == 20
    assert schedule(0) == pytest.approx(0.1)
    assert schedule(0.05) == pytest.approx(1)
    assert schedule(1) == pytest.approx(0.01)


def test_options_without_effect_are_refused():
    with pytest.raises(ValueError, match="bf16-mixed"):
        check_trainer_options({"precision": "16-mixed"})
    with pytest.raises(ValueError, match="Set accumulate=4 in config"):
        check_trainer_options({"accumulate_grad_batches": 4})


def test_mixed_precision_trains(screen):
    fitted = Toy().fit(data_of(screen), TOY, seed=0, trainer_options={"precision": "bf16-mixed"})
    assert all(np.isfinite(array).all() for array in fitted.arrays.values())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch itself
def test_a_compiled_network_has_the_same_fit(screen):
    """Kernels are not built, which takes half a minute; the compiled calls run without them."""
    data, once = data_of(screen), replace(TOY, max_epochs=1)
    plain = Toy().fit(data, once, seed=0)
    with torch.compiler.set_stance("force_eager"):
        same(plain, Toy().fit(data, replace(once, compile=True), seed=0))

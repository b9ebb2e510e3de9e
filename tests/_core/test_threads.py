"""One policy for the number of threads: the rule, the setting, and what fits of every wing see."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading

import pytest
import torch
from torch import nn

import heldout as ho
from heldout._core import threads
from heldout._core.threads import SMALL, asked_by, largest_product, network_policy, thread_policy, threads_for
from heldout._core.training import quiet_lightning

ASK = {"OMP_NUM_THREADS": "3"}


@pytest.fixture
def two(monkeypatch):
    """A process with two threads of torch, whose environment asks for no number."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def n_jobs():
    """Function that sets the number of threads for one test."""

    def set_to(value):
        ho.settings.n_jobs = value

    yield set_to
    ho.settings.n_jobs = None


@pytest.mark.parametrize(
    ("multiplications", "n_jobs", "environment", "number"),
    [
        (None, None, {}, 8),
        (SMALL, None, {}, 8),
        (SMALL - 1, None, {}, 1),
        (10, None, ASK, 3),
        (None, None, ASK, 3),
        (None, 2, ASK, 2),
        (10, 2, {}, 2),
        (None, -1, ASK, 8),
        (10, -1, {}, 8),
    ],
)
def test_the_setting_then_the_environment_then_the_size_decide(multiplications, n_jobs, environment, number):
    assert threads_for(multiplications, n_jobs=n_jobs, environment=environment, cores=8) == number


@pytest.mark.parametrize(
    ("environment", "asked"),
    [
        ({}, None),
        ({"OMP_NUM_THREADS": "4"}, 4),
        ({"OMP_NUM_THREADS": "4,2"}, 4),
        ({"OMP_NUM_THREADS": " 4 "}, 4),
        ({"OMP_NUM_THREADS": "0"}, None),
        ({"OMP_NUM_THREADS": "many"}, None),
        ({"OMP_NUM_THREADS": "", "OPENBLAS_NUM_THREADS": "2"}, 2),
        ({"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "2", "MKL_NUM_THREADS": "3"}, 1),
        ({"NUMBA_NUM_THREADS": "2"}, None),
    ],
)
def test_the_environment_is_read_as_openmp_reads_it(environment, asked):
    assert asked_by(environment) == asked


@pytest.mark.parametrize("value", [0, -2, 1.5, True, "4"])
def test_a_number_of_threads_that_cannot_be_is_refused(value, n_jobs):
    n_jobs(2)
    with pytest.raises(ValueError, match=r"settings.n_jobs=.* must be an integer >= 1, or -1 for all cores"):
        ho.settings.n_jobs = value
    assert ho.settings.n_jobs == 2


def test_a_setting_that_does_not_exist_is_refused():
    with pytest.raises(AttributeError):
        ho.settings.n_job = 2


def test_the_largest_layer_counts():
    network = nn.Sequential(nn.Embedding(10_000, 64), nn.Linear(50, 20), nn.BatchNorm1d(20), nn.Linear(20, 3))
    assert largest_product(network, 128) == 128 * 50 * 20
    network.n_positions = 7
    assert largest_product(network, 128) == 7 * 128 * 50 * 20
    assert largest_product(nn.ReLU(), 128) == 0


def test_the_number_is_restored(two, n_jobs):
    n_jobs(1)
    with thread_policy() as number:
        assert (number, torch.get_num_threads()) == (1, 1)
    assert torch.get_num_threads() == 2


def test_the_number_is_restored_after_an_error(two, n_jobs):
    n_jobs(1)

    @thread_policy()
    def fail():
        with thread_policy():
            raise KeyError(torch.get_num_threads())

    with pytest.raises(KeyError, match="1"):
        fail()
    assert torch.get_num_threads() == 2


def test_a_small_network_inside_a_large_computation(two, monkeypatch):
    monkeypatch.setattr("heldout._core.threads.physical_cores", lambda: 3)
    small, large = nn.Linear(8, 8), nn.Linear(1000, 1000)
    with thread_policy():
        assert torch.get_num_threads() == 3
        with network_policy(small, 64):
            assert torch.get_num_threads() == 1
            with network_policy(large, 64):
                assert torch.get_num_threads() == 3
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 3
    assert torch.get_num_threads() == 2


def test_a_nested_block_repairs_what_another_package_changed(two, n_jobs):
    n_jobs(1)
    with thread_policy():
        torch.set_num_threads(2)
        with thread_policy():
            assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


def test_linear_algebra_has_the_number_too(two, n_jobs):
    from threadpoolctl import threadpool_info, threadpool_limits

    def numbers():
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    with threadpool_limits(2):
        n_jobs(1)
        with thread_policy():
            assert numbers() == {1}
        assert numbers() == {2}


def test_threads_of_python_leave_the_process_as_it_was(two, n_jobs):
    from threadpoolctl import threadpool_info, threadpool_limits

    n_jobs(1)
    second_is_in, first_is_out = threading.Event(), threading.Event()
    seen = []

    def second():
        with thread_policy():
            second_is_in.set()
            first_is_out.wait(30)
            seen.append(torch.get_num_threads())
        seen.append(torch.get_num_threads())

    with threadpool_limits(2):
        other = threading.Thread(target=second)
        with thread_policy():
            other.start()
            assert second_is_in.wait(30)
        first_is_out.set()
        other.join()
        assert seen == [1, 2]
        assert torch.get_num_threads() == 2
        assert {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"} == {2}


def test_a_failed_training_restores_the_number(split, two):
    ho.model.GenotypeClassifier.setup_anndata(split)
    model = ho.model.GenotypeClassifier(split, ho.model.MLPConfig(n_hidden=8, max_epochs=1))
    with pytest.raises(ValueError, match="would train in other processes"), quiet_lightning():
        model.train(trainer_options={"accelerator": "cpu", "devices": 2, "strategy": "ddp_spawn"})
    assert torch.get_num_threads() == 2


ALL_WINGS = """
import json
import numpy as np, scanpy as sc
import heldout as ho
from heldout._core import threads

def logged(adata):
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    return adata

cells = logged(ho.datasets.lmna_simulated(n_cells=20, n_genes=100))  # scanpy runs before torch is imported
ho.pp.split_matched(cells, "library", "day", label_key="genotype", test=19, val=0)
import torch
if torch.get_num_threads() != 2:  # numba has other threads than OpenMP here
    torch.set_num_threads(2)
seen, call_module = [], torch.nn.Module.__call__

def recorded(self, *args, **kwargs):
    seen.append(torch.get_num_threads())
    return call_module(self, *args, **kwargs)

torch.nn.Module.__call__ = recorded
found = {}

def record(name, call):
    seen.clear()
    call()
    found[name] = sorted(set(seen)), torch.get_num_threads()

small = ho.model.MLPConfig(n_hidden=8, max_epochs=1)
record("genotype", lambda: ho.tl.genotype(cells, config=small))
record("evaluate genotype", lambda: ho.tl.evaluate(cells, baselines=["majority"], n_bootstrap=5))
record("predict", lambda: ho.tl.predict(cells, "genotype"))
record("sweep", lambda: ho.tl.sweep(cells, grid={"n_layers": [1]}, config=small, baselines=["majority"]))
ho.pp.folds(cells, "library", "genotype", n_folds=3, val=0)
record("compare", lambda: ho.tl.compare(cells, methods={"mlp": {"config": small}, "majority": {}}, seeds=[0]))

course = logged(ho.datasets.branching_simulated(n_cells=30, n_genes=60))
ho.pp.split_time(course, "time", test=96)
flow = ho.model.FlowConfig(max_epochs=1, n_hidden=8, n_pairs=64)
record("forecast", lambda: ho.tl.forecast(course, "time", method="flow", config=flow))
record("evaluate forecast", lambda: ho.tl.evaluate(course, "forecast", baselines=["persistence"], n_bootstrap=5))
record("predict_cells", lambda: ho.tl.predict_cells(course, "forecast", at=96))
ho.model.CellForecaster.setup_anndata(course, "time")
model = ho.model.CellForecaster(course, config=flow)
record("CellForecaster.train", model.train)
record("CellForecaster.predict", lambda: model.predict(96))

genes = logged(ho.datasets.lmna_simulated(n_cells=20, n_genes=100))
ho.pp.split_genes(genes)
network = ho.model.GeneNetworkConfig(n_members=1, max_epochs=1)
record("forecast_genes", lambda: ho.tl.forecast_genes(genes, "day", method="feedforward", config=network))
record("evaluate genes", lambda: ho.tl.evaluate(genes, baselines=["ridge"], n_bootstrap=5))

screen = logged(ho.datasets.perturbations_simulated(n_singles=6, n_doubles=4, n_genes=60, n_cells=20))
ho.pp.split_perturbations(screen, "perturbation", hold_out="combination", val=0, test=0.5)
flow = ho.model.PerturbationFlowConfig(max_epochs=1, width=8)
record("perturbation", lambda: ho.tl.perturbation(screen, method="flow", config=flow))
record("evaluate perturbation", lambda: ho.tl.evaluate(screen, baselines=["additive"], n_bootstrap=5))
record("cells of a perturbation", lambda: ho.tl.predict_cells(screen, "perturbation", n_cells=5))
print(json.dumps(found))
"""


def run(code: str, **environment: str) -> str:
    """Output of another process, whose number of threads is that of its environment."""
    given = {**os.environ, **environment}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=given)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


def test_every_wing_has_the_policy_after_scanpy_has_changed_the_number():
    found = json.loads(run(ALL_WINGS, OMP_NUM_THREADS="1", NUMBA_NUM_THREADS="2"))
    assert found == dict.fromkeys(found, [[1], 2])
    assert len(found) == 15


CLOSED_FORMS = """
import sys
import numpy as np
import heldout as ho
from heldout._core import threads

assert "torch" not in sys.modules
def logged(adata):
    adata.X = np.log1p(adata.X.toarray() if hasattr(adata.X, "toarray") else adata.X)
    return adata

cells = logged(ho.datasets.lmna_simulated(n_cells=20, n_genes=100))
ho.pp.split_matched(cells, "library", "day", label_key="genotype", test=19, val=0)
ho.tl.genotype(cells, method="logistic")
ho.tl.evaluate(cells, baselines=["majority"], n_bootstrap=5)
course = logged(ho.datasets.branching_simulated(n_cells=30, n_genes=60))
ho.pp.split_time(course, "time", test=96)
ho.tl.forecast(course, "time", method="reversion")
genes = logged(ho.datasets.lmna_simulated(n_cells=20, n_genes=100))
ho.pp.split_genes(genes)
ho.tl.forecast_genes(genes, "day", method="ridge")
screen = logged(ho.datasets.perturbations_simulated(n_singles=6, n_doubles=4, n_genes=60, n_cells=20))
ho.pp.split_perturbations(screen, "perturbation", hold_out="combination", val=0, test=0.5)
ho.tl.perturbation(screen, method="additive")
print("torch" in sys.modules)
"""


def test_closed_forms_do_not_import_torch():
    assert run(CLOSED_FORMS) == "False"


def test_an_interruption_on_entry_restores_too(monkeypatch):
    """The next calls start from the numbers of the user, not from those before the interrupted call."""
    before = torch.get_num_threads()
    original = threads._libraries

    def stop():
        found = original()
        found["last"] = _Stops()
        return found

    class _Stops:
        def get_num_threads(self):
            return 1

        def set_num_threads(self, num_threads):
            raise KeyboardInterrupt

    monkeypatch.setattr(threads, "_libraries", stop)
    monkeypatch.setattr(threads, "_leave", lambda outer, leave=threads._leave: (monkeypatch.undo(), leave(outer)))
    with pytest.raises(KeyboardInterrupt), threads.thread_policy():
        pass
    monkeypatch.undo()
    assert threads._inside == 0
    assert threads._before == {}
    try:
        torch.set_num_threads(before + 1)
        with threads.thread_policy():
            pass
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def test_numba_keeps_the_number_of_each_thread_of_python():
    """In a process with four threads of numba: one thread of Python asked for 2, another for none."""
    code = """
import threading, numba, numpy as np
import heldout as ho
from heldout._core import threads
from heldout._core.threads import thread_policy
@numba.njit(parallel=True)
def total(x):
    s = 0.0
    for i in numba.prange(len(x)): s += x[i]
    return s
total(np.ones(8))
ho.settings.n_jobs = 3
inside, leave, seen = threading.Event(), threading.Event(), []
def first():
    with thread_policy():
        inside.set(); leave.wait(30)
    seen.append(numba.get_num_threads())
def second():
    numba.set_num_threads(2); inside.wait(30)
    with thread_policy(): pass
    seen.append(numba.get_num_threads()); leave.set()
both = [threading.Thread(target=first), threading.Thread(target=second)]
[t.start() for t in both]; [t.join() for t in both]
print(seen)
"""
    environment = {**os.environ, "NUMBA_NUM_THREADS": "4"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[2, 4]"


def test_a_number_that_no_machine_has_is_refused(n_jobs):
    with pytest.raises(ValueError, match="settings.n_jobs=2147483648"):
        n_jobs(2**31)

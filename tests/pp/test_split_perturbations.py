"""Splits of perturbation screens: nothing held out is seen, whatever it is called, and controls are divided, too."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import sparse
from scipy.sparse.csgraph import maximum_flow

from heldout._core.partition import read_partition
from heldout.get import perturbations
from heldout.pp import split_perturbations
from heldout.splitting._draw_contexts import divide_pairs, draw_pairs
from tests.helpers.screens import HYPOTHESIS, frame, in_partition, screen, screens, targets_of
from tests.helpers.splits import assigned

SEEDS = st.integers(0, 2**16)


def split_or_reject(adata, **arguments):
    """Split, or drop this example if it is refused."""
    try:
        split_perturbations(adata, "guide", **arguments)
    except ValueError:
        assume(False)


def attempt(adata, **arguments):
    """Assignment of the cells, or the words of the refusal."""
    try:
        split_perturbations(adata, "guide", **arguments)
    except ValueError as refusal:
        return str(refusal)
    return assigned(adata)


# --- what holds for every split -------------------------------------------------------------------------------------


@st.composite
def calls(draw):
    """Arguments for a split of a screen from ``screens``."""
    hold_out = draw(st.sampled_from(["single", "combination", "context"]))
    n_seen = draw(st.sampled_from([None, 0, 1, 2])) if hold_out == "combination" else None
    caps = {}
    if hold_out == "context":
        caps = draw(st.sampled_from([{}, {"max_contexts": 1}, {"max_fraction": 0.5}, {"max_perturbations": 3}]))
    keys = ["line"] if hold_out == "context" else draw(st.sampled_from([[], ["line"]]))
    val, test = draw(st.sampled_from([(0.2, 0.2), (0, 0.4), (0.1, 0.1), (0.3, 0)]))
    return {"hold_out": hold_out, "n_seen": n_seen, "covariate_keys": keys, "val": val, "test": test, **caps}


@HYPOTHESIS
@given(adata=screens(), call=calls(), seed=SEEDS)
def test_what_holds_for_every_split(adata, call, seed):
    split_or_reject(adata, rng=seed, **call)
    obs = adata.obs.assign(targets=[targets_of(name) for name in adata.obs["guide"]])
    obs["context"] = obs["line"] if call["covariate_keys"] else "all"
    perturbed, controls = obs[obs["guide"] != "control"], obs[obs["guide"] == "control"]
    unit = ["targets", "context"] if call["hold_out"] == "context" else ["targets"]
    assert (perturbed.groupby(unit)["split"].nunique() == 1).all()
    for partition in ("train", *(name for name in ("val", "test") if call[name])):
        assert (perturbed["split"] == partition).any()
    for context, pool in controls.groupby("context"):
        inside = set(perturbed.loc[perturbed["context"] == context, "split"]) - {"unused"}
        assert set(pool["split"]) == inside | {"train"}
    train = perturbed[perturbed["split"] == "train"]
    seen = set().union(*train["targets"])
    alone = {target for targets in train["targets"] if len(targets) == 1 for target in targets}
    table = perturbations(adata)
    assert table["n_cells"].sum() == adata.n_obs
    for row in table[~table["control"]].itertuples():
        assert row.n_seen == len(seen & set(row.targets))
        assert row.n_seen_alone == len(alone & set(row.targets))
        assert row.n_targets == len(row.targets)
        if call["n_seen"] is not None and row.partition in ("val", "test"):
            assert row.n_seen == call["n_seen"]
            assert row.n_targets > 1


@HYPOTHESIS
@given(adata=screens(), call=calls(), seed=SEEDS, data=st.data())
def test_neither_the_order_of_cells_nor_names_matter(adata, call, seed, data):
    first = attempt(adata, rng=seed, **call)
    order = np.random.default_rng(data.draw(SEEDS)).permutation(adata.n_obs)
    other = adata[order].copy()
    assert attempt(other, rng=seed, **call) == first
    other.obs["guide"] = ["+".join([*data.draw(st.permutations(n.split("+"))), "control"]) for n in other.obs["guide"]]
    assert attempt(other, rng=seed, **call) == first
    if isinstance(first, dict):
        assert read_partition(adata).hash == read_partition(other).hash
        assert perturbations(adata).equals(perturbations(other))


@HYPOTHESIS
@given(adata=screens(), call=calls(), seed=SEEDS, n_guides=st.integers(1, 3))
def test_guides_stay_with_their_gene(adata, call, seed, n_guides):
    guides = adata.copy()
    draw = np.random.default_rng(seed)
    as_guides = [
        "control" if n == "control" else "&".join(f"{g}_{draw.integers(n_guides)}" for g in n.split("+"))
        for n in adata.obs["guide"]
    ]
    guides.obs["guide"] = as_guides
    mapping = {f"G{i}_{j}": f"G{i}" for i in range(7) for j in range(n_guides)}
    by_mapping = attempt(guides, separator="&", targets=mapping, rng=seed, **call)
    guides.obs["gene"] = adata.obs["guide"].to_numpy()
    by_column = attempt(guides, targets="gene", rng=seed, **call)
    expected = attempt(adata, rng=seed, **call)
    assert by_column == expected
    assert by_mapping == expected or isinstance(expected, str)


@HYPOTHESIS
@given(adata=screens(), call=calls(), seeds=st.tuples(SEEDS, SEEDS))
def test_the_hash_changes_if_and_only_if_the_assignment_does(adata, call, seeds):
    found = []
    for seed in seeds:
        split_or_reject(adata, rng=seed, **call)
        found.append((assigned(adata), read_partition(adata).hash))
    assert (found[0][0] == found[1][0]) == (found[0][1] == found[1][1])


@HYPOTHESIS
@given(adata=screens(), call=calls(), seed=SEEDS, n_groups=st.integers(3, 8), crossed=st.booleans())
def test_no_group_of_controls_is_in_two_pools(adata, call, seed, n_groups, crossed):
    number = pd.Series(np.random.default_rng(seed).integers(n_groups, size=adata.n_obs).astype(str), adata.obs_names)
    adata.obs["library"] = number if crossed else adata.obs["line"].astype(str) + number
    split_or_reject(adata, group_key="library", rng=seed, **call)
    obs = adata.obs
    pools = obs[(obs["guide"] == "control") & (obs["split"] != "unused")]
    assert (pools.groupby("library")["split"].nunique() == 1).all()
    obs["context"] = obs["line"].astype(str) if call["covariate_keys"] else "all"
    pools = pools.assign(context=obs["context"])
    held = obs[(obs["guide"] != "control") & obs["split"].isin(["val", "test"])]
    needed = set(zip(held["context"], held["split"], strict=True)) | {
        (context, "train") for context in set(obs["context"])
    }
    assert set(zip(pools["context"], pools["split"], strict=True)) == needed
    listed = read_partition(adata).params["control_groups"]
    of_group = {group: pool for pool, groups in listed.items() for group in groups}
    assert pools["library"].map(of_group).eq(pools["split"].astype(str)).all()


# --- unseen targets -------------------------------------------------------------------------------------------------


@HYPOTHESIS
@given(adata=screens(), seed=SEEDS)
def test_no_held_out_target_is_seen(adata, seed):
    split_perturbations(adata, "guide", rng=seed)
    train, val, test = (in_partition(adata, partition) for partition in ("train", "val", "test"))
    singles = {name: set().union(*(t for t in sets if len(t) == 1)) for name, sets in (("val", val), ("test", test))}
    assert singles["test"]
    assert singles["val"]
    assert not singles["test"] & set().union(*train, *val)
    assert not singles["val"] & set().union(*train)
    assert all(t & singles["test"] for t in test)
    assert all(t & singles["val"] for t in val)


def test_shares_of_targets_are_the_nearest():
    adata = screen(["control", *(f"G{i}" for i in range(50))], repeats=1)
    split_perturbations(adata, "guide", val=0.1, test=0.3)
    assert adata.obs.loc[adata.obs["guide"] != "control", "split"].value_counts().to_dict() == {
        "train": 30,
        "test": 15,
        "val": 5,
        "unused": 0,
    }


def test_every_target_is_drawn_sometimes():
    adata = screen()
    tested = set()
    for seed in range(40):
        split_perturbations(adata, "guide", rng=seed)
        tested |= {target for targets in in_partition(adata, "test") if len(targets) == 1 for target in targets}
    assert tested == set("ABCDEF")


# --- combinations ---------------------------------------------------------------------------------------------------


def test_combinations_leave_singles_in_train():
    adata = screen()
    split_perturbations(adata, "guide", hold_out="combination", val=0, test=0.5)
    assert {frozenset(t) for t in "ABCDEF"} <= in_partition(adata, "train")
    assert len(in_partition(adata, "test")) == 3
    assert all(len(targets) == 2 for targets in in_partition(adata, "test"))


def test_all_combinations_can_be_held_out():
    adata = screen()
    split_perturbations(adata, "guide", hold_out="combination", val=0.5, test=0.5)
    assert in_partition(adata, "train") == {frozenset(t) for t in "ABCDEF"}
    table = perturbations(adata)
    held = table[~table["control"] & (table["partition"] != "train")].set_index("perturbation")
    assert held["n_seen"].to_dict() == {name: 0 if name == "X+Y" else 2 for name in held.index}
    assert held["partition"].value_counts()[["val", "test"]].tolist() == [3, 3]


@pytest.mark.parametrize(("n_seen", "moved"), [(0, True), (1, True), (2, False)])
def test_the_number_of_seen_members(n_seen, moved, caplog):
    adata = screen()
    split_perturbations(adata, "guide", hold_out="combination", n_seen=n_seen, val=0.2, test=0.2)
    table = perturbations(adata)
    held = table[~table["control"] & table["partition"].isin(["val", "test"])]
    assert held["n_seen"].tolist() == [n_seen] * 2
    assert bool((table["partition"] == "unused").any()) is moved
    assert ("perturbations are unused" in caplog.text) is moved
    train = set().union(*in_partition(adata, "train"))
    unseen = {p: set().union(*in_partition(adata, p)) - train for p in ("val", "test")}
    assert not unseen["test"] & set().union(*in_partition(adata, "val"))
    assert all(not targets & (unseen["val"] | unseen["test"]) for targets in in_partition(adata, "train"))


def test_pairs_go_before_triples_if_all_members_are_seen():
    adata = screen(["control", *"ABCD", "A+B", "C+D", "A+B+C", "B+C+D"])
    split_perturbations(adata, "guide", hold_out="combination", n_seen=2, val=0, test=0.5)
    assert {len(targets) for targets in in_partition(adata, "test")} == {2}
    split_perturbations(adata, "guide", hold_out="combination", n_seen=3, val=0, test=0.5)
    assert {len(targets) for targets in in_partition(adata, "test")} == {3}


# --- contexts -------------------------------------------------------------------------------------------------------

PAIRS = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 4)), min_size=1, max_size=25, unique=True)


@HYPOTHESIS
@given(pairs=PAIRS, caps=st.lists(st.integers(0, 4), min_size=13, max_size=13), seed=SEEDS)
def test_as_many_pairs_as_the_caps_allow(pairs, caps, seed):
    p, c = np.array(pairs).T
    of_p, of_c = np.array(caps[:8]), np.array(caps[8:])
    graph = np.zeros((15, 15), dtype=np.int32)
    graph[0, 1:9], graph[9:14, 14], graph[1 + p, 9 + c] = of_p, of_c, 1
    most = maximum_flow(sparse.csr_array(graph), 0, 14).flow_value
    for n in range(len(pairs) + 1):
        taken = draw_pairs(p, c, perturbation_cap=of_p, context_cap=of_c, n=n, rng=np.random.default_rng(seed))
        assert taken.sum() == min(n, most)
        assert (np.bincount(p[taken], minlength=8) <= of_p).all()
        assert (np.bincount(c[taken], minlength=5) <= of_c).all()


@HYPOTHESIS
@given(context=st.lists(st.integers(0, 4), min_size=2, max_size=40), data=st.data())
def test_val_and_test_share_every_context(context, data):
    context = np.array(context)
    n_test = data.draw(st.integers(1, len(context) - 1))
    counts = {"val": len(context) - n_test, "test": n_test}
    codes = divide_pairs(context, counts, np.random.default_rng(data.draw(SEEDS)))
    assert {"val": (codes == 1).sum(), "test": (codes == 2).sum()} == counts
    for number in set(context):
        inside = context == number
        assert abs((codes[inside] == 2).sum() - inside.sum() * n_test / len(context)) < 1


@HYPOTHESIS
@given(
    adata=screens(fewest_contexts=2),
    max_contexts=st.sampled_from([None, 1, 2]),
    max_fraction=st.sampled_from([None, 0.3, 0.5]),
    max_perturbations=st.sampled_from([None, 2, 4]),
    min_train=st.integers(1, 2),
    seed=SEEDS,
)
def test_caps_are_kept(adata, max_contexts, max_fraction, max_perturbations, min_train, seed):
    caps = {
        "max_contexts": max_contexts,
        "max_fraction": max_fraction,
        "max_perturbations": max_perturbations,
        "min_train_contexts": min_train,
    }
    split_or_reject(adata, hold_out="context", covariate_keys="line", val=0.1, test=0.1, rng=seed, **caps)
    table = perturbations(adata)
    table = table[~table["control"]].assign(held=lambda t: t["partition"] != "train")
    assert table["held"].any()
    for _, rows in table[table.groupby("perturbation")["held"].transform("any")].groupby("perturbation"):
        assert (~rows["held"]).sum() >= min_train
        assert rows["held"].sum() <= (max_contexts or 9)
    for _, rows in table.groupby("line"):
        assert rows["held"].sum() <= (max_perturbations or 99)
        assert rows["held"].mean() <= (max_fraction or 1) + 1e-9


def test_only_in_the_named_contexts():
    adata = screen(contexts=("co", "ifn", "ctrl"))
    split_perturbations(adata, "guide", hold_out="context", covariate_keys="line", contexts=["co"], val=0.2, test=0.5)
    held = adata.obs[adata.obs["split"].isin(["val", "test"])]
    assert set(held["line"]) == {"co"}
    assert in_partition(adata, "test")
    shares = held[held["guide"] != "control"].groupby("split", observed=True)["guide"].nunique().to_dict()
    assert shares == {"val": 2, "test": 6}


def test_contexts_keep_the_order_of_their_values():
    rows = [(name, "x") for name in ["control"] * 4 + list("ABCD") for _ in range(4)]
    adata = frame(
        rows,
        one=lambda o: ["low", "high"] * (len(o) // 2),
        two=lambda o: ["low", "low", "high", "high"] * (len(o) // 4),
    )
    keys = ["one", "two"]
    split_perturbations(
        adata, "guide", hold_out="context", covariate_keys=keys, contexts=[("low", "high")], test=0.5, val=0
    )
    held = adata.obs[(adata.obs["split"] == "test")]
    assert set(held[keys].itertuples(index=False, name=None)) == {("low", "high")}
    assert len(perturbations(adata)[keys].drop_duplicates()) == 4


def test_units_in_several_contexts(caplog):
    """All libraries are in both lines, but only one line has a test set: in the other its controls are unused."""
    rows = [(name, line) for line in ("x", "y") for name in ["control"] * 8 + list("ABCDEF")]
    adata = frame(rows, library=lambda o: [f"L{i % 14 % 4}" for i in range(len(o))])
    call = {"hold_out": "context", "covariate_keys": "line", "contexts": ["x"], "val": 0, "test": 0.5}
    split_perturbations(adata, "guide", group_key="library", **call)
    controls = adata.obs[adata.obs["guide"] == "control"]
    assert pd.crosstab(controls["line"], controls["split"].astype(str)).to_dict() == {
        "test": {"x": 2, "y": 0},
        "train": {"x": 6, "y": 6},
        "unused": {"x": 0, "y": 2},
    }
    assert "2 control cells are unused" in caplog.text


# --- names ----------------------------------------------------------------------------------------------------------


def test_names_with_any_characters(through_file):
    names = ["ctrl/1", "IL-2/15", "a.b|c", "Ω≥1", "+", "NA", "1.0", "HLA-A+/-", "x"]
    adata = screen(names, n_controls=0)
    split_perturbations(adata, "guide", control="ctrl/1", separator=None, val=0.2, test=0.2)
    table = perturbations(adata)
    assert set(table["perturbation"]) == set(names)
    assert set(table.loc[~table["control"], "targets"]) == {(name,) for name in names[1:]}
    assert perturbations(through_file(adata)).equals(table)


def test_listed_names_are_not_cut():
    adata = screen(["control", "HLA+1", "A", "B", "A+B", "C"])
    split_perturbations(adata, "guide", targets={"HLA+1": "HLA+1"})
    targets = perturbations(adata).set_index("perturbation")["targets"].to_dict()
    assert targets == {"HLA+1": ("HLA+1",), "A": ("A",), "B": ("B",), "A+B": ("A", "B"), "C": ("C",), "control": ()}


def test_a_list_of_targets_is_a_combination():
    adata = screen(["control", "g1", "g2", "g3", "both"])
    listed = {"g1": "A", "g2": "B", "g3": ["C"], "both": ["B", "A", "control"], "not there": "D"}
    split_perturbations(adata, "guide", targets=listed, hold_out="combination", val=0, test=1)
    assert perturbations(adata).query("partition == 'test'")["perturbation"].tolist() == ["A+B", "control"]


def test_several_controls_by_name_and_by_target():
    adata = screen(["NT1", "NT2", "safe", "g1", "g2", "g1+NT1", "g3"])
    targets = {"NT1": "none", "NT2": "none", "g1": "A", "g2": "B", "g3": "C"}
    split_perturbations(adata, "guide", control=["none", "safe"], targets=targets, val=0, test=0.4)
    table = perturbations(adata)
    assert table.loc[table["control"], "n_cells"].sum() == 12
    assert table.set_index("perturbation").loc["A", "n_cells"] == 8


def test_controls_need_no_target_in_the_column():
    adata = screen(
        ["control", "g1", "g2", "g3", "g4"], gene=lambda o: o["guide"].map({"g1": "A", "g2": "A", "g3": "B", "g4": "C"})
    )
    split_perturbations(adata, "guide", targets="gene")
    assert set(perturbations(adata)["perturbation"]) == {"A", "B", "C", "control"}

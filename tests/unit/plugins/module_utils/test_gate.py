# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gates: what is open, what is closed, and that nothing unknown is ever open."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import inspect
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import gate
from support.collection import CHECKOUT

Json = dict[str, Any]
NAMES = ["east-0", "east-1", "west-0"]


def entry(**other: Any) -> Json:
    peers = [{"id": name} for name in NAMES]
    return {"reachable": True, "healthy": True, "reason": "", "cluster_id": "c1d", "role": "node", "peers": peers, **other}


def seen(**other: Json | None) -> dict[str, Json]:
    """Three healthy members, with changes by name; None: not asked."""
    found = {}
    for name in NAMES:
        changes = other.get(name.replace("-", "_"), {})
        if changes is not None:
            found[name] = entry(**changes)
    return found


SICK = {"healthy": False, "reason": "it knows no leader"}
LISTS = "membership lists differ: east-0 lists [east-0, east-1, west-0], east-1 lists [east-0, east-1, west-0], west-0 lists [east-0]"
SILENT = {"reachable": False, "healthy": False, "reason": "no pod", "cluster_id": "", "peers": []}


def closed(kind: str, member: str, inspection: dict[str, Json]) -> list[str]:
    return gate.evaluate(gate.GENERIC[kind], gate.document(inspection, member, NAMES))


@pytest.mark.parametrize("kind", list(gate.GENERIC))
def test_a_healthy_system_is_open(kind: str) -> None:
    assert closed(kind, "east-0", seen()) == []


@pytest.mark.parametrize(
    ("inspection", "stop", "admit", "settled"),
    [
        # The member itself: it may be stopped, it may be mended, it has not settled.
        (seen(east_0=SICK), [], [], ["members that are not healthy: east-0: it knows no leader"]),
        (seen(east_0=SILENT), [], [], ["members that do not answer: east-0"]),
        (seen(east_0=None), [], [], ["members that do not answer: east-0"]),
        # Another one.
        (
            seen(west_0=SICK),
            [
                "members that are not healthy: west-0: it knows no leader",
                "no majority without this member: 1 of 3 voters would be healthy, 2 needed; unhealthy: west-0",
            ],
            ["no majority without this member: 1 of 3 voters would be healthy, 2 needed; unhealthy: west-0"],
            ["members that are not healthy: west-0: it knows no leader"],
        ),
        (
            seen(west_0=None),
            [
                "members that do not answer: west-0",
                "no majority without this member: 1 of 3 voters would be healthy, 2 needed; unhealthy: west-0",
            ],
            ["no majority without this member: 1 of 3 voters would be healthy, 2 needed; unhealthy: west-0"],
            ["members that do not answer: west-0"],
        ),
        # Two clusters, two views.
        *(
            (found, [text], [text], [text])
            for found, text in [
                (seen(west_0={"cluster_id": "a"}), "the members report different cluster ids: a, c1d"),
            ]
        ),
        (
            seen(west_0={"peers": [{"id": "east-0"}]}),
            [LISTS],
            [],
            [LISTS],
        ),
    ],
)
def test_what_closes_the_gates_of_every_system(inspection: dict[str, Json], stop: list[str], admit: list[str], settled: list[str]) -> None:
    assert closed("stop", "east-0", inspection) == stop
    assert closed("admit", "east-0", inspection) == admit
    assert closed("settled", "east-0", inspection) == settled


def test_nobody_asked_is_nobody_to_spare() -> None:
    for kind in ("stop", "admit"):
        assert gate.evaluate(gate.GENERIC[kind], gate.document({}, "east-0")) == [
            "no majority without this member: 0 of 1 voters would be healthy, 1 needed; unhealthy: none"
        ]
    assert gate.evaluate(gate.GENERIC["settled"], gate.document({}, "east-0")) == ["members that do not answer: east-0"]


def test_voters_are_those_that_the_system_lists() -> None:
    """Five members of which three vote: two healthy voters are enough, and learners are nobody to count on."""
    peers = [{"id": str(number), "role": "voter" if number < 3 else "learner"} for number in range(5)]
    found = {f"east-{number}": entry(role="voter" if number < 3 else "learner", peers=peers if number < 3 else []) for number in range(5)}
    document = gate.document(found, "east-0", list(found))
    assert {key: document[key] for key in ("voters", "quorum", "healthy", "healthy_others", "quorum_short")} == {
        "voters": 3,
        "quorum": 2,
        "healthy": 3,
        "healthy_others": 2,
        "quorum_short": 0,
    }
    assert len(document["views"]) == 1


@pytest.mark.parametrize(
    "find", ["null_of.nothing", "others[", "others[?reachable].nothing(@)", "length(quorum)", "", "othres", "no_such && members"]
)
def test_what_cannot_be_evaluated_is_closed(find: str) -> None:
    assert gate.evaluate([{"say": "x", "find": find}], gate.document(seen(), "east-0", NAMES))[0].startswith("x: cannot be evaluated")


@pytest.mark.parametrize(
    "broken", [{}, {"say": "x"}, {"find": "x"}, {"say": 1, "find": "members"}, {"say": "x", "find": None}, "members", None]
)
def test_what_is_no_gate_is_closed(broken: Any) -> None:
    assert gate.evaluate([broken], gate.document(seen())) != []


@pytest.mark.parametrize("find", ["`null`", "`false`", "`0`", "`0.0`", "''", "`[]`", "`{}`", "members[?!healthy]", "itself.nothing"])
def test_what_is_open(find: str) -> None:
    assert gate.evaluate([{"say": "x", "find": find}], gate.document(seen(), "east-0", NAMES)) == []


@pytest.mark.parametrize(
    ("find", "text"),
    [
        ("`true`", "x"),
        ("`3`", "x: 3"),
        ("`-1`", "x: -1"),
        ("member", "x: east-0"),
        ("others[].member", "x: east-1, west-0"),
        ("others[].cluster_id", "x: c1d"),
        ("others[?member == '{member}' || member == 'west-0'].member", "x: west-0"),
        ("members[?member == '{member}'].{member: member}", 'x: [{"member": "east-0"}]'),
        ("`[0]`", "x: 0"),
    ],
)
def test_what_was_found_is_shown(find: str, text: str) -> None:
    assert gate.evaluate([{"say": "x", "find": find}], gate.document(seen(), "east-0", NAMES)) == [text]


def test_a_long_finding_is_cut() -> None:
    (text,) = gate.evaluate([{"say": "x", "find": "member"}], {"member": "m" * 1000})
    assert len(text) == len("x: ") + gate.SHOWN_CHARACTERS


def test_without_jmespath_every_gate_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "jmespath", None)
    assert len(closed("stop", "east-0", seen())) == len(gate.GENERIC["stop"])


@pytest.mark.parametrize("role", ["etcd", "nats", "cockroachdb"])
def test_every_gate_of_a_system_can_be_evaluated(role: str) -> None:
    variables = yaml.safe_load((CHECKOUT / f"roles/system_{role}/vars/main.yml").read_text())
    found = variables.get(f"system_{role}_operations") or variables[f"system_{role}_spec"]
    assert set(found["gates"]) - {"leave"} == set(gate.GENERIC)
    for kind, gates in found["gates"].items():
        texts = gate.evaluate(gates, gate.document(seen(), "east-0", NAMES))
        # A system's own fields are missing here, which may close a gate, but no name is misspelt.
        assert not [text for text in texts if "names " in text], kind


_ENTRY = st.fixed_dictionaries(
    {
        "reachable": st.booleans(),
        "healthy": st.booleans(),
        "reason": st.text(max_size=5),
        "cluster_id": st.sampled_from(["", "c1d", "other"]),
        "role": st.sampled_from(["voter", "learner", "node"]),
        "peers": st.lists(st.fixed_dictionaries({"id": st.sampled_from(NAMES), "role": st.sampled_from(["voter", "learner"])}), max_size=3),
    }
)


@given(st.dictionaries(st.sampled_from(NAMES), _ENTRY), st.sampled_from(NAMES))
def test_an_open_gate_leaves_a_majority(inspection: dict[str, Json], member: str) -> None:
    found = gate.document(inspection, member, NAMES)
    others = [name for name, one in inspection.items() if name != member and one["healthy"] and one["role"] != "learner"]
    for kind in ("stop", "admit"):
        if not closed(kind, member, inspection):
            assert len(others) > found["voters"] - found["quorum"]
            assert len({one["cluster_id"] for one in inspection.values()} - {""}) <= 1
    if not closed("stop", member, inspection):
        assert all(name in inspection and inspection[name]["healthy"] for name in NAMES if name != member)
    if not closed("settled", member, inspection):
        assert all(name in inspection and inspection[name]["healthy"] for name in NAMES)


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 100))), st.integers(0, 5), st.floats(0, 100))
def test_samples_count_without_a_break(steps: list[tuple[bool, float]], samples: int, for_seconds: float) -> None:
    steady, now, run = gate.Steady(), 0.0, []
    for is_open, passed in steps:
        now += passed
        steady = steady.after(is_open, now)
        run = [*run, now] if is_open else []
        assert steady.count == len(run)
        enough = len(run) >= max(1, samples) and now - run[0] >= for_seconds
        assert steady.enough(samples, for_seconds, now) == enough


class Time:
    """A clock that moves when somebody waits, and a second with every inspection."""

    def __init__(self, *inspections: Any) -> None:
        self.now, self.taken, self.lines = 1000.0, 0, list[str]()
        self.inspections = inspections

    def inspect(self) -> Json:
        self.now += 1
        found = self.inspections[min(self.taken, len(self.inspections) - 1)]
        self.taken += 1
        if isinstance(found, Exception):
            raise found
        return dict(found)

    def wait(self, gone: Sequence[str] = (), without: bool = False, **wanted: Any) -> Json:
        """`gone`: members whose VM is gone, where somebody asks."""
        values = {"samples": 1, "interval": 2.0, "for_seconds": 0.0, "timeout": 60.0, "what": "waiting for east-0 to settle", **wanted}

        def pause(seconds: float) -> None:
            self.now += seconds

        return inspect.wait_for_gates(
            self.inspect,
            gate.GENERIC["settled"],
            "east-0",
            NAMES,
            inspect.Wait(**values),
            self.lines.append,
            lambda: self.now,
            pause,
            vanished=lambda names: [name for name in names if name in gone],
            without=without,
        )


def test_an_open_gate_is_not_waited_for() -> None:
    time = Time(seen())
    assert time.wait() == {"inspection": seen(), "samples": 1, "blocked": [], "lost": []}
    assert time.lines == []


def test_samples_start_anew_after_a_closed_one() -> None:
    time = Time(seen(), seen(), seen(west_0=SICK), seen())
    assert time.wait(samples=3)["samples"] == 6
    assert time.lines == [
        "waiting for east-0 to settle: members that are not healthy: west-0: it knows no leader (5 of 60 s)",
        "waiting for east-0 to settle: nothing blocks it now (7 of 60 s)",
    ]


def test_nobody_waits_for_a_member_whose_vm_is_gone() -> None:
    time = Time(seen(west_0=SILENT))
    found = time.wait(gone=["west-0"])
    assert (found["lost"], found["samples"]) == (["west-0"], 1)
    assert found["blocked"] == ["the VM is gone of west-0", "members that do not answer: west-0"]
    # Past the point of no return the member in hand is finished, as long as the others are a majority.
    assert Time(seen(west_0=SILENT)).wait(gone=["west-0"], without=True) == {
        "inspection": seen(west_0=SILENT),
        "samples": 1,
        "blocked": [],
        "lost": ["west-0"],
    }
    assert Time(seen(west_0=SILENT)).wait(without=True)["blocked"] == ["members that do not answer: west-0"]
    most = {name.replace("-", "_"): SILENT for name in NAMES if name != "east-0"}
    assert Time(seen(**most)).wait(gone=NAMES, without=True)["blocked"]
    # The member that it is about is not looked at: its VM may be a new one.
    assert Time(seen(east_0=SILENT)).wait(gone=["east-0"])["lost"] == []


def test_a_line_for_each_change_alone() -> None:
    time = Time(*[seen(west_0=SICK)] * 3, *[seen(west_0=SILENT)] * 3, seen())
    time.wait()
    assert [line.split(": ")[1] for line in time.lines] == ["members that are not healthy", "members that do not answer"]


def test_open_for_some_time() -> None:
    time = Time(seen())
    assert time.wait(for_seconds=30.0)["samples"] == 16
    found = Time(seen()).wait(for_seconds=100.0)
    assert found["blocked"] == ["open in 31 samples in a row, 1 over 100 s are needed"]


def test_a_sample_slower_than_the_interval_is_followed_at_once() -> None:
    time = Time(seen())
    assert time.wait(samples=3, interval=0.5)["samples"] == 3
    assert time.now == 1003


def test_what_blocks_at_the_deadline_is_told() -> None:
    time = Time(seen(west_0=SICK))
    found = time.wait()
    assert found["blocked"] == ["members that are not healthy: west-0: it knows no leader"]
    assert found["inspection"] == seen(west_0=SICK)
    assert time.now <= 1000 + 60 + 1


def test_an_answer_that_cannot_be_read_is_a_closed_gate() -> None:
    time = Time(ValueError("no\njson"), {"east-0": None}, seen())
    assert time.wait()["samples"] == 3
    assert "the members' answers cannot be read: ValueError: no json" in time.lines[0]


def test_whose_vm_is_gone_is_read_from_its_node_and_never_guessed() -> None:
    class FakeCluster:
        name = "east"

        def get(self, _kind: Any, name: str) -> Any:
            if name == "silent":
                raise inspect.KubeError("east", "node silent", "no answer", 503, "Unavailable")
            found = {"metadata": {"name": name, "uid": f"uid-{name}", "labels": {}}, "spec": {}, "status": {}}
            return None if name == "gone" else found

    bindings = [
        {"member": name, "kube_cluster": "east", "node": name, "node_uid": f"uid-{name}", "address": "10.0.0.1"}
        for name in ("there", "gone", "silent", "other")
    ]
    bindings[3]["node_uid"] = "another"
    elsewhere = {**bindings[1], "kube_cluster": "west"}
    assert inspect.vanished({"east": FakeCluster()}, [*bindings, elsewhere]) == ["gone", "other"]  # type: ignore[dict-item]


def test_gates_that_do_not_hold_for_a_work() -> None:
    own = {"gates": {"stop": [{"say": "full", "find": "full", "not_for": ["restart"]}, {"say": "sick", "find": "sick"}]}}
    said = [
        [each["say"] for each in gate.named(["stop"], own, work) if each["say"] in ("full", "sick")] for work in ("", "reboot", "restart")
    ]
    assert said == [["full", "sick"], ["full", "sick"], ["sick"]]
    assert all(set(each) == {"say", "find"} for each in gate.named(["stop"], own))


def test_gates_of_several_names_come_once() -> None:
    own = {"say": "mine", "find": "x"}
    both = gate.named(["admit", "dead", own, "admit"], {})
    assert both == [*gate.named(["admit"], {}), *[each for each in gate.named(["dead"], {}) if each not in gate.named(["admit"], {})], own]
    with pytest.raises(ValueError, match="there is no gate 'stopp'; known are replace, leave, stop"):
        gate.named(["stopp"], {})

# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whom a rollout works on, by which steps, on which node, and what forbids it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import (
    before,
    classify,
    deployment,
    follow,
    member_labels,
    nodes,
    observation,
    order,
    rebind,
    refusals,
    rollout,
    successor,
)
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import bindings as copies
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import journal as journals
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import steps as table
from support import plans

Json = dict[str, Any]
FORGETS = ("before_join", "after_join", "never")
KINDS = ("ok", *order.BROKEN)
# In five_nodes' order: the first one leads.
MEMBERS = ["east-0", "east-1", "east-2", "west-0", "west-1"]
HOSTNET = plans.settings()
SPEC = plans.spec_of("etcd")


STEPS_OF_A_REBOOT = table.of("reboot", "ok", False, "never")


class World:
    """Five members that are well, until a test changes something."""

    def __init__(self) -> None:
        self.nodes: list[Json] = [
            {**node, "boot_id": f"boot-{node['name']}", "labels": {"cloud.google.com/gke-nodepool": "db"}} for node in plans.five_nodes()
        ]
        self.hostnet: Json = dict(HOSTNET)
        self.spec: Json = dict(SPEC)
        self.bindings = plans.admitted(self.hostnet, self.spec, self.nodes)
        self.observed = plans.running(self.hostnet, self.bindings)
        self.inspection = plans.inspected(self.bindings)
        self.journal: Json | None = None

    def binding(self, member: str) -> Json:
        return next(entry for entry in self.bindings if entry["member"] == member)

    def node(self, member: str) -> Json:
        binding = self.binding(member)
        return next(node for node in self.nodes if (node["kube_cluster"], node["name"]) == (binding["kube_cluster"], binding["node"]))

    def gone(self, member: str) -> None:
        self.nodes.remove(self.node(member))
        self.quiet(member)

    def quiet(self, member: str) -> None:
        """It does not answer; nothing else is known."""
        self.inspection.pop(member)

    def fresh(self, member: str, name: str, address: str, **changes: Any) -> Json:
        """A VM that could carry the member."""
        binding = self.binding(member)
        node = plans.node(binding["kube_cluster"], name, address, zone=binding["zone"], boot_id="boot-new", **changes)
        self.nodes.append(node)
        return node

    def status(self) -> Json:
        return classify.deployment_status(self.hostnet, self.raw(), self.nodes, self.observed, self.inspection)

    def raw(self) -> Json:
        return deployment.deployment_plan(self.hostnet, self.spec, self.nodes, self.observed)

    def plan(self, work: str = "reboot", **request: Any) -> Json:
        hook = {"hook": "/hook.yml", "hook_tasks": [{"name": "x"}]} if work == "reboot" else {}
        asked = {**hook, "surge": False, "members": [], "limit_nodes": None, "max_members": 0, "abort": False, **request, "work": work}
        return rollout.rollout_plan(self.hostnet, self.spec, asked, self.raw(), self.nodes, self.status(), self.journal, self.inspection)

    def record(self, member: str, work: str = "reboot", kind: str = "ok", surge: bool = False) -> Json:
        entry = {
            "member": member,
            "class": kind,
            "work": work,
            "surge": surge,
            "steps": table.of(work, kind, surge, self.spec["forget"]),
        }
        return before.record(entry, self.binding(member), self.nodes, self.inspection)

    def fly(self, member: str | None, work: str = "reboot", *, done: Sequence[str] = (), surge: bool = False, kind: str = "ok") -> Json:
        """A rollout was cut short with this member in hand."""
        self.journal = {
            "state": "in_flight",
            "run_id": "r-1",
            "settings": before.wanted_settings(work, surge, self.hostnet["image"]),
            "member": self.record(member, work, kind, surge) if member else None,
            "done": list(done),
            "steps": [],
        }
        return self.journal


@pytest.fixture
def world() -> World:
    return World()


def names_of(plan: Json) -> list[str]:
    return [entry["member"] for entry in plan["members"]]


def steps_journal(done: Sequence[str], begun: Sequence[str] = (), steps: Sequence[str] = (), member: str = "east-0", **more: Any) -> Json:
    told = [("done", step) for step in done] + [("begun", step) for step in begun]
    entries = [{"n": number, "member": member, "step": step, "state": state} for number, (state, step) in enumerate(told, 1)]
    return {"state": "in_flight", "member": {"member": member, "steps": list(steps), **more}, "steps": entries}


class TestSteps:
    @pytest.mark.parametrize("forget", FORGETS)
    @pytest.mark.parametrize("surge", [False, True])
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("work", table.WORKS)
    def test_what_holds_for_all_of_them(self, work: str, kind: str, surge: bool, forget: str) -> None:
        found = table.of(work, kind, surge, forget)
        at = found.index
        assert len(set(found)) == len(found)
        # No member is touched, and no VM ended, before a gate has let it. A new VM, and pods of others that make room, need none.
        for changing in {"lead", "drain", "stop", "vm", "restart", "leave", "forget", "admit", "readdress"} & {*found}:
            assert min(at(gate) for gate in ("gate", "gate_repair") if gate in found) < at(changing)
        if found == ["note"]:  # nothing is the matter with the member
            return
        # Each member is well again before the next one is touched.
        assert "settle" in found
        assert all(at("settle") > at(step) for step in ("start", "restart", "join", "list", "leave") if step in found)
        # The address is certified before it is used, and every join list is without the old one before anybody forgets it.
        if "certify" in found:
            assert at("certify") < at("start")
            assert at("identify") < at("certify")
        for forgetting in {"forget", "forget_after", "readdress"} & {*found}:
            assert at("unlist") < at(forgetting)
        if "admit" in found:
            assert at("stop") < at("identify") or surge
            assert at("stop") < at("unlist") < at("admit") < at("start") < at("join") < at("list")
        assert ("forget" in found) == (forget == "before_join" and ("admit" in found or work == "scale_down"))
        assert ("forget_after" in found) == (forget == "after_join" and "admit" in found)
        if "forget" in found:
            assert at("stop") < at("forget") < at("admit" if "admit" in found else "remove")
        if "forget_after" in found:
            assert at("join") < at("forget_after")
        for undone, done in (("cordon", "uncordon"), ("vm", "uncordon")):
            if undone in found and work != "scale_down" and not surge:
                assert at(undone) < at(done)

    @pytest.mark.parametrize("pulls", [False, True])
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("work", table.WORKS)
    def test_an_image_that_changes_is_pulled_before_anything_is_done_to_a_member_whose_vm_stays(
        self, work: str, kind: str, pulls: bool
    ) -> None:
        found = table.of(work, kind, False, "before_join", pulls=pulls)
        stays = work == "version" or (work in ("restart", "reboot") and pulls)
        assert ("pull" in found) == stays
        assert not stays or found[0] == "pull"
        assert [step for step in found if step != "pull"] == [step for step in table.of(work, kind, False, "before_join") if step != "pull"]
        # Nothing is to be put back where it fails.
        assert not table.BY_NAME["pull"].undo
        assert "pull" not in (*table.POINT_OF_NO_RETURN, *table.TAKES_DOWN, *table.BRING_UP)

    def test_a_reboot_that_starts_another_image_pulls_it_first(self, world: World) -> None:
        assert all("pull" not in entry["steps"] for entry in world.plan("reboot")["members"])
        world.hostnet["image"] = "example.test/etcd:2"
        assert {entry["steps"][0] for entry in world.plan("reboot")["members"]} == {"pull"}
        # A VM that goes pulls nothing: its successor does, in identify.
        assert all("pull" not in entry["steps"] for entry in world.plan("replace")["members"])

    def test_surge_brings_the_new_vm_before_anything_stops_and_ends_the_old_one_last(self) -> None:
        found = table.of("replace", "ok", True, "before_join")
        assert found.index("identify") < found.index("stop")
        assert found.index("settle") < found.index("retire")

    def test_a_repair_never_drains_or_asks_for_a_vm(self) -> None:
        for kind in KINDS:
            assert not {"vm", "vm_add", "drain", "cordon", "evict", "retire"} & {*table.of("repair", kind, True, "before_join")}
        assert table.of("repair", "rebooted", False, "before_join") == ["note"]


class TestOrder:
    def test_the_leader_last_and_the_rest_in_their_order(self, world: World) -> None:
        plan = world.plan()
        assert plan["errors"] == []
        assert names_of(plan) == ["east-1", "east-2", "west-0", "west-1", "east-0"]
        assert plan["members"][-1]["why"] == "last: it leads"
        assert any(line.startswith("1. east-1 on node") for line in plan["lines"])
        assert not plan["resume"]

    def test_the_vm_that_goes_soonest_comes_first_even_where_its_member_leads(self, world: World) -> None:
        homes = {
            member: next(node for node in world.nodes if node["name"] == world.binding(member)["node"]) for member in ("east-0", "west-1")
        }
        homes["west-1"]["signs"] = [{"sign": "spec.unschedulable", "level": "marked", "text": "it is cordoned"}]
        plan = world.plan("replace")
        assert names_of(plan) == ["west-1", "east-1", "east-2", "west-0", "east-0"]
        assert plan["members"][0]["why"] == "first: it is cordoned (spec.unschedulable)"
        homes["east-0"]["signs"] = [{"sign": "karpenter.sh/disrupted", "level": "going", "text": "Karpenter replaces it"}]
        assert names_of(world.plan("replace"))[:2] == ["east-0", "west-1"]

    @pytest.mark.parametrize("work", ["version", "restart", "reboot"])
    def test_nobody_is_stopped_where_its_pod_would_not_start_again(self, world: World, work: str) -> None:
        if work == "version":
            world.hostnet["image"] = "example.test/etcd:2"
        node = world.node("west-1")
        if work == "restart":
            for found in world.observed.values():
                for pod in found["pods"]:
                    pod["configuration"] = "older"
        before_it = names_of(world.plan(work))
        node.update(unschedulable=True, signs=[{"sign": "spec.unschedulable", "level": "marked", "text": "it is cordoned"}])
        plan = world.plan(work)
        [said] = plan["errors"]
        assert said.startswith("member west-1 would not start again: node ")
        assert f"kubectl uncordon {node['name']}" in said
        assert "hostnet_members" in said
        # The others have their turn first.
        assert work == "reboot" or names_of(plan) == before_it
        assert world.plan(work, members=["east-0"])["errors"] == []
        assert "east-1" in names_of(world.plan(work, hook="wait") if work == "reboot" else world.plan(work))
        # Of a rollout that was begun, only who is next, and not who is down already.
        world.fly("east-1", work)
        assert world.plan(work)["errors"] == []
        journal = world.fly("west-1", work)
        assert world.plan(work)["errors"] == [said]
        assert world.plan(work, abort=True)["errors"] == []
        journal["steps"] = [{"n": 1, "member": "west-1", "step": "stop" if work == "reboot" else "restart", "state": "begun"}]
        assert world.plan(work)["errors"] == []
        # A pod of a DaemonSet tolerates a cordon.
        world.journal = None
        world.hostnet["placement"] = "daemonset"
        assert not any("would not start again" in error for error in world.plan(work)["errors"])

    @pytest.mark.parametrize(
        ("taint", "toleration", "starts"),
        [
            ({"key": "a", "effect": "NoSchedule"}, None, False),
            ({"key": "a", "value": "b", "effect": "NoExecute"}, {"key": "a", "operator": "Equal", "value": "c"}, False),
            ({"key": "a", "value": "b", "effect": "NoExecute"}, {"key": "a", "value": "b", "effect": "NoSchedule"}, False),
            ({"key": "a", "value": "b", "effect": "NoExecute"}, {"key": "a", "value": "b"}, True),
            ({"key": "a", "effect": "NoSchedule"}, {"operator": "Exists"}, True),
            ({"key": "a", "effect": "PreferNoSchedule"}, None, True),
            ({"key": "node.kubernetes.io/disk-pressure", "effect": "NoSchedule"}, None, True),
            ({"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}, None, True),
        ],
    )
    def test_a_taint_keeps_a_pod_away_unless_it_is_tolerated(
        self, world: World, taint: Json, toleration: Json | None, starts: bool
    ) -> None:
        world.node("west-1")["taints"] = [taint]
        world.hostnet["tolerations"] = [toleration] if toleration else []
        assert (world.plan("reboot")["errors"] == []) is starts

    def test_the_one_in_flight_comes_first_even_when_it_leads_and_those_that_are_done_do_not_come_again(self, world: World) -> None:
        world.fly("east-0", done=["east-1", "west-1"])
        plan = world.plan()
        assert plan["errors"] == []
        assert names_of(plan) == ["east-0", "east-2", "west-0"]
        assert (plan["resume"], plan["in_hand"], plan["members"][0]["why"]) == (True, "east-0", "in flight")

    def test_the_one_in_flight_goes_on_by_the_steps_it_was_begun_with(self, world: World) -> None:
        world.fly("west-0", "replace")
        world.gone("west-0")
        plan = world.plan("replace")
        assert plan["errors"] == []
        assert plan["members"][0]["class"] == "ok"
        assert plan["members"][0]["steps"] == table.of("replace", "ok", False, "before_join", waits=True)

    @given(st.permutations(range(5)))
    def test_whatever_the_order_of_reading(self, order: list[int]) -> None:
        world = World()
        expected = names_of(world.plan())
        world.nodes = [world.nodes[index] for index in order]
        for found in world.observed.values():
            found["members"].reverse()
        assert names_of(world.plan()) == expected

    def test_a_restart_is_for_whoever_runs_with_less_than_the_last_deploy_says(self, world: World) -> None:
        assert names_of(world.plan("restart")) == []
        for entry in world.observed["east"]["workloads"]:
            entry["configuration"] = "new"
        pods = world.observed["east"]["pods"]
        next(pod for pod in pods if pod["member"] == "east-1")["configuration"] = "new"
        plan = world.plan("restart")
        assert names_of(plan) == ["east-2", "east-0"], "east-0 leads"
        assert plan["members"][0]["steps"] == ["gate", "lead", "drain", "restart", "settle", "soak"]
        # The last deploy may have brought another image too.
        world.hostnet["image"] = "example.test/etcd:2"
        assert world.plan("restart")["members"][0]["steps"][0] == "pull"
        world.hostnet["image"] = HOSTNET["image"]
        stale = rollout.stale_pods(world.binding("east-2"), world.observed, world.nodes)
        assert rollout.outdated(stale, world.observed, "") == stale
        # One that was started anew before a kill is not stopped a second time.
        stale = rollout.stale_pods(world.binding("east-1"), world.observed, world.nodes)
        assert rollout.outdated(stale, world.observed, "") == []

    def test_a_workload_gets_another_image_with_its_members_turn(self, world: World) -> None:
        def definition(kind: str, member: str) -> Json:
            labels = {"hostnet.multicluster/member": member} if member else {}
            return {"kube_cluster": "east", "definition": {"kind": kind, "metadata": {"name": "x", "labels": labels}}}

        objects = [definition("Secret", "east-2"), *(definition("StatefulSet", name) for name in MEMBERS)]
        journal = world.fly("east-1", "version")
        journal["settings"]["image"] = "example.test/etcd:2"
        journal["done"] = ["east-2"]

        def shown(found: list[Json]) -> list[str]:
            return [entry["definition"]["metadata"]["labels"].get("hostnet.multicluster/member", "") for entry in found]

        assert shown(rollout.touched(objects, journal, world.bindings)) == ["east-1", "east-2"]
        # One for all of its kube cluster.
        sets = [definition("DaemonSet", ""), {**definition("DaemonSet", ""), "kube_cluster": "west"}]
        assert rollout.touched(sets, journal, world.bindings) == sets[:1]
        assert rollout.touched(sets, {**journal, "done": [], "member": None}, world.bindings) == []
        for other in (None, {**journal, "state": "done"}):
            assert rollout.touched(objects, other, world.bindings) == objects
        assert rollout.touched(objects, {**journal, "settings": {"work": "reboot", "image": ""}}, world.bindings) == objects[1:]

    def test_a_renewed_certificate_of_another_member_is_a_rotations_business(self, world: World) -> None:
        def secret(member: str) -> Json:
            labels = {"hostnet.multicluster/member": member} if member else {}
            return {"kube_cluster": "east", "definition": {"kind": "Secret", "metadata": {"name": "x", "labels": labels}}}

        # A DaemonSet has one for all members of its kube cluster, and the one in hand may need it.
        objects = [secret("east-0"), secret("east-1"), secret("")]
        assert rollout.touched(objects, world.fly("east-1", "replace"), world.bindings) == objects[1:]
        assert rollout.touched(objects, {**world.fly("east-1", "replace"), "member": None}, world.bindings) == objects[2:]

    def test_a_version_that_runs_already_is_left_alone(self, world: World) -> None:
        assert names_of(world.plan("version")) == []
        world.hostnet["image"] = "example.test/etcd:2"
        for pod in world.observed["west"]["pods"]:
            pod["image"] = "example.test/etcd:2"
        assert names_of(world.plan("version")) == ["east-1", "east-2", "east-0"]

    def test_repairs_the_most_broken_first(self, world: World) -> None:
        world.spec["minimum_members"] = 1
        world.gone("west-1")
        world.fresh("west-1", "west-new", "10.0.1.9")
        # east-1's VM has another address and its disk: moved.
        world.node("east-1")["address"] = "10.0.0.99"
        plan = world.plan("repair")
        assert plan["errors"] == []
        assert [(entry["member"], entry["class"]) for entry in plan["members"]] == [("west-1", "missing"), ("east-1", "moved")]
        assert plan["members"][0]["node"] == "west-new"
        assert plan["unmended"] == []

    def test_a_reboot_that_went_well_is_noted(self, world: World) -> None:
        world.node("east-1")["boot_id"] = "boot-other"
        plan = world.plan("repair")
        assert [(entry["member"], entry["steps"]) for entry in plan["members"]] == [("east-1", ["note"])]

    def test_nobody_is_mended_where_everything_is_well(self, world: World) -> None:
        plan = world.plan("repair")
        assert (plan["members"], plan["unmended"], plan["errors"], plan["lines"]) == ([], [], [], ["nothing to do"])


class TestNarrowing:
    def test_by_name(self, world: World) -> None:
        assert names_of(world.plan(members=["west-1", "east-0"])) == ["west-1", "east-0"]

    def test_a_name_that_is_none(self, world: World) -> None:
        (error,) = world.plan(members=["west-9"])["errors"]
        assert "hostnet_members has 'west-9', which is no member of ledger" in error
        assert "east-0, east-1, east-2, west-0, west-1" in error

    def test_by_host(self, world: World) -> None:
        assert names_of(world.plan(limit_nodes=["west-worker", "east-worker.east"])) == ["west-0", "east-0"]
        assert names_of(world.plan(limit_nodes=[])) == []

    def test_by_number(self, world: World) -> None:
        assert names_of(world.plan(max_members=2)) == ["east-1", "east-2"]

    def test_the_one_in_flight_is_always_finished(self, world: World) -> None:
        world.fly("west-0")
        assert names_of(world.plan(members=["east-1"])) == ["west-0", "east-1"]
        assert names_of(world.plan(limit_nodes=["east-worker"])) == ["west-0", "east-0"]
        assert names_of(world.plan(max_members=1)) == ["west-0"]
        assert names_of(world.plan(abort=True)) == ["west-0"]

    def test_members_that_are_done_or_have_left_are_no_unknown_names(self, world: World) -> None:
        world.spec["minimum_members"] = 1
        world.fly("west-1", "scale_down", done=["east-9"])
        world.observed["west"]["members"] = [entry for entry in world.observed["west"]["members"] if entry["member"] != "west-1"]
        world.observed["west"]["pods"] = [pod for pod in world.observed["west"]["pods"] if pod["member"] != "west-1"]
        plan = world.plan("scale_down", members=["east-9", "west-1"])
        assert plan["errors"] == []
        # Its binding is gone already; the rest of its steps is not.
        assert [(entry["member"], entry["why"], entry["node"]) for entry in plan["members"]] == [("west-1", "in flight", "west-worker2")]


class TestResuming:
    def test_only_with_the_same_work(self, world: World) -> None:
        world.fly("west-0", "replace", surge=True)
        (error,) = world.plan("reboot")["errors"]
        assert "(run r-1, surge True instead of False, work 'replace' instead of 'reboot')" in error
        assert "playbooks/upgrade.yml -e hostnet_work=replace -e hostnet_surge=true, or end it with -e hostnet_abort=true" in error
        assert world.plan("replace", surge=True)["errors"] == []
        assert world.plan("reboot", abort=True)["errors"] == []

    @pytest.mark.parametrize("work", ["reboot", "replace", "version"])
    def test_a_repair_comes_into_it_and_leaves_it_open(self, world: World, work: str) -> None:
        world.fly("east-0", work, done=["west-1"])["order"] = ["west-1", "east-0", "east-1", "west-0"]
        world.gone("west-0")
        world.fresh("west-0", "west-new", "10.1.0.9")
        plan = world.plan("repair")
        assert (plan["errors"], plan["hold"], plan["yields"]) == ([], False, True)
        assert [(entry["member"], entry["work"]) for entry in plan["members"]] == [("east-0", work), ("west-0", "repair")]
        assert plan["left"] == ["east-1", "west-0"]
        world.hostnet["image"] = "example.test/etcd:3"
        assert bool(world.plan("repair")["errors"]) == (work == "version")

    @pytest.mark.parametrize("work", ["reboot", "replace"])
    def test_a_repair_takes_nobody_down_whose_turn_had_begun(self, world: World, work: str) -> None:
        """Invariant 4: the member in hand is up, another one is down that a repair leaves alone, and both would be down."""
        journal = world.fly("east-0", work)
        journal["steps"] = [{"n": 1, "member": "east-0", "step": "evict", "state": "begun"}]
        world.node("west-0")["ready"] = False
        world.quiet("west-0")
        plan = world.plan("repair")
        assert plan["yields"] is True, "its turn comes again when the rollout goes on"
        assert world.plan("repair", abort=True)["yields"] is False
        # One that is down is finished: that is what brings it up.
        journal["steps"] = [{"n": 1, "member": "east-0", "step": "stop", "state": "begun"}]
        assert world.plan("repair")["yields"] is False
        # A repair's own member is mended, whatever the rollout is.
        journal["member"] = world.record("east-0", "repair", "moved")
        journal["steps"] = []
        assert world.plan("repair")["yields"] is False

    @pytest.mark.parametrize("work", ["repair", "scale_down"])
    def test_no_repair_comes_into_another_ones_settings(self, world: World, work: str) -> None:
        world.fly("west-0", work)
        plan = world.plan("repair")
        assert bool(plan["errors"]) == (work == "scale_down")
        assert (plan["left"], plan["yields"]) == ([], False)

    @pytest.mark.parametrize(("work", "playbook"), [("repair", "repair.yml"), ("scale_down", "scale_down.yml")])
    def test_the_playbook_of_its_own(self, world: World, work: str, playbook: str) -> None:
        world.fly("west-0", work)
        (error,) = world.plan("reboot")["errors"]
        assert f"finish it with playbooks/{playbook}, or end it" in error

    def test_only_with_the_same_image(self, world: World) -> None:
        world.hostnet["image"] = "example.test/etcd:2"
        world.fly("west-0", "version")
        assert world.plan("version")["errors"] == []
        world.hostnet["image"] = "example.test/etcd:3"
        (error,) = world.plan("version")["errors"]
        assert "finish it with playbooks/upgrade.yml -e hostnet_work=version -e hostnet_image=example.test/etcd:2, or" in error

    def test_a_journal_that_ended_is_none(self, world: World) -> None:
        world.fly("west-0", "replace")["state"] = "done"
        plan = world.plan()
        assert (plan["errors"], plan["resume"], plan["in_hand"]) == ([], False, "")

    def test_the_steps_after_the_last_one_that_is_done(self) -> None:
        steps = ["gate", "stop", "vm", "identify"]
        assert table.remaining_steps(steps_journal([], steps=steps)) == steps
        assert table.remaining_steps(steps_journal(["gate", "stop"], ["vm"], steps=steps)) == ["vm", "identify"]
        assert table.remaining_steps(steps_journal(["gate", "vm"], steps=steps)) == ["identify"]
        assert table.remaining_steps(steps_journal(steps, steps=steps)) == []
        # Those of another member say nothing, nor does a step that has no part in this.
        other = steps_journal(["gate", "stop"], steps=steps)
        other["member"]["member"] = "east-1"
        assert table.remaining_steps(other) == steps
        assert table.remaining_steps(steps_journal(["undo"], steps=steps)) == steps
        assert table.remaining_steps({"member": None, "steps": []}) == []

    @pytest.mark.parametrize(
        ("done", "begun", "up", "left"),
        [
            # Killed between the gate and the stop: all of it again, the member may lead by now.
            (["cordon", "evict", "gate"], [], True, "gate lead drain stop vm"),
            (["cordon", "evict", "gate", "lead"], ["drain"], True, "gate lead drain stop vm"),
            (["cordon", "evict", "gate", "lead", "drain"], [], True, "gate lead drain stop vm"),
            (["cordon", "evict", "gate", "lead", "drain"], [], False, "gate lead drain stop vm"),
            # Killed in the stop, before it had an effect: the gate alone.
            (["cordon", "evict", "gate", "lead", "drain"], ["stop"], True, "gate stop vm"),
            # It is down, and would close gates by its own absence: nothing but forward.
            (["cordon", "evict", "gate", "lead", "drain"], ["stop"], False, "stop vm"),
            (["cordon", "evict", "gate", "lead", "drain", "stop"], [], False, "vm"),
            (["cordon", "evict", "gate", "lead", "drain", "stop"], ["vm"], True, "vm"),
            # The gate is still to come.
            (["cordon"], ["evict"], True, "evict gate lead drain stop vm"),
        ],
    )
    def test_a_run_that_goes_on_asks_the_gate_before_the_stop(self, done: list[str], begun: list[str], up: bool, left: str) -> None:
        steps = ["cordon", "evict", "gate", "lead", "drain", "stop", "vm"]
        assert table.remaining_steps(steps_journal(done, begun, steps=steps), up) == left.split()

    @pytest.mark.parametrize(("stopped", "reachable", "gate"), [(False, True, True), (True, True, False), (False, False, False)])
    def test_up_is_who_answers_and_is_not_recorded_as_stopped(self, world: World, stopped: bool, reachable: bool, gate: bool) -> None:
        journal = steps_journal(["gate", "lead", "drain"], ["stop"], steps=["gate", "lead", "drain", "stop", "vm"])
        name = journal["member"]["member"]
        bindings = rebind.stopped(world.bindings, name, stopped)
        inspection = {**world.inspection, name: {**world.inspection[name], "reachable": reachable}}
        assert ("gate" in table.next_steps(journal, bindings, inspection)) == gate
        assert table.next_steps(journal, [], {}) == ["stop", "vm"]

    def test_neighbours_are_asked_again_too(self) -> None:
        steps = ["gate_neighbours", "gate", "lead", "drain", "stop", "stop_neighbours", "vm"]
        assert table.remaining_steps(steps_journal(steps[:4], steps=steps)) == steps
        assert table.remaining_steps(steps_journal(steps[:4], steps[4:5], steps=steps), up=True) == [
            "gate_neighbours",
            "gate",
            *steps[4:],
        ]
        assert table.remaining_steps(steps_journal(steps[:5], steps=steps)) == steps[5:]

    def test_a_pod_that_was_restarted_is_not_drained_again(self) -> None:
        steps = table.of("version", "ok", False, "never")
        assert steps[:4] == ["pull", "gate", "lead", "drain"]
        # An image that was pulled is there.
        assert table.remaining_steps(steps_journal(steps[:3], steps=steps)) == steps[1:]
        begun = steps_journal(steps[:4], ["restart"], steps=steps)
        assert table.remaining_steps(begun, up=True) == ["gate", "restart", "settle", "soak"]
        # One whose image does not work gets the right one, whatever its absence says to a gate.
        assert table.remaining_steps(begun) == ["restart", "settle", "soak"]
        assert table.bring_up_steps(steps_journal(steps[:4], ["restart"], steps=steps), noted=False) == ["settle"]

    def test_whoever_has_begun_to_leave_is_not_asked_about(self) -> None:
        steps = table.of("scale_down", "ok", False, "after_join")
        assert steps[:5] == ["gate", "lead", "drain", "leave", "stop"]
        assert table.remaining_steps(steps_journal(steps[:3], steps=steps)) == steps
        assert table.remaining_steps(steps_journal(steps[:3], ["leave"], steps=steps)) == steps[3:]

    @given(st.integers(0, 20), st.booleans(), st.sampled_from(table.WORKS), st.sampled_from(KINDS), st.booleans(), st.sampled_from(FORGETS))
    def test_nobody_is_taken_down_without_a_gate_of_the_same_run(
        self, number: int, begun: bool, work: str, kind: str, surge: bool, forget: str
    ) -> None:
        steps = table.of(work, kind, surge, forget)
        journal = steps_journal(steps[:number], steps[number : number + 1] if begun else [], steps=steps)
        left = table.remaining_steps(journal, up=True)
        for down in set(left) & set(table.TAKES_DOWN):
            assert set(left[: left.index(down)]) & set(table.GATES) or "leave" in table.begun_steps(journal)

    def test_the_last_step_is_that_of_whatever_member(self) -> None:
        assert table.last_step(steps_journal(["gate", "lead"])) == "lead"
        assert table.last_step({"member": None, "steps": []}) == ""

    @given(st.integers(0, 20), st.sampled_from(table.WORKS), st.sampled_from(KINDS), st.booleans(), st.sampled_from(FORGETS))
    def test_done_and_remaining_are_all(self, number: int, work: str, kind: str, surge: bool, forget: str) -> None:
        steps = table.of(work, kind, surge, forget)
        found = steps_journal(steps[:number], steps[number : number + 1], steps=steps)
        left = table.remaining_steps(found)
        # A gate that was asked before is asked again, and what follows it.
        assert left[-len(steps[number:]) or len(left) :] == steps[number:]
        assert [name for name in [*steps[:number], *left] if name in steps] == [*steps[:number], *left]
        assert set(steps[:number]) | set(left) == set(steps)

    @pytest.mark.parametrize(
        ("done", "new"), [([], False), (["certify"], False), (["admit"], True), (["admit", "start"], True), (["readdress"], True)]
    )
    def test_bindings_in_force(self, world: World, done: list[str], new: bool) -> None:
        fresh = {**world.binding("east-0"), "address": "10.0.0.77", "admission": "other"}
        found = rebind.bindings_in_force(world.bindings, steps_journal(done, ["start"], new=fresh))
        assert len(found) == 5
        assert next(entry for entry in found if entry["member"] == "east-0") == (fresh if new else world.binding("east-0"))

    def test_steps_that_were_undone_are_done_anew(self, world: World) -> None:
        fresh = {**world.binding("east-0"), "address": "10.0.0.77"}
        found = steps_journal(["gate", "certify", "admit"], ["start"], steps=["gate", "certify", "admit", "start"], new=fresh)
        assert table.begun_steps(found) == ["gate", "certify", "admit", "start"]
        assert rebind.certified(world.bindings, found) == rebind.with_member(world.bindings, fresh)
        found["member"].update(table.undone(found))
        assert found["member"]["new"] is None
        assert table.remaining_steps(found) == ["gate", "certify", "admit", "start"]
        assert table.begun_steps(found) == []
        assert not table.past_return(found)
        assert rebind.certified(world.bindings, found) == rebind.bindings_in_force(world.bindings, found) == world.bindings

    def test_a_new_binding_is_certified_before_it_is_in_force(self, world: World) -> None:
        fresh = {**world.binding("east-0"), "address": "10.0.0.77"}
        found = steps_journal(["certify"], ["admit"], new=fresh)
        assert rebind.certified(world.bindings, found) == rebind.with_member(world.bindings, fresh)
        assert rebind.bindings_in_force(world.bindings, found) == world.bindings
        assert rebind.certified(world.bindings, steps_journal([], ["certify"], new=fresh)) == world.bindings

    def test_bindings_without_a_rollout(self, world: World) -> None:
        assert rebind.bindings_in_force(world.bindings, {}) == world.bindings

    @pytest.mark.parametrize("step", ["gate", "lead", "cordon", "drain", "stop", "evict"])
    def test_what_can_be_undone(self, step: str) -> None:
        assert not table.past_return(steps_journal(["gate"], [step]))

    @pytest.mark.parametrize("step", ["vm", "forget", "readdress", "admit", "restart", "leave", "start"])
    def test_what_cannot(self, step: str) -> None:
        assert table.past_return(steps_journal(["gate"], [step]))
        assert table.past_return(steps_journal(["gate", step]))

    def test_what_another_member_did_is_its_own(self) -> None:
        found = steps_journal(["gate", "vm"])
        found["member"] = {"member": "east-1", "steps": []}
        assert not table.past_return(found)
        assert not table.past_return({"member": None, "steps": []})


class TestRefused:
    def test_where_nothing_is_deployed(self, world: World) -> None:
        world.observed = {name: plans.nothing() for name in world.observed}
        plan = world.plan()
        assert ["is not deployed, or not finished: run playbooks/deploy.yml first" in error for error in plan["errors"]] == [True]
        assert plan["members"] == []

    def test_conflicts_of_identity(self, world: World) -> None:
        world.observed["west"]["identity"]["token"] = "another"
        assert any("differs between kube clusters east and west" in error for error in world.plan("repair")["errors"])

    @pytest.mark.parametrize("work", table.WORKS)
    def test_where_another_system_answers(self, world: World, work: str) -> None:
        world.inspection["west-1"]["cluster_id"] = "f00"
        errors = world.plan(work, members=["west-1"] if work == "scale_down" else [])["errors"]
        assert len(errors) == 1
        assert (
            "member west-1: it reports cluster id f00, the record says c1d. Another system answers there: a human has to look" in errors[0]
        )

    @pytest.mark.parametrize("work", ["reboot", "replace", "version"])
    def test_while_a_member_is_down(self, world: World, work: str) -> None:
        world.quiet("west-1")
        (error,) = world.plan(work)["errors"]
        assert error.startswith("member west-1 is unknown (it does not answer): a rollout starts only while every member is well")
        # Narrowing does not help: members that are down count, wherever they are.
        assert world.plan(work, members=["east-1"])["errors"] == [error]

    def test_a_member_that_is_not_healthy_counts(self, world: World) -> None:
        world.inspection["east-2"].update(healthy=False, reason="raft: no leader")
        (error,) = world.plan()["errors"]
        assert error.startswith("member east-2 is not healthy (raft: no leader): ")

    def test_the_member_in_flight_may_be_down_and_no_other(self, world: World) -> None:
        world.fly("west-1")
        world.quiet("west-1")
        assert world.plan()["errors"] == []
        world.quiet("west-0")
        assert [error.split(":")[0] for error in world.plan()["errors"]] == ["member west-0 is unknown (it does not answer)"]

    def test_an_abort_is_possible_while_another_member_is_down(self, world: World) -> None:
        world.fly("west-1")
        world.quiet("west-1")
        world.quiet("west-0")
        plan = world.plan(abort=True)
        assert (plan["errors"], names_of(plan)) == ([], ["west-1"])

    @pytest.mark.parametrize("work", table.WORKS)
    def test_where_the_majority_is_lost(self, world: World, work: str) -> None:
        world.gone("west-0")
        world.quiet("west-1")
        world.node("east-1")["ready"] = False
        world.quiet("east-1")
        plan = world.plan(work, members=["west-0"] if work == "scale_down" else [])
        assert plan["members"] == []
        assert set(plan["broken"]) == {"west-0", "west-1", "east-1"}
        text = plan["errors"][-1]
        assert text.startswith("2 of 5 members of ledger are healthy, 3 are needed: the majority is lost, so nothing is removed, wiped")
        for name in MEMBERS:
            assert f"* {name}: " in text
            assert f"/var/lib/hostnet/ledger/{world.binding(name)['admission']} on node " in text
        assert "there is no such node any more" in text
        assert "node not Ready: it may come back with its disk" in text
        assert "the system's own procedure: https://etcd.io/docs/" in text
        # Where no majority is left, a repair refuses: it comes after the VMs.
        steps = [line for line in text.splitlines() if line[:2] in ("1.", "2.", "3.")]
        assert "with their old disks and addresses" in steps[0]
        assert steps[1] == "2. Once 3 members are healthy, run playbooks/repair.yml for the rest."
        assert "docs/recovery.md#back-from-a-disaster" in steps[2]
        assert "playbooks/adopt.yml" in steps[2]
        world.spec.pop("recovery")
        assert (
            "the system's own documentation on lost majorities"
            in world.plan(work, members=["west-0"] if work == "scale_down" else [])["errors"][-1]
        )

    @pytest.mark.parametrize("work", table.WORKS)
    def test_without_a_kube_cluster_that_alone_is_said(self, world: World, work: str) -> None:
        world.hostnet["kube_clusters"] = [{"name": "east"}]
        world.observed.pop("west")
        world.nodes = [node for node in world.nodes if node["kube_cluster"] == "east"]
        plan = world.plan(work, members=["east-0"] if work == "scale_down" else [])
        assert len(plan["errors"]) == 1, plan["errors"]
        assert "kube cluster west is missing" in plan["errors"][0]

    @pytest.mark.parametrize("work", table.WORKS)
    def test_a_member_without_a_binding_is_a_voter_that_nobody_counts(self, world: World, work: str) -> None:
        for found in world.observed.values():
            found["members"] = [entry for entry in found["members"] if entry["member"] != "west-1"]
        plan = world.plan(work, members=["west-0"] if work == "scale_down" else [])
        assert any("runs member west-1, and there is no such member: its binding was deleted" in error for error in plan["errors"])

    @pytest.mark.parametrize("work", table.WORKS)
    def test_where_all_bindings_are_gone(self, world: World, work: str) -> None:
        for found in world.observed.values():
            found.update(members=[], members_found=False)
        plan = world.plan(work, members=["west-0"] if work == "scale_down" else [])
        assert plan["members"] == []
        assert any("runs member east-0, and there is no such member" in error for error in plan["errors"])
        # They may all be well.
        assert not any("majority" in error for error in plan["errors"])

    def test_who_is_leaving_has_no_binding_any_more(self, world: World) -> None:
        world.fly("west-1", "scale_down")
        for found in world.observed.values():
            found["members"] = [entry for entry in found["members"] if entry["member"] != "west-1"]
        plan = world.plan("scale_down", members=["west-1"])
        assert (plan["errors"], names_of(plan)) == ([], ["west-1"])

    @given(st.sets(st.sampled_from(MEMBERS)), st.sampled_from(table.WORKS), st.booleans())
    def test_never_anything_without_a_majority(self, down: set[str], work: str, abort: bool) -> None:
        world = World()
        world.fly("west-1", work)
        for name in down:
            world.quiet(name)
        plan = world.plan(work, abort=abort, members=["west-1"] if work == "scale_down" else [])
        if len(down) >= 3:
            assert plan["members"] == []
            assert any("the majority is lost" in error for error in plan["errors"])
        elif work == "replace" and not abort and down - {"west-1"}:
            # It follows a cloud, which may bring them back.
            assert len(plan["waits"]) == len(down - {"west-1"})
        elif work != "repair" and not abort and down - {"west-1"}:
            assert plan["errors"]
        assert all(
            entry["member"] == "west-1" or entry["member"] not in down or plan["errors"] or plan["waits"] for entry in plan["members"]
        )


class TestBadRequests:
    """Said before anything is changed, each with its variable and what to do."""

    @pytest.mark.parametrize(
        ("request_", "says"),
        [
            ({"work": "upgrade"}, "hostnet_work is 'upgrade': upgrade.yml needs -e hostnet_work=reboot, replace, version or restart"),
            ({"work": ""}, "hostnet_work is ''"),
            ({"work": "reboot", "surge": True}, "hostnet_surge is for hostnet_work=replace"),
            ({"work": "version", "surge": True}, "hostnet_surge is for hostnet_work=replace"),
            ({"max_members": -1}, "hostnet_max_members is -1: it must be a whole number of at least 0"),
            ({"soak_seconds": -5}, "hostnet_soak_seconds is -5"),
            ({"step_timeout_seconds": 0}, "hostnet_step_timeout_seconds is 0: it must be a whole number of at least 1"),
            ({"hook": "hook.yml", "hook_tasks": [{"name": "x"}]}, "hostnet_replace_tasks is hook.yml: it must be an absolute path"),
            ({"hook": "/hook.yml", "hook_tasks": None}, "hostnet_replace_tasks is /hook.yml, which is no file on the controller"),
            ({"hook": "/hook.yml", "hook_tasks": [], "hook_unreadable": "line 3"}, "which Ansible cannot read: line 3"),
            ({"hook": "/hook.yml", "hook_tasks": []}, "it must hold a list of Ansible tasks, at least one"),
            ({"hook": "/hook.yml", "hook_tasks": {"tasks": []}}, "it must hold a list of Ansible tasks"),
            ({"hook": "/hook.yml", "hook_tasks": ["x"]}, "it must hold a list of Ansible tasks"),
            ({"probe_file": "/probe", "probe_file_exists": False}, "hostnet_probe_file is /probe, which is no file on the controller"),
        ],
    )
    def test_each_is_one_error(self, world: World, request_: Json, says: str) -> None:
        plan = world.plan(**{"work": "replace", **request_})
        assert len(plan["errors"]) == 1
        assert says in plan["errors"][0]

    def test_a_repair_is_not_refused_for_what_an_inventory_says_about_upgrades(self, world: World) -> None:
        assert not world.plan("repair", surge=True)["errors"]
        assert not world.plan("scale_down", surge=True, members=["east-2"])["errors"]

    def test_a_hook_is_looked_at_only_where_it_is_called(self, world: World) -> None:
        for work in ("version", "repair"):
            assert not world.plan(work, hook="/nowhere", hook_tasks=None)["errors"]

    def test_the_plan_tells_which_settings_are_changed(self, world: World) -> None:
        world.spec["settings"] = {"read": ["x"], "write": ["y"], "values": {"reboot": {"dead.after": "00:30:00"}}}
        line = "setting dead.after becomes 00:30:00 where it is not that already; put back at the end"
        assert line in world.plan("reboot")["lines"]
        assert line not in world.plan("replace")["lines"]

    def test_what_is_right(self, world: World) -> None:
        good = {"hook": "/hook.yml", "hook_tasks": [{"name": "x"}], "probe_file": "/probe", "probe_file_exists": True, "soak_seconds": 0}
        assert not world.plan("replace", surge=True, step_timeout_seconds=1, max_members=0, **good)["errors"]


class TestMending:
    def test_two_missing_members_get_two_nodes(self, world: World) -> None:
        for number, name in enumerate(("east-1", "east-2")):
            binding = world.binding(name)
            world.gone(name)
            world.nodes.append(plans.node("east", f"fresh-{number}", f"10.0.0.5{number}", zone=binding["zone"]))
        plan = world.plan("repair")
        assert plan["errors"] == []
        assert {entry["member"]: entry["node"] for entry in plan["members"]} == {"east-1": "fresh-0", "east-2": "fresh-1"}

    def test_two_missing_members_of_one_zone_never_get_one_node(self, world: World) -> None:
        for name in ("east-1", "east-2"):
            world.node(name)["zone"] = "east-b"
        world.bindings = plans.admitted(world.hostnet, world.spec, world.nodes)
        world.observed, world.inspection = plans.running(world.hostnet, world.bindings), plans.inspected(world.bindings)
        world.gone("east-1")
        world.gone("east-2")
        world.nodes.append(plans.node("east", "fresh-0", "10.0.0.50", zone="east-b"))
        plan = world.plan("repair")
        assert [(entry["member"], entry["node"]) for entry in plan["members"]] == [("east-1", "fresh-0")]
        (line,) = plan["unmended"]
        assert line.startswith("member east-2 is missing (")
        assert "has no free node that is Ready in zone east-b: bring one, or take the member out for good" in line
        world.nodes.append(plans.node("east", "fresh-1", "10.0.0.51", zone="east-b"))
        assert {entry["member"]: entry["node"] for entry in world.plan("repair")["members"]} == {"east-1": "fresh-0", "east-2": "fresh-1"}

    def test_the_node_that_the_member_in_flight_has_chosen_is_not_free(self, world: World) -> None:
        for name in ("east-1", "east-2"):
            world.node(name)["zone"] = "east-b"
        world.bindings = plans.admitted(world.hostnet, world.spec, world.nodes)
        world.observed, world.inspection = plans.running(world.hostnet, world.bindings), plans.inspected(world.bindings)
        world.gone("east-1")
        world.gone("east-2")
        fresh = plans.node("east", "fresh-0", "10.0.0.50", zone="east-b")
        world.nodes.append(fresh)
        journal = world.fly("east-2", "repair", kind="missing")
        journal["member"]["new"] = rebind.rebound(world.hostnet, world.spec, world.binding("east-2"), fresh, plans.TOKEN, plans.NONCE)
        plan = world.plan("repair")
        assert names_of(plan) == ["east-2"]
        assert [line.split(" (")[0] for line in plan["unmended"]] == ["member east-1 is missing"]

    @pytest.mark.parametrize("changes", [{"zone": "east-c"}, {"ready": False}, {"selected": False}])
    def test_a_node_that_is_not_for_it(self, world: World, changes: Json) -> None:
        world.gone("east-1")
        world.nodes.append(plans.node("east", "fresh", "10.0.0.50", **{"zone": "east-b", **changes}))
        plan = world.plan("repair")
        assert (plan["members"], len(plan["unmended"])) == ([], 1)

    def test_a_node_of_another_kube_cluster_is_not_for_it(self, world: World) -> None:
        world.gone("east-1")
        world.nodes.append(plans.node("west", "fresh", "10.0.1.50", zone="east-b"))
        assert names_of(world.plan("repair")) == []

    def test_what_is_unknown_is_left_alone(self, world: World) -> None:
        world.node("east-1")["ready"] = False
        world.quiet("east-1")
        world.fresh("east-1", "fresh", "10.0.0.50")
        plan = world.plan("repair")
        assert plan["members"] == []
        (line,) = plan["unmended"]
        assert line.endswith("unreachable is not dead, so it is left alone")
        assert f"! {line}" in plan["lines"]

    def test_what_a_rollout_stopped_is_started(self, world: World) -> None:
        for found in world.observed.values():
            found["members"] = rebind.stopped(found["members"], "east-1", True)
            found["pods"] = [pod for pod in found["pods"] if pod["member"] != "east-1"]
        world.quiet("east-1")
        plan = world.plan("repair")
        wanted = table.of("repair", "stopped", False, world.spec["forget"])
        assert [(entry["member"], entry["steps"]) for entry in plan["members"]] == [("east-1", wanted)]

    def test_swapped_and_moved(self, world: World) -> None:
        first, second = world.node("east-1"), world.node("east-2")
        first["address"], second["address"] = second["address"], "10.0.0.99"
        world.quiet("east-1")
        plan = world.plan("repair")
        assert [(entry["member"], entry["class"]) for entry in plan["members"]] == [("east-1", "swapped"), ("east-2", "moved")]
        for entry in plan["members"]:
            assert {"readdress", "certify", "unlist"} < {*entry["steps"]}
            assert not {"admit", "forget"} & {*entry["steps"]}

    @given(st.dictionaries(st.sampled_from(MEMBERS), st.sampled_from(["gone", "quiet", "not ready"]), max_size=2), st.integers(0, 3))
    def test_everybody_who_is_not_well_is_mended_or_named(self, trouble: dict[str, str], spare: int) -> None:
        world = World()
        for number, (name, what) in enumerate(trouble.items()):
            if number < spare:
                world.fresh(name, f"fresh-{number}", f"10.0.9.{number}")
            if what == "gone":
                world.gone(name)
            else:
                world.node(name)["ready"] = what != "not ready"
                world.quiet(name)
        plan = world.plan("repair")
        assert plan["errors"] == []
        chosen = names_of(plan)
        assert set(chosen) | {line.split()[1] for line in plan["unmended"]} == set(trouble)
        assert all(trouble[name] == "gone" for name in chosen)
        given_nodes = [(entry["member"][:4], entry["node"]) for entry in plan["members"]]
        assert len(set(given_nodes)) == len(given_nodes)
        taken = {binding["node"] for binding in world.bindings}
        assert not taken & {node for _cluster, node in given_nodes}


class TestFollowing:
    """hostnet_work=replace with hostnet_replace_tasks=wait: a cloud replaces the VMs in an order of its own."""

    def test_nobody_is_taken_before_a_vm_is_about_to_go(self, world: World) -> None:
        plan = world.plan("replace")
        assert (plan["errors"], plan["hold"], plan["follows"]) == ([], True, True)
        assert "held: no member is stopped before the cloud is about to take its VM, and the cloud's order counts" in plan["lines"]
        assert not world.plan("replace", surge=True)["hold"]
        assert not world.plan("replace", hook="/hook.yml", hook_tasks=[{"name": "x"}])["hold"]
        assert not world.plan("reboot")["hold"]
        assert world.plan("reboot", hook="wait")["hold"]

    def test_whose_turn_has_come_is_first(self, world: World) -> None:
        plan = world.plan("replace", due={"west-1": "west: node west-worker1 is drained"})
        assert (plan["hold"], names_of(plan)[0]) == (False, "west-1")
        assert plan["members"][0]["why"] == "first: west: node west-worker1 is drained"

    def test_a_vm_that_is_made_anew_under_its_name_is_waited_for(self, world: World) -> None:
        world.node("west-0")["labels"] = {"kubernetes.azure.com/agentpool": "db"}
        record = world.record("west-0", "replace")
        world.nodes.remove(world.node("west-0"))
        buffer = world.fresh("west-0", "aks-buffer", "10.1.0.9")
        assert record["in_place"]
        found = successor.identify_for(record, world.nodes, world.bindings, True)
        assert found["node"] is None
        assert "no new node that matches the selector" in found["waiting"]
        again = world.fresh("west-0", world.binding("west-0")["node"], "10.0.1.1", uid="again", provider_id="kind://again")
        assert successor.identify_for(record, world.nodes, world.bindings, True)["node"] == again
        # A hook says which VM it has made.
        assert successor.identify_for(record, [buffer], world.bindings, False)["node"] == buffer

    def test_one_in_hand_is_not_held(self, world: World) -> None:
        world.fly("east-1", "replace")
        assert not world.plan("replace")["hold"]

    @pytest.mark.parametrize("work", ["reboot", "replace", "version"])
    def test_who_has_lost_its_vm_is_mended_first(self, world: World, work: str) -> None:
        world.gone("west-0")
        world.fresh("west-0", "west-new", "10.1.0.9")
        plan = world.plan(work)
        assert plan["errors"] == []
        assert (plan["members"][0]["member"], plan["members"][0]["work"], plan["hold"]) == ("west-0", "repair", False)
        assert [entry["member"] for entry in plan["prove"]] == ["west-0"]
        assert {entry["work"] for entry in plan["members"][1:]} <= {work}
        assert "west-0" not in names_of(plan)[1:]

    def test_one_in_hand_comes_before_it(self, world: World) -> None:
        world.fly("east-1", "replace")
        world.gone("west-0")
        world.fresh("west-0", "west-new", "10.1.0.9")
        plan = world.plan("replace", due={"east-1": "x"})
        assert (names_of(plan)[:2], plan["yields"]) == (["east-1", "west-0"], True)
        # Its stop was begun: finishing it is what brings it up.
        assert world.journal is not None
        world.journal["steps"] = [{"n": 1, "member": "east-1", "step": "stop", "state": "begun"}]
        assert not world.plan("replace")["yields"]

    def test_who_was_not_named_is_not_mended_either(self, world: World) -> None:
        world.gone("west-0")
        world.fresh("west-0", "west-new", "10.1.0.9")
        plan = world.plan("reboot", members=["east-0"])
        assert any("member west-0 is missing" in error for error in plan["errors"])

    def test_a_vm_that_has_not_come_yet_is_waited_for(self, world: World) -> None:
        world.fly(None, "replace", done=["east-0"])
        world.gone("west-0")
        plan = world.plan("replace", due={"east-1": "x"})
        assert (plan["errors"], plan["hold"]) == ([], True)
        assert [line.split(" (")[0] for line in plan["waits"]] == ["member west-0 is missing"]

    def test_a_rollout_does_not_begin_without_it(self, world: World) -> None:
        world.gone("west-0")
        assert any("a rollout starts only while every member is well" in error for error in world.plan("replace")["errors"])

    def test_vms_that_die_again_and_again_are_given_up(self, world: World) -> None:
        world.gone("west-0")
        world.fresh("west-0", "west-new", "10.1.0.9")
        assert names_of(world.plan("reboot", ended=[{"member": "west-0", "work": "repair"}] * 2))[0] == "west-0"
        often = [{"member": "west-0", "work": "repair"}] * 3
        assert world.plan("reboot", ended=often)["errors"]
        plan = world.plan("repair", ended=often)
        assert plan["members"] == []
        assert "member west-0 was repaired 3 times by this run, and is broken again" in plan["unmended"][0]

    def test_turns_of_this_run_count(self, world: World) -> None:
        world.fly(None, "reboot", done=["east-0"])
        had = [{"member": "east-0", "work": "reboot"}]
        assert names_of(world.plan("reboot", max_members=2, ended=had)) == ["east-1"]
        plan = world.plan("reboot", max_members=1, ended=had)
        assert (names_of(plan), len(plan["left"])) == ([], 4)
        # Whoever has lost its VM meanwhile is mended all the same.
        world.gone("west-0")
        world.fresh("west-0", "west-new", "10.1.0.9")
        assert names_of(world.plan("reboot", max_members=1, ended=had)) == ["west-0"]

    def test_one_in_hand_is_put_back_where_the_cloud_has_given_up(self, world: World) -> None:
        world.fly("east-1", "replace")
        plan = world.plan("replace")
        assert (plan["yields"], plan["hold"]) == (True, False)
        assert not world.plan("replace", due={"east-1": "x"})["yields"]
        assert not world.plan("replace", hook="/hook.yml", hook_tasks=[{"name": "x"}])["yields"]
        world.node("east-1")["signs"] = [{"sign": "s", "level": "going", "text": "t"}]
        assert not world.plan("replace")["yields"]
        # A repair is its own reason.
        world.fly("east-1", "replace", kind="missing")["member"]["work"] = "repair"
        assert not world.plan("replace")["yields"]

    @pytest.mark.parametrize(("work", "begun"), [("version", ["pull"]), ("replace", ["cordon", "gate"]), ("reboot", [])])
    def test_one_in_hand_that_has_lost_its_vm_while_it_was_up_is_mended_as_any_other(
        self, world: World, work: str, begun: list[str]
    ) -> None:
        """A process whose Node object is gone may live: its place is taken only when it is proven dead."""
        journal = world.fly("east-1", work)
        journal["steps"] = [{"n": number, "member": "east-1", "step": name, "state": "begun"} for number, name in enumerate(begun, 1)]
        by_hook = {"hook": "/hook.yml", "hook_tasks": [{"name": "x"}]}
        assert not world.plan(work, **by_hook)["yields"]
        world.gone("east-1")
        assert world.plan(work, **by_hook)["yields"]
        assert not world.plan(work, abort=True, **by_hook)["yields"]
        journal["steps"].append({"n": 9, "member": "east-1", "step": "restart" if work == "version" else "stop", "state": "begun"})
        assert not world.plan(work, **by_hook)["yields"], "going on is what brings it up"

    def test_one_whose_new_vm_comes_beside_the_old_one_lets_a_lost_one_go_first(self, world: World) -> None:
        journal = world.fly("east-1", "replace", surge=True)
        journal["steps"] = [{"n": 1, "member": "east-1", "step": name, "state": "begun"} for name in ("vm_add", "identify")]
        hook = {"hook": "/hook.yml", "hook_tasks": [{"name": "x"}], "surge": True}
        assert not world.plan("replace", **hook)["yields"]
        world.gone("west-0")
        world.fresh("west-0", "west-new", "10.1.0.9")
        assert world.plan("replace", **hook)["yields"]
        journal["steps"].append({"n": 2, "member": "east-1", "step": "stop", "state": "begun"})
        assert not world.plan("replace", **hook)["yields"]

    def test_nobody_is_taken_in_the_end_while_somebody_is_down(self, world: World) -> None:
        world.fly(None, "replace", done=["east-0", "east-1", "east-2", "west-0", "west-1"])
        world.gone("west-0")
        plan = world.plan("replace")
        assert (plan["members"], plan["hold"], len(plan["waits"])) == ([], True, 1)

    def upgraded(self, world: World, *members: str) -> None:
        """All nodes of a pool; those of these members are of its new generation."""
        for name in MEMBERS:
            new = name in members
            world.node(name).update(
                generation="v1.37.0" if new else "v1.36.3",
                kubelet_version="v1.37.0" if new else "v1.36.3",
                created=f"2026-0{2 if new else 1}-01T00:00:00Z",
            )

    def test_it_is_over_when_all_are_on_the_new_generation(self, world: World) -> None:
        world.fly(None, "replace", done=MEMBERS[1:])
        self.upgraded(world, *MEMBERS[1:])
        plan = world.plan("replace")
        assert (plan["hold"], plan["over"], names_of(plan)) == (True, "", ["east-0"])
        assert plan["followed"] == MEMBERS
        assert any(line.startswith("4 of 5 members are through") for line in plan["lines"])
        # The last one is mended by somebody else, and its old node is gone.
        self.upgraded(world, *MEMBERS)
        over = world.plan("replace", seen=plan["seen"])
        assert (over["hold"], names_of(over), over["left"], over["errors"]) == (False, [], [], [])
        assert over["lines"][-1] == f"nothing to do: {over['over']}"
        assert over["over"].startswith("every member runs on the newest generation of its node pool")
        # Of what no run has seen nothing is concluded.
        assert world.plan("replace")["hold"]
        world.fly(None, "replace", done=MEMBERS[1:3])
        assert world.plan("replace", seen=plan["seen"])["hold"], "nothing says that west was upgraded, or will be"
        world.fly(None, "replace", done=MEMBERS[1:])
        # A hook's rollout is over when it has done all that was asked for.
        assert names_of(world.plan("replace", seen=plan["seen"], hook="/hook.yml", hook_tasks=[{"name": "x"}])) == ["east-0"]

    def test_it_is_not_over_while_somebodys_turn_has_come_or_somebody_is_broken(self, world: World) -> None:
        world.fly(None, "replace", done=MEMBERS[1:])
        self.upgraded(world, *MEMBERS[1:])
        seen = world.plan("replace")["seen"]
        self.upgraded(world, *MEMBERS)
        plan = world.plan("replace", seen=seen, due={"east-0": "x"})
        assert (plan["over"], plan["hold"], names_of(plan)) == ("", False, ["east-0"])
        world.quiet("west-0")
        plan = world.plan("replace", seen=seen)
        assert (plan["over"], plan["hold"], len(plan["waits"])) == ("", True, 1)

    def test_who_was_mended_on_an_old_node_comes_again(self, world: World) -> None:
        world.fly(None, "replace", done=MEMBERS)
        self.upgraded(world, *MEMBERS[1:])
        assert names_of(world.plan("replace")) == [], "nothing newer is in its zone"
        new = world.fresh("east-0", "newer", "10.0.0.99", uid="newer", provider_id="kind://newer")
        new.update({key: world.node("east-1")[key] for key in ("generation", "kubelet_version", "created", "labels")})
        plan = world.plan("replace")
        assert (names_of(plan), plan["hold"]) == (["east-0"], True)
        self.upgraded(world, *MEMBERS)
        assert names_of(world.plan("replace")) == []

    def test_a_version_is_waited_for_by_kube_cluster(self, world: World) -> None:
        self.upgraded(world, "west-0")
        plan = world.plan("replace", follow_until="1.37")
        assert (plan["hold"], plan["over"], len(plan["members"])) == (True, "", 5)
        assert "1 of 5 members is on the kubelet of hostnet_follow_until" in plan["lines"]
        self.upgraded(world, "west-0", "west-1")
        assert world.plan("replace", follow_until="1.37")["hold"]
        plan = world.plan("replace", follow_until={"west": "1.37.0"})
        assert (plan["hold"], names_of(plan)) == (False, [])
        assert plan["lines"] == [f"nothing to do: {plan['over']}"]
        # Who had a turn has another one until its node has it.
        world.fly(None, "replace", done=MEMBERS)
        assert sorted(names_of(world.plan("replace", follow_until="1.37"))) == MEMBERS[:3]

    def test_a_version_is_for_kube_clusters_that_are_followed(self, world: World) -> None:
        (error,) = world.plan("replace", follow_until={"north": "1.37", "west": "1.37"})["errors"]
        assert error == "hostnet_follow_until names kube cluster north, which is none of the deployment: it has east, west"
        (error,) = world.plan("replace", follow_until={"west": "1.37"}, members=["east-0"])["errors"]
        assert error.startswith(
            "hostnet_follow_until names kube cluster west, where no member is to be worked on: name those of the members"
        )
        # An inventory may have it for other runs.
        assert not world.plan("repair", follow_until={"north": "1.37"})["errors"]
        assert not world.plan("replace", follow_until={"north": "1"}, hook="/hook.yml", hook_tasks=[{"name": "x"}])["errors"]

    def test_a_label_of_pools_that_no_node_has_is_refused_before_the_first_change(self, world: World) -> None:
        own = "example.com/pool"
        assert world.plan("replace", pool_label=own)["errors"] == []
        notes = [line for line in world.plan("replace", pool_label=own)["lines"] if line.startswith("! ")]
        told = "and no node of kube cluster {} has that label: its node pools are told by cloud.google.com/gke-nodepool"
        assert notes == [f"! hostnet_pool_label is {own}, {told.format(kube)}" for kube in ("east", "west")]
        for node in world.nodes:
            node["labels"] = {own: "db"} if node["kube_cluster"] == "east" else {}
        (error,) = world.plan("replace", pool_label=own)["errors"]
        assert error.startswith(f"hostnet_pool_label is {own}, and no node of kube cluster west has that label: label its nodes")
        assert not world.plan("replace", pool_label=own, members=["east-0"])["errors"]
        # Works that bring no other VM are not kept up, nor is one that has begun.
        for work in ("repair", "version", "restart"):
            assert not world.plan(work, pool_label=own)["errors"]
        world.fly(None, "replace", done=["east-0"])
        assert not world.plan("replace", pool_label=own)["errors"]

    def test_nodes_that_a_label_of_pools_says_nothing_of_are_named(self, world: World) -> None:
        own = "example.com/pool"
        for node in world.nodes:
            node["labels"] = {own: "db"}
        world.node("east-1")["labels"] = {}
        plan = world.plan("replace", pool_label=own)
        assert plan["errors"] == []
        assert plan["lines"][-1].endswith("so it does not choose what comes after them: east-worker2")

    def test_who_has_lost_its_vm_gets_another_one_of_its_pool(self, world: World) -> None:
        own = "example.com/pool"
        for node in world.nodes:
            node["labels"] = {own: "db"}
        world.fly(None, "replace")
        seen = world.plan("replace", pool_label=own)["seen"]
        world.gone("west-0")
        spare = world.fresh("west-0", "west-new", "10.1.0.9", labels={own: "cache"})
        plan = world.plan("replace", pool_label=own, seen=seen)
        assert (plan["hold"], len(plan["waits"])) == (True, 1)
        spare["labels"] = {own: "db"}
        assert (names_of(world.plan("replace", pool_label=own, seen=seen))[0], plan["errors"]) == ("west-0", [])

    def test_a_plan_that_is_made_anew_keeps_what_is_known_of_neighbours(self, world: World) -> None:
        before = world.plan("reboot")
        steps = ["gate_neighbours", *before["members"][0]["steps"]]
        before["members"][0] |= {"neighbours": [{"deployment": "other"}], "steps": steps}
        left = [entry["member"] for entry in before["members"][2:]]
        # One VM with neighbours is replaced in a run: the others wait until those are mended.
        before = {**before, "members": before["members"][:2], "left": left, "shared": True}
        after = order.replanned(world.plan("reboot"), before)
        assert (after["members"], after["left"], after["shared"]) == (before["members"], left, True)
        again = order.replanned(world.plan("reboot"), after)
        assert (again["members"], again["left"]) == (after["members"], left)
        # Without neighbours there is no such limit.
        assert len(order.replanned(world.plan("reboot"), {**before, "shared": False})["members"]) == 5
        # Nobody is held for members that are left, nor taken because another one's turn had come.
        mine = world.plan("replace")
        plan = {**mine, "hold": True, "waits": []}
        none = order.replanned(plan, {**before, "members": []})
        assert (none["members"], none["hold"]) == ([], False)
        assert order.replanned({**plan, "waits": ["east-0 is down"]}, {**before, "members": []})["hold"]
        later = order.replanned({**plan, "hold": False}, {**before, "members": mine["members"][1:]})
        assert (names_of(later)[0], later["hold"]) == (names_of(mine)[1], bool(mine["followed"]))
        # Once a VM was replaced that took members of others with it, everybody else is left for the next run.
        taken = {**before, "members": mine["members"][1:], "alone": ["east-1"]}
        assert names_of(order.replanned(mine, taken, [{"member": "east-2", "work": "replace"}])) == names_of(mine)[1:]
        spent = order.replanned(mine, taken, [{"member": "east-1", "work": "replace"}])
        assert (spent["members"], sorted(spent["left"]), spent["alone"]) == ([], sorted(names_of(mine)), ["east-1"])
        # What became of a member decides its steps, not what was thought of it before.
        other = {**before, "members": [{**before["members"][0], "class": "missing"}]}
        assert order.replanned(world.plan("reboot"), other)["members"][0]["steps"] == steps[1:]


class TestScalingDown:
    def test_by_name_alone(self, world: World) -> None:
        assert any("hostnet_members is empty" in error for error in world.plan("scale_down")["errors"])
        plan = world.plan("scale_down", members=["west-1"])
        assert (plan["errors"], names_of(plan)) == ([], ["west-1"])

    def test_where_the_system_cannot_forget(self, world: World) -> None:
        world.spec["forget"] = "never"
        (error,) = world.plan("scale_down", members=["west-1"])["errors"]
        assert "its peers would count it for ever" in error

    def test_a_system_that_forgets_only_who_leaves(self, world: World) -> None:
        world.spec.update(forget="never", leave="stopped")
        plan = world.plan("scale_down", members=["west-1"])
        assert plan["errors"] == []
        assert plan["members"][0]["steps"] == ["gate", "lead", "drain", "stop", "unlist", "forget", "remove", "settle"]
        assert not {"forget", "forget_after"} & {*world.plan("replace")["members"][0]["steps"]}

    def test_what_speaks_against_it_is_said_at_once_for_all_who_leave(self, world: World) -> None:
        world.spec["gates"] = {"leave": [{"say": "it needs more", "find": "members[] | [?reachable && `4` > `{left}`].member"}]}
        assert world.plan("scale_down", members=["west-1"])["errors"] == []
        (error,) = world.plan("scale_down", members=["west-0", "west-1"])["errors"]
        assert error.startswith("etcd: it needs more: east-0")
        assert world.plan("reboot")["errors"] == []
        # Whoever has begun to leave is finished.
        world.spec["gates"]["leave"][0]["find"] = "length(members)"
        world.fly("west-1", "scale_down")
        assert world.plan("scale_down", members=["west-1"])["errors"] == []
        assert len(world.plan("scale_down", members=["west-0", "west-1"])["errors"]) == 1

    def test_too_few_that_are_left(self, world: World) -> None:
        world.spec["minimum_members"] = 4
        (error,) = world.plan("scale_down", members=["west-0", "west-1"])["errors"]
        assert error.startswith("3 members would be left, etcd needs at least 4 to survive the loss of one. Add a node in any kube cluster")

    def test_a_dead_member_may_leave_and_nobody_else_meanwhile(self, world: World) -> None:
        world.gone("west-1")
        assert world.plan("scale_down", members=["west-1"])["errors"] == []
        assert [error.split(" is ")[0] for error in world.plan("scale_down", members=["east-1"])["errors"]] == ["member west-1"]

    def test_an_abort_names_nobody(self, world: World) -> None:
        world.fly("west-1", "scale_down")
        plan = world.plan("scale_down", abort=True)
        assert (plan["errors"], names_of(plan)) == ([], ["west-1"])


class TestIdentifying:
    @pytest.fixture
    def replaced(self, world: World) -> tuple[World, Json]:
        """east-1's VM is being replaced, and is gone."""
        record = world.record("east-1", "replace")
        world.gone("east-1")
        return world, record

    def find(self, world: World, record: Mapping[str, Any], patient: bool = False) -> Json:
        return successor.identify_for(record, world.nodes, world.bindings, patient)

    def test_not_yet(self, replaced: tuple[World, Json]) -> None:
        found = self.find(*replaced)
        assert (found["node"], found["error"]) == (None, "")
        assert found["waiting"] == "kube cluster east: no new node that matches the selector, in zone east-b"

    def test_the_new_one(self, replaced: tuple[World, Json]) -> None:
        world, record = replaced
        node = world.fresh("east-1", "other-name", "10.0.0.50", ready=False)
        assert "node other-name is not Ready" in self.find(world, record)["waiting"]
        node["ready"] = True
        assert self.find(world, record)["node"] == node
        node["address"] = ""
        assert "or has no address" in self.find(world, record)["waiting"]

    def test_one_that_is_about_to_go_itself_is_none_and_one_that_is_marked_is_the_last_choice(self, replaced: tuple[World, Json]) -> None:
        world, record = replaced
        going = world.fresh("east-1", "aaa", "10.0.0.50", signs=[{"sign": "s", "level": "going", "text": "t"}])
        assert "node aaa is not Ready, is cordoned, about to go" in self.find(world, record)["waiting"]
        marked = world.fresh("east-1", "bbb", "10.0.0.51", signs=[{"sign": "s", "level": "marked", "text": "t"}])
        assert self.find(world, record)["node"] == marked
        plain = world.fresh("east-1", "ccc", "10.0.0.52")
        assert self.find(world, record)["node"] == plain
        assert not successor._usable(going, world.binding("east-1"))
        assert successor._usable(plain, world.binding("east-1"))

    def test_a_node_of_the_new_generation_counts_though_it_was_there_before(self, world: World) -> None:
        """A pool's upgrade had brought it before the rollout looked."""
        pool = {"cloud.google.com/gke-nodepool": "db"}
        world.node("east-1")["generation"] = "v1.35"
        world.node("east-1")["created"] = "2026-03-01T00:00:00Z"
        young = {"generation": "v1.36", "created": "2026-03-02T00:00:00Z"}
        early = world.fresh("east-1", "surge", "10.0.0.60", **young, labels=pool)
        world.fresh("east-1", "aaa", "10.0.0.61", generation="v1.35", created="2026-03-02T00:00:00Z", labels=pool)
        world.fresh("east-1", "bbb", "10.0.0.62", **young, labels={"cloud.google.com/gke-nodepool": "other"})
        # An old spare of yet another version, and the member's own VM under a new Node object.
        world.fresh("east-1", "ccc", "10.0.0.64", generation="v1.34", created="2026-02-01T00:00:00Z", labels=pool)
        world.fresh("east-1", "ddd", "10.0.0.65", **young, labels=pool, provider_id=world.binding("east-1")["provider_id"])
        record = world.record("east-1", "replace")
        assert record["generation"] == "v1.35"
        # The hook's VM is another one that is yet to come.
        assert self.find(world, record)["node"] is None
        assert self.find(world, record, patient=True)["node"] == early
        # Before it, one that is new; and its own VM, upgraded in place, is none.
        world.node("east-1")["generation"] = "v1.36"
        later = world.fresh("east-1", "zzz", "10.0.0.63", **young, labels=pool)
        assert self.find(world, record, patient=True)["node"] == later
        world.nodes = [node for node in world.nodes if node["name"] not in ("surge", "zzz")]
        assert self.find(world, record, patient=True)["node"] is None
        # A journal of an older version says nothing of generations.
        del record["generation"]
        world.nodes.append(early)
        assert self.find(world, record, patient=True)["node"] is None

    @pytest.mark.parametrize("patient", [False, True])
    @pytest.mark.parametrize("early", [False, True])
    def test_a_node_without_the_users_label_of_pools_is_no_successor(self, world: World, patient: bool, early: bool) -> None:
        own = "example.com/pool"
        old = world.node("east-1")
        old |= {"labels": {own: "a"}, "generation": "v1.35", "created": "2026-03-01T00:00:00Z"}
        young = {"generation": "v1.36", "created": "2026-03-02T00:00:00Z"}
        record: Json = {}
        if not early:
            record = before.record(
                {"member": "east-1", "class": "ok", "work": "replace", "surge": False, "steps": []},
                world.binding("east-1"),
                world.nodes,
                {},
                own,
            )
        bare = world.fresh("east-1", "aaa", "10.0.0.60", **young, labels={"cloud.google.com/gke-nodepool": "a"})
        other = world.fresh("east-1", "bbb", "10.0.0.61", **young, labels={own: "b"})
        if early:
            record = before.record(
                {"member": "east-1", "class": "ok", "work": "replace", "surge": False, "steps": []},
                world.binding("east-1"),
                world.nodes,
                {},
                own,
            )
        assert (record["pool_label"], record["pool"]) == (own, "a")
        found = successor.identify_for(record, world.nodes, world.bindings, patient, own)
        assert (found["node"], found["error"]) == (None, "")
        if patient or not early:
            assert (
                "node aaa has no label example.com/pool, and the member's node had example.com/pool=a (hostnet_pool_label)"
                in found["waiting"]
            )
            assert "node bbb has example.com/pool=b, and the member's node had example.com/pool=a" in found["waiting"]
        # Whoever takes the variable out again has chosen what comes.
        if not early:
            assert successor.identify_for(record, world.nodes, world.bindings, patient)["node"] == bare
        # The label may come later than the node.
        other["labels"][own] = "a"
        expected = other if patient or not early else None
        assert successor.identify_for(record, world.nodes, world.bindings, patient, own)["node"] == expected

    def test_the_users_label_comes_before_those_of_the_clouds(self, world: World) -> None:
        own = "example.com/pool"
        assert world.record("east-1")["pool_label"] == "cloud.google.com/gke-nodepool"
        world.node("east-1")["labels"][own] = "mine"
        entry = {"member": "east-1", "class": "ok", "work": "replace", "surge": False, "steps": []}
        record = before.record(entry, world.binding("east-1"), world.nodes, {}, own)
        assert (record["pool_label"], record["pool"], successor.vm(record, "replace")["pool"]) == (own, "mine", "mine")
        # Of a node that does not have it, the cloud's tells; and that keeps no new VM away.
        record = before.record({**entry, "member": "east-2"}, world.binding("east-2"), world.nodes, {}, own)
        assert (record["pool_label"], record["pool"]) == ("cloud.google.com/gke-nodepool", "db")
        world.gone("east-2")
        node = world.fresh("east-2", "new", "10.0.0.60", labels={own: "b"})
        assert successor.identify_for(record, world.nodes, world.bindings, True, own)["node"] == node

    def test_of_the_same_name_is_preferred(self, replaced: tuple[World, Json]) -> None:
        world, record = replaced
        world.fresh("east-1", "aaa", "10.0.0.51")
        again = world.fresh("east-1", "east-worker2", "10.0.0.12", uid="another", provider_id="kind://another")
        assert self.find(world, record)["node"] == again

    @pytest.mark.parametrize("what", ["uid", "provider_id"])
    def test_a_vm_that_was_there_before_is_not_new(self, world: World, what: str) -> None:
        spare = world.fresh("east-1", "spare", "10.0.0.60")
        record = world.record("east-1", "replace")
        world.gone("east-1")
        # Its Node object was made anew, or it was given another provider id by somebody: it is the same VM.
        spare["provider_id" if what == "uid" else "uid"] = "changed"
        assert self.find(world, record)["node"] is None

    def test_a_repair_takes_what_is_there(self, world: World) -> None:
        spare = world.fresh("east-1", "spare", "10.0.0.60")
        record = world.record("east-1", "repair", "missing")
        world.gone("east-1")
        assert self.find(world, record)["node"] == spare

    def test_another_members_node_is_never_taken(self, world: World) -> None:
        record = world.record("east-1", "repair", "missing")
        world.gone("east-1")
        for node in world.nodes:
            node["zone"] = "east-b"
        assert self.find(world, record)["node"] is None

    def test_the_wrong_zone(self, replaced: tuple[World, Json]) -> None:
        world, record = replaced
        world.fresh("east-1", "elsewhere", "10.0.0.70")["zone"] = "east-z"
        found = self.find(world, record)
        assert found["node"] is None
        assert "is node elsewhere in zone east-z, its place is in zone east-b. Remove that VM" in found["error"]
        # Somebody else's pool may bring nodes for anybody.
        assert (self.find(world, record, patient=True)["node"], self.find(world, record, patient=True)["error"]) == (None, "")

    def test_an_address_that_belongs_to_another_member(self, replaced: tuple[World, Json]) -> None:
        world, record = replaced
        world.fresh("east-1", "new", "10.0.0.3")
        for patient in (True, False):
            found = self.find(world, record, patient)
            assert found["node"] is None
            assert "the new node new has address 10.0.0.3, which belongs to member east-2" in found["error"]

    def test_an_address_is_compared_whole(self, replaced: tuple[World, Json]) -> None:
        world, record = replaced
        node = world.fresh("east-1", "new", "10.0.0.33")
        assert self.find(world, record)["node"] == node
        assert nodes.same_address("10.0.0.1:26257", "10.0.0.1")
        assert nodes.same_address("[fd00::1]:26257", "fd00:0::1")
        assert not nodes.same_address("10.0.0.1", "10.0.0.12")
        assert not nodes.same_address("", "")

    def test_what_was_chosen_stays_chosen(self, replaced: tuple[World, Json]) -> None:
        world, record = replaced
        chosen = world.fresh("east-1", "zzz", "10.0.0.50")
        record["new"] = rebind.new_binding(world.hostnet, world.spec, record, chosen, plans.TOKEN, plans.NONCE)
        world.fresh("east-1", "aaa", "10.0.0.51")
        assert self.find(world, record)["node"] == chosen
        world.nodes.remove(chosen)
        assert self.find(world, record)["node"]["name"] == "aaa"

    @pytest.mark.parametrize("kind", ["moved", "swapped"])
    def test_a_vm_that_moved_is_itself(self, world: World, kind: str) -> None:
        record = world.record("east-1", "repair", kind)
        node = world.node("east-1")
        node["address"] = "10.0.0.99"
        world.fresh("east-1", "aaa", "10.0.0.51")
        assert self.find(world, record)["node"] == node
        node["ready"] = False
        found = self.find(world, record)
        assert (found["node"], found["waiting"]) == (None, "node east-worker2 is not Ready, or has no address")

    @pytest.mark.parametrize("kind", ["moved", "swapped"])
    def test_a_vm_that_moved_to_an_address_that_another_member_still_has(self, world: World, kind: str) -> None:
        record = world.record("east-1", "repair", kind)
        theirs = world.node("west-0")["address"]
        world.node("east-1")["address"] = theirs
        found = self.find(world, record)
        assert found["node"] is None
        assert f"has address {theirs}, which belongs to member west-0" in found["error"]
        # Its VM has another one by now: the two were swapped.
        world.node("west-0")["address"] = "10.0.0.98"
        assert self.find(world, record)["node"] == world.node("east-1")

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["east-a", "east-b"]),
                st.booleans(),
                st.booleans(),
                st.sampled_from(["", "10.0.0.1", "10.0.0.50", "10.0.0.51"]),
            ),
            max_size=4,
        ),
        st.booleans(),
    )
    def test_never_anything_but_a_new_ready_vm_in_the_right_zone(self, made: list[tuple[str, bool, bool, str]], patient: bool) -> None:
        world = World()
        record = world.record("east-1", "replace")
        world.gone("east-1")
        for number, (zone, ready, selected, address) in enumerate(made):
            world.fresh("east-1", f"n{number}", address, ready=ready, selected=selected)["zone"] = zone
        found = self.find(world, record, patient)
        assert bool(found["node"]) + bool(found["waiting"]) + bool(found["error"]) == 1
        if found["node"]:
            node = found["node"]
            assert (node["zone"], node["ready"], node["selected"], successor.digest(node["uid"]) in record["seen"]) == (
                "east-b",
                True,
                True,
                False,
            )
            assert node["address"] not in {entry["address"] for entry in world.bindings} | {""}


class TestBindings:
    def test_a_new_vm_is_a_new_admission(self, world: World) -> None:
        old = {**world.binding("east-1"), "stopped": True, "disk": {"mount": "/"}, "admission_id": "old", "progress": {"revision": 7}}
        node = plans.node("east", "east-worker2", "10.0.0.12", uid="another", zone="east-b", boot_id="b2")
        fresh = rebind.rebound(world.hostnet, world.spec, old, node, plans.TOKEN, plans.NONCE)
        assert fresh["admission"] not in ("", old["admission"])
        assert fresh["admission"] != rebind.rebound(world.hostnet, world.spec, old, node, plans.TOKEN, "another")["admission"]
        # What an earlier run has noted stays in force, as long as the VM is the same.
        record = {**world.record("east-1", "repair", "replaced"), "new": {**fresh, "admission": "noted", "disk": {"mount": "/"}}}
        again = rebind.new_binding(world.hostnet, world.spec, record, node, plans.TOKEN, "another")
        assert (again["admission"], again["disk"]) == ("noted", {"mount": "/"})
        other = rebind.new_binding(world.hostnet, world.spec, record, {**node, "uid": "the next"}, plans.TOKEN, "another")
        assert other["admission"] != "noted"
        assert "disk" not in other
        assert (fresh["member"], fresh["ordinal"], fresh["node_uid"], fresh["boot_id"]) == ("east-1", 1, "another", "b2")
        assert not {"stopped", "disk", "admission_id", "progress"} & set(fresh)

    def test_a_vm_that_kept_its_disk_keeps_its_admission(self, world: World) -> None:
        record = world.record("east-1", "repair", "moved")
        found = rebind.new_binding(
            world.hostnet, world.spec, record, {**world.node("east-1"), "address": "10.0.0.99"}, plans.TOKEN, plans.NONCE
        )
        # The old address is still among those that the node lists here, so its certificate names it too.
        old = world.binding("east-1")
        assert found == {**old, "address": "10.0.0.99", "other_addresses": [old["address"]]}

    @pytest.mark.parametrize(
        ("placement", "process", "expected"), [("node_name", "", "east-1"), ("daemonset", "", "n9"), ("daemonset", "member", "east-1")]
    )
    def test_its_process(self, world: World, placement: str, process: str, expected: str) -> None:
        hostnet, spec = {**world.hostnet, "placement": placement}, {**world.spec, "process": process}
        found = rebind.rebound(hostnet, spec, world.binding("east-1"), plans.node("east", "n9", "10.0.0.50"), plans.TOKEN, plans.NONCE)
        assert found["process"] == expected
        assert found["admission"] == (plans.TOKEN if placement == "daemonset" else found["admission"])

    def test_with_member(self, world: World) -> None:
        fresh = {**world.binding("east-1"), "address": "10.0.0.99"}
        found = rebind.with_member(world.bindings, fresh)
        assert [entry["member"] for entry in found] == MEMBERS
        assert [entry["address"] for entry in found if entry["member"] == "east-1"] == ["10.0.0.99"]

    def test_stopped_and_started(self, world: World) -> None:
        once = rebind.stopped(world.bindings, "east-1", True)
        assert [entry["member"] for entry in once if entry.get("stopped")] == ["east-1"]
        assert rebind.stopped(once, "east-2", False) == once
        assert rebind.stopped(once, "east-1", False) == world.bindings

    def test_booted(self, world: World) -> None:
        world.node("east-1")["boot_id"] = world.node("east-2")["boot_id"] = "again"
        found = {entry["member"]: entry["boot_id"] for entry in rebind.booted(world.bindings, "east-1", world.nodes)}
        assert (found["east-1"], found["east-2"]) == ("again", "boot-east-worker3")

    def test_nodes_that_are_labelled_and_drained_are_the_members_own(self, world: World) -> None:
        world.bindings = rebind.stopped(world.bindings, "east-2", True)
        world.node("east-1")["uid"] = "another"
        world.nodes.remove(world.node("west-0"))
        labels = member_labels.member_labels(world.hostnet, world.bindings, world.nodes)
        assert [entry["name"] for entry in labels] == ["east-worker", "east-worker3", "west-worker2"]
        assert all(entry["guarded"] for entry in labels)
        stays = {"namespace.hostnet.multicluster/ledger": world.hostnet["namespace"]}
        assert labels[0]["labels"] == {"hostnet.multicluster/ledger": "east-0", **stays}
        assert labels[1]["labels"] == stays, "who is stopped is not started, and its disk is still on that VM"
        drained = rollout.drain_nodes(world.bindings, world.nodes)
        assert [entry["name"] for entry in drained] == ["east-worker", "east-worker3", "west-worker2"]
        assert all(entry["uid"] == f"uid-{entry['kube_cluster']}-{entry['name']}" for entry in drained)


class TestLimits:
    def test_a_journal_that_would_not_fit_is_refused_before_the_first_change(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        found = world.plan("replace")
        assert found["errors"] == []
        record = before.record(found["members"][0], world.binding(found["members"][0]["member"]), world.nodes, {})
        size = journals.largest(names_of(found), record)
        assert journals.RESERVED_BYTES < size < journals.MAX_BYTES
        # The new provider id may be as long as the old one, and whoever is in hand is the last one.
        done = {**world.fly(None), "order": names_of(found), "done": names_of(found), "member": {**record, "new": record["old"]}}
        assert journals.size({key: done[key] for key in ("order", "done", "member")}) + journals.RESERVED_BYTES == size
        world.journal = None
        monkeypatch.setattr(refusals, "MAX_BYTES", journals.RESERVED_BYTES)
        (error,) = world.plan("replace")["errors"]
        for part in (
            "ConfigMap bank/ledger-rollout",
            f"at most {journals.RESERVED_BYTES} fit",
            "5 members",
            "has 3 nodes",
            "hostnet_members",
        ):
            assert part in error
        # An abort has to be possible always.
        assert world.plan("replace", abort=True)["errors"] == []

    def test_bindings_that_would_not_fit_are_refused_and_members_may_leave(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        size = sum(map(len, copies.dump(world.bindings, {}).values())) + 2048
        monkeypatch.setattr(refusals, "DATA_BYTES", size)
        assert world.plan("replace")["errors"] == []
        monkeypatch.setattr(refusals, "DATA_BYTES", size - 1)
        (error,) = world.plan("replace")["errors"]
        for part in ("bindings of 5 members", "ConfigMap bank/ledger-members", str(size), "scale_down.yml"):
            assert part in error
        assert world.plan("replace", abort=True)["errors"] == []
        assert world.plan("scale_down", members=["east-1"])["errors"] == []

    def test_members_that_are_done_count_too(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        world.fly(None, "replace", done=["east-1", "east-2", "west-0", "west-1"])
        monkeypatch.setattr(refusals, "MAX_BYTES", journals.RESERVED_BYTES)
        assert "it is of 5 members" in world.plan("replace")["errors"][0]

    def test_nodes_of_a_journal_of_version_0_2_0_are_no_new_ones(self, world: World) -> None:
        record = world.record("east-1", "replace")
        plain = {"seen": [node["uid"] for node in world.nodes], "providers": [node["provider_id"] for node in world.nodes], "machines": []}
        for node in world.nodes[:3]:
            assert not successor.is_new(node, record)
            assert not successor.is_new(node, {**record, **plain})

    @pytest.mark.parametrize("work", ["replace", "repair", "reboot", "version", "scale_down"])
    def test_a_selector_is_needed_where_a_member_gets_a_node(self, world: World, work: str) -> None:
        world.hostnet = {**world.hostnet, "selector_said": False}
        if work == "repair":
            world.gone("east-1")
            world.fresh("east-1", "east-worker9", "10.0.0.9")
        leaves = {"members": ["east-1"]} if work == "scale_down" else {}
        said = [error for error in world.plan(work, **leaves)["errors"] if "hostnet_node_selector is not set" in error]
        assert bool(said) == (work in ("replace", "repair"))


class TestRecord:
    def test_what_is_kept(self, world: World) -> None:
        found = world.record("east-1", "replace")
        assert found["old"] == world.binding("east-1")
        assert (found["old_id"], found["new"], found["boot_id"], found["pool"]) == ("id-east-1", None, "boot-east-worker2", "db")
        nodes = ("east-worker", "east-worker2", "east-worker3")
        assert found["seen"] == sorted(successor.digest(f"uid-east-{name}") for name in nodes)
        assert found["providers"] == sorted(successor.digest(f"kind://{name}") for name in nodes)
        assert (world.record("east-1", "repair")["seen"], world.record("east-1", "repair")["providers"]) == ([], [])

    def test_of_a_vm_that_is_gone(self, world: World) -> None:
        binding = world.binding("east-1")
        world.gone("east-1")
        found = world.record("east-1", "repair", "missing")
        assert (found["old"], found["boot_id"], found["pool"], found["old_id"]) == (binding, "", "", "")

    def test_the_old_id_as_others_tell_it(self, world: World) -> None:
        binding = world.binding("east-1")
        world.quiet("east-1")
        others = world.inspection
        others["east-0"].update(healthy=False, peers=[{"name": "east-1", "id": "wrong"}])
        others["east-2"]["peers"] = [
            {"name": "", "id": "7", "address": "10.0.0.1", "live": False},
            {"name": "", "id": "8", "address": "10.0.0.12:1"},
        ]
        assert before.old_id(others, binding) == "8"
        others["east-2"]["peers"].append({"name": "east-1", "id": "9"})
        assert before.old_id(others, binding) == "9"
        # Somebody alive at that address is somebody else.
        others["east-2"]["peers"] = [{"name": "", "id": "8", "address": "10.0.0.12", "live": True}]
        assert before.old_id(others, binding) == ""

    def test_what_the_hook_is_told(self, world: World) -> None:
        assert successor.vm(world.record("east-1", "replace"), "replace") == {
            "action": "replace",
            "kube_cluster": "east",
            "node": "east-worker2",
            "node_uid": "uid-east-east-worker2",
            "provider_id": "kind://east-worker2",
            "pool": "db",
            "region": "east",
            "zone": "east-b",
            "address": "10.0.0.12",
            "boot_id": "boot-east-worker2",
            "machine_id": "",
        }


class TestWhatIsDone:
    def test_reboot(self, world: World) -> None:
        record = world.record("east-1")
        node = world.node("east-1")
        assert not successor.vm_done(record, "reboot", world.nodes)
        node["boot_id"] = "again"
        assert successor.vm_done(record, "reboot", world.nodes)
        node["ready"] = False
        assert not successor.vm_done(record, "reboot", world.nodes)
        assert not successor.vm_done({**record, "boot_id": ""}, "reboot", world.nodes)
        world.nodes.remove(node)
        assert not successor.vm_done(record, "reboot", world.nodes)

    def test_replace(self, world: World) -> None:
        record = world.record("east-1", "replace")
        assert not successor.vm_done(record, "replace", world.nodes)
        world.gone("east-1")
        # The hook was killed between the end of the old VM and the start of the new one.
        assert not successor.vm_done(record, "replace", world.nodes)
        node = world.fresh("east-1", "east-worker2", "10.0.0.12", uid="another", machine_id="")
        # The Node object was made again, and provider id and machine id say that it is the old VM.
        assert not successor.vm_done(record, "replace", world.nodes)
        node["machine_id"] = "machine-another"
        assert successor.vm_done(record, "replace", world.nodes) == bool(record["machines"])
        node["provider_id"] = "kind://another"
        assert successor.vm_done(record, "replace", world.nodes)
        node["zone"] = "east-z"
        assert not successor.vm_done(record, "replace", world.nodes)

    def test_add_and_remove(self, world: World) -> None:
        record = world.record("east-1", "replace", surge=True)
        assert not successor.vm_done(record, "add", world.nodes)
        world.fresh("east-1", "new", "10.0.0.50")
        assert successor.vm_done(record, "add", world.nodes)
        # The old VM is still there: nothing is replaced yet, nor removed.
        assert not successor.vm_done(record, "replace", world.nodes)
        assert not successor.vm_done(record, "remove", world.nodes)
        world.gone("east-1")
        assert successor.vm_done(record, "remove", world.nodes)

    def test_a_new_vm_of_another_kube_cluster_is_not_meant(self, world: World) -> None:
        record = world.record("east-1", "replace", surge=True)
        world.nodes.append(plans.node("west", "new", "10.0.1.50", zone="east-b"))
        assert not successor.vm_done(record, "add", world.nodes)


class TestAgain:
    """The VM that a member was to go on with is gone too."""

    def world(self, done: str, begun: str = "", kind: str = "replace", **record: Any) -> World:
        """Work on east-1 was cut short after a step of it, and neither its old VM nor its new one is there any more."""
        world = World()
        journal = world.fly("east-1", kind)
        steps = record.get("steps") or journal["member"]["steps"]
        node = plans.node("east", "east-worker9", "10.0.0.19", uid="u-new", zone="east-b", boot_id="b9")
        new = rebind.rebound(world.hostnet, world.spec, world.binding("east-1"), node, plans.TOKEN, plans.NONCE)
        journal["member"].update({"new": new, "old_id": "0ld", **record})
        world.gone("east-1")
        after = steps[: steps.index(done) + 1]
        journal["steps"] = [
            {"n": number, "member": "east-1", "step": name, "state": "done" if name in after else "begun"}
            for number, name in enumerate([*after, *([begun] if begun else [])], 1)
        ]
        world.journal = journal
        return world

    def again(self, world: World) -> Json | None:
        return follow.again(world.journal, world.nodes)

    @pytest.mark.parametrize(
        ("done", "begun", "announced"), [("identify", "certify", False), ("certify", "admit", True), ("admit", "start", True)]
    )
    def test_it_is_seen_and_said(self, done: str, begun: str, announced: bool) -> None:
        world = self.world(done, begun)
        plan = world.plan("replace")
        assert plan["again"] == {"member": "east-1", "announced": announced}
        assert "the VM that member east-1 was to go on with is gone too: another node is found for it" in plan["lines"]

    def test_it_is_mended_then_as_any_other(self) -> None:
        world = self.world("admit", "start")
        world.fresh("east-1", "east-worker8", "10.0.0.18")
        assert world.journal
        bindings = rebind.with_member(world.bindings, world.journal["member"]["new"])
        for found in world.observed.values():
            found["members"] = bindings
        world.journal["member"] = None
        plan = world.plan("replace")
        assert (plan["errors"], plan["again"]) == ([], None)
        assert [(entry["member"], entry["work"], entry["node"]) for entry in plan["members"][:1]] == [("east-1", "repair", "east-worker8")]
        # Whoever was there has to be proven dead first.
        assert [process["member"] for process in plan["prove"]] == ["east-1"]

    def test_an_abort_and_a_vm_that_is_there_need_none(self) -> None:
        world = self.world("admit", "start")
        assert world.plan("replace", abort=True)["again"] is None
        world.nodes.append(plans.node("east", "east-worker9", "10.0.0.19", uid="u-new", zone="east-b", boot_id="b9"))
        assert self.again(world) is None

    @pytest.mark.parametrize("record", [{"surge": True}, {"neighbours": [{"name": "nats"}]}, {"new": None}])
    def test_where_it_is_not_that_simple(self, record: Json) -> None:
        assert self.again(self.world("admit", "start", **record)) is None

    def test_two_processes_are_never_forgotten_for_one(self) -> None:
        late = table.of("replace", "ok", False, "after_join")
        assert self.again(self.world("certify", "admit", steps=late)) == {"member": "east-1", "announced": False}
        for done, begun in (("admit", "start"), ("start", "join"), ("join", "forget_after")):
            assert self.again(self.world(done, begun, steps=late)) is None
        assert self.again(self.world("forget_after", "list", steps=late)) == {"member": "east-1", "announced": True}

    @pytest.mark.parametrize(
        ("work", "done", "begun", "is_mended"),
        [
            # Some clouds delete the Node object of a VM that is stopped, and make it anew.
            ("reboot", "stop", "vm", False),
            ("reboot", "vm", "uncordon", True),
            ("reboot", "drain", "stop", False),
            ("version", "drain", "restart", True),
            ("restart", "restart", "settle", True),
            ("scale_down", "unlist", "forget", False),
        ],
    )
    def test_a_vm_that_was_to_stay(self, work: str, done: str, begun: str, is_mended: bool) -> None:
        world = self.world(done, begun, kind=work, new=None)
        assert (self.again(world) is not None) == is_mended

    @pytest.mark.parametrize("kind", table.KEPT_DISK)
    def test_a_vm_that_had_kept_its_disk_and_goes_then(self, kind: str) -> None:
        """Nothing has to be finished for the repair that was begun, and its VM does not come back."""
        world = World()
        journal = world.fly("east-1", "repair", kind=kind)
        journal["steps"] = [{"n": 1, "member": "east-1", "step": "stop", "state": "done"}]
        assert follow.again(journal, world.nodes, True) is None
        world.gone("east-1")
        assert follow.again(journal, world.nodes) is None, "it may come back"
        assert follow.again(journal, world.nodes, True) == {"member": "east-1", "announced": False}

    @pytest.mark.parametrize(("work", "done", "begun"), [("replace", "vm", "identify"), ("reboot", "stop", "vm")])
    def test_a_vm_that_was_waited_for_in_vain(self, work: str, done: str, begun: str) -> None:
        """A second pool takes over from the first, or a VM comes under another name: what there is was there before, or is called otherwise."""
        world = self.world(done, begun, kind=work, new=None)
        assert follow.again(world.journal, world.nodes) is None
        assert follow.again(world.journal, world.nodes, True) == {"member": "east-1", "announced": False}
        assert world.plan(work)["again"] is None
        assert world.plan(work, in_vain="west-0")["again"] is None
        assert world.plan(work, in_vain="east-1")["again"] == {"member": "east-1", "announced": False}

    def test_a_surge_node_that_went_before_the_old_vm(self) -> None:
        world = self.world("identify", "certify")
        world.nodes.append(plans.node("east", "east-worker2", "10.0.0.12", uid=world.binding("east-1")["node_uid"], zone="east-b"))
        assert self.again(world) is None

    def test_what_waiting_does_not_mend_is_said_before_the_first_change(self, world: World) -> None:
        for said in world.inspection.values():
            said["alarms"] = ["NOSPACE"]
        for work in ("reboot", "replace", "version"):
            assert world.plan(work)["errors"] == ["etcd: alarms of etcd: NOSPACE"]
        assert world.plan("restart")["errors"] == []
        world.fly("east-1", "reboot")
        assert world.plan("reboot")["errors"] == [], "its gate stays closed, and says so"


class TestNobodyTookTheVm:
    """Somebody else was to take the VM of a member that was stopped for that, and has given up."""

    def world(self, work: str = "replace", waits: bool = True, begun: Sequence[str] = ("cordon", "stop", "vm", "identify")) -> World:
        world = World()
        journal = world.fly("east-1", work)
        journal["member"]["waits"] = waits
        journal["steps"] = [{"n": number, "member": "east-1", "step": name, "state": "begun"} for number, name in enumerate(begun, 1)]
        return world

    @pytest.mark.parametrize("work", ["replace", "reboot"])
    def test_it_starts_where_it_was(self, work: str) -> None:
        world = self.world(work)
        assert world.journal
        assert table.past_return(world.journal)
        assert not follow.past_return(world.journal, world.nodes)
        assert follow.undo_steps(world.journal, world.nodes) == ["uncordon", "start", "settle"]

    def test_not_where_a_hook_was_at_work_nor_past_what_cannot_be_undone(self) -> None:
        for world in (
            self.world(waits=False),
            self.world(begun=("stop", "vm", "forget")),
            self.world(begun=("stop", "vm", "admit")),
        ):
            assert world.journal
            assert follow.past_return(world.journal, world.nodes)
        chosen = self.world()
        assert chosen.journal
        chosen.journal["member"]["new"] = chosen.binding("east-1")
        assert follow.past_return(chosen.journal, chosen.nodes)

    @pytest.mark.parametrize(
        "change",
        [
            {"ready": False},
            {"uid": "another", "provider_id": "kind://another"},
            {"machine_id": "another"},
            {"taints": [{"key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown", "effect": "NoExecute"}]},
            {"signs": [{"sign": "deleted", "level": "off", "text": "it is gone"}]},
        ],
    )
    def test_not_where_the_vm_is_not_the_one_it_was_or_is_not_well(self, change: Json) -> None:
        world = self.world()
        assert world.journal
        if "machine_id" in change:
            world.journal["member"]["machines"] = ["one"]
        world.node("east-1").update(change)
        assert follow.past_return(world.journal, world.nodes)

    def test_a_node_that_is_still_cordoned_counts_as_taken_where_nobody_looks(self) -> None:
        world = self.world()
        assert world.journal
        world.node("east-1").update(unschedulable=True, signs=[{"sign": "cordoned", "level": "marked", "text": "it is cordoned"}])
        assert not follow.past_return(world.journal, world.nodes)
        assert follow.past_return(world.journal, world.nodes, True)

    @pytest.mark.parametrize("work", ["replace", "reboot"])
    def test_an_undo_that_was_cut_short_leads_back_to_the_gates(self, work: str) -> None:
        """It may run again, and what was asked when it was stopped is long ago: without a gate it would be replaced while it runs."""
        world = self.world(work)
        journal = world.journal
        assert journal
        stopped = [{**entry, "stopped": entry["member"] == "east-1"} for entry in world.bindings]
        journal["steps"] = [
            {"n": number, "member": "east-1", "step": name, "state": "done" if name in ("cordon", "gate", "stop") else "begun"}
            for number, name in enumerate(("cordon", "gate", "stop", "vm"), 1)
        ]
        assert not table.started_again(journal, stopped)
        assert table.next_steps(journal, stopped, {})[0] == "vm"
        assert table.is_down(journal, stopped)
        assert table.started_again(journal, world.bindings)
        assert table.next_steps(journal, world.bindings, {})[:1] == ["gate"]
        assert not table.is_down(journal, world.bindings)
        # By a hook nobody undoes it, and what starts after a reboot is what was to start.
        journal["member"]["waits"] = False
        assert not table.started_again(journal, world.bindings)
        journal["member"]["waits"] = True
        journal["steps"][-1]["state"] = "done"
        assert table.started_again(journal, world.bindings) is (work == "replace")

    def test_a_stop_on_a_node_that_somebody_else_has_cordoned_is_not_undone(self) -> None:
        """Neither the member's pod nor its guards would start there, and the drain goes on."""
        world = self.world(begun=("cordon", "gate", "stop"))
        journal = world.journal
        assert journal
        assert not follow.past_return(journal, world.nodes, True)
        world.node("east-1").update(unschedulable=True, signs=[{"sign": "spec.unschedulable", "level": "marked", "text": "it is cordoned"}])
        assert follow.past_return(journal, world.nodes, True)
        # Whoever undoes it all the same (an abort) is told why not.
        assert not follow.past_return(journal, world.nodes)
        assert not follow.past_return(journal, [], True), "nobody knows"
        journal["member"]["waits"] = False
        assert not follow.past_return(journal, world.nodes, True)
        up = self.world(begun=("cordon", "gate"))
        up.node("east-1").update(world.node("east-1"))
        assert up.journal
        assert not follow.past_return(up.journal, up.nodes, True), "it was not stopped"

    def test_a_repair_goes_on_with_a_member_that_drains(self) -> None:
        world = self.world(begun=("cordon", "gate", "drain"))
        assert world.plan("repair")["yields"] is False

    def test_nobody_knows_without_nodes(self) -> None:
        world = self.world()
        assert world.journal
        assert follow.past_return(world.journal, [])

    def test_a_member_whose_vm_is_gone_is_not_started_for_an_undo(self) -> None:
        world = self.world(begun=("cordon", "stop"))
        assert world.journal
        assert follow.undo_steps(world.journal, world.nodes) == ["uncordon", "start", "settle"]
        world.gone("east-1")
        assert not follow.past_return(world.journal, world.nodes)
        assert follow.undo_steps(world.journal, world.nodes) == ["uncordon"]

    def test_a_plan_says_who_waits_for_somebody_else(self) -> None:
        assert World().plan("replace")["members"][0]["waits"] is True
        assert World().plan("reboot")["members"][0]["waits"] is False, "by a hook"


class TestPods:
    def test_only_pods_of_nodes_that_do_not_exist_are_forced(self, world: World) -> None:
        binding = world.binding("east-1")
        assert rollout.stale_pods(binding, world.observed, world.nodes) == [
            {"kube_cluster": "east", "name": "ledger-east-1-0", "uid": "pod-east-1", "force": False}
        ]
        world.node("east-1")["ready"] = False
        assert [pod["force"] for pod in rollout.stale_pods(binding, world.observed, world.nodes)] == [False]
        world.nodes.remove(world.node("east-1"))
        assert [pod["force"] for pod in rollout.stale_pods(binding, world.observed, world.nodes)] == [True]
        world.observed["east"]["pods"][1]["node"] = ""
        assert [pod["force"] for pod in rollout.stale_pods(binding, world.observed, world.nodes)] == [False]

    def test_of_a_daemonset_by_node(self, world: World) -> None:
        observed = plans.running({**world.hostnet, "placement": "daemonset"}, world.bindings)
        found = rollout.stale_pods(world.binding("east-1"), observed, world.nodes)
        assert [pod["name"] for pod in found] == ["ledger-east-worker2"]

    def test_outdated(self, world: World) -> None:
        pods = rollout.stale_pods(world.binding("east-1"), world.observed, world.nodes)
        assert rollout.outdated(pods, world.observed, "example.test/etcd:1") == []
        assert rollout.outdated(pods, world.observed, "example.test/etcd:2") == pods

    def test_what_is_noted_of_certificates(self) -> None:
        certificate = {
            "name": "east-1",
            "file": "server",
            "private_key": "/pki/x.key",
            "serial": "1f",
            "not_after": "2027-01-01T00:00:00Z",
            "sans": ["IP:10.0.0.12", "IP:127.0.0.1", "DNS:localhost"],
            "reissued": True,
            "reason": "new",
        }
        assert before.issued([certificate, {**certificate, "name": "east-2"}])["east-1"] == [
            {
                "file": "server",
                "serial": "1f",
                "not_after": "2027-01-01T00:00:00Z",
                "addresses": ["10.0.0.12", "127.0.0.1"],
                "reason": "new",
            }
        ]


class TestJoinLists:
    def problems(self, world: World) -> list[str]:
        return rollout.join_problems(observation.live_members(world.bindings, world.observed, world.nodes), world.observed)

    def test_well(self, world: World) -> None:
        assert self.problems(world) == []

    def test_unequal(self, world: World) -> None:
        world.observed["west"]["join"]["seeds"] = "10.0.1.1,10.0.0.1"
        assert self.problems(world) == ["the join list of kube cluster west differs from that of east"]
        world.observed["west"]["join"] = None
        assert "the join list of kube cluster west differs from that of east" in self.problems(world)

    def test_somebody_who_does_not_live(self, world: World) -> None:
        world.observed["east"]["pods"] = [pod for pod in world.observed["east"]["pods"] if pod["member"] != "east-1"]
        assert self.problems(world) == [f"kube cluster {name}: 10.0.0.12 is the address of no live member" for name in ("east", "west")]

    def test_the_plan_shows_the_lists(self, world: World) -> None:
        lines = world.plan("replace", members=["east-1"])["lines"]
        (line,) = [line for line in lines if "join list" in line]
        assert "10.0.0.1, 10.0.0.12, 10.0.0.3, 10.0.1.1, 10.0.1.2 > 10.0.0.1, 10.0.0.3, 10.0.1.1, 10.0.1.2 > " in line
        assert any("certificates for the new address" in line for line in lines)


class TestBringingUp:
    """What may be done for the member in hand while a kube cluster does not answer, and what is said of it."""

    @staticmethod
    def journal(done: Sequence[str], begun: str = "", steps: Sequence[str] = ()) -> Json:
        entries = [{"n": n, "member": "east-0", "step": step, "state": "done"} for n, step in enumerate(done, 1)]
        entries += [{"n": len(done) + 1, "member": "east-0", "step": begun, "state": "begun"}] if begun else []
        return {
            "member": {"member": "east-0", "steps": list(steps or STEPS_OF_A_REBOOT), "old": {"kube_cluster": "east"}},
            "steps": entries,
        }

    def test_a_reboot(self) -> None:
        before = STEPS_OF_A_REBOOT[: STEPS_OF_A_REBOOT.index("vm")]
        assert table.bring_up_steps(self.journal(before, "vm")) == [], "the VM may not have come back"
        assert table.bring_up_steps(self.journal(before, "vm"), noted=False) == ["uncordon", "start", "settle"]
        assert table.bring_up_steps(self.journal([*before, "vm"], "uncordon")) == ["uncordon", "start", "settle"]
        assert table.bring_up_steps(self.journal([*before, "vm", "uncordon", "start"], "settle")) == ["settle"]

    @pytest.mark.parametrize("forget", ["before_join", "after_join", "never"])
    @pytest.mark.parametrize("surge", [False, True])
    @pytest.mark.parametrize("work", table.WORKS)
    def test_nobody_is_stopped_forgotten_or_taken_in(self, work: str, surge: bool, forget: str) -> None:
        kinds = ["ok", *order.BROKEN]
        for kind in kinds:
            steps = table.of(work, kind, surge, forget)
            for at in range(len(steps)):
                for noted in (True, False):
                    found = table.bring_up_steps(self.journal(steps[:at], steps[at], steps), noted)
                    assert set(found) <= {"uncordon", "start", "start_neighbours", "join", "settle"}
                    first = at if noted else at + 1
                    assert found == steps[first : first + len(found)], "in their order, and none is left out"

    def test_a_replacement_is_started_once_it_was_admitted(self) -> None:
        steps = table.of("replace", "ok", False, "before_join")
        for name, wanted in (("unlist", []), ("forget", []), ("certify", []), ("admit", []), ("start", ["start", "join"]), ("list", [])):
            assert table.bring_up_steps(self.journal(steps[: steps.index(name)], name, steps)) == wanted
        assert table.bring_up_steps(self.journal(steps[: steps.index("admit")], "admit", steps), noted=False) == ["start", "join"]

    def test_what_is_said(self) -> None:
        before = STEPS_OF_A_REBOOT[: STEPS_OF_A_REBOOT.index("vm")]
        journal = self.journal(before, "vm")
        west = {"west": "kube cluster west: no answer"}
        said = table.outage_text(journal, west, False, ["uncordon", "start", "settle"])
        assert said == (
            "kube cluster west could not be asked; done without it for member east-0: uncordon, start, settle; left: soak. Run the playbook again as "
            "soon as it answers: it goes on from there. kube cluster west: no answer"
        )
        assert "the steps of member east-0 were undone without it, and it is up. Run" in table.outage_text(journal, west, True)
        said = table.outage_text(journal, {"east": "a", "west": "b"}, True)
        assert (
            "kube cluster east, west could not be asked; member east-0 is there, so nothing was done for it, and it may be down; left: vm, uncordon"
            in said
        )
        assert "as soon as they answer: it goes on from there. a; b" in said
        assert "failed (too slow), and it may be down; left: vm, uncordon, start, settle, soak" in table.outage_text(
            journal, west, True, [], "too slow"
        )
        assert "member east-0 cannot be brought up without it, and it may be down" in table.outage_text(journal, west, False)

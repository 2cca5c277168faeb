# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several deployments on one VM."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import deployment, neighbours, steps
from support import plans

Json = dict[str, Any]
OWN: Json = {
    "name": "ledger",
    "namespace": "hostnet-ledger",
    "kube_clusters": [{"name": "east"}, {"name": "west"}],
    "pki_dir": "/pki",
    "ca": {"key": "k"},
}
LABELS = {"hostnet.multicluster/nats": "east-0", "namespace.hostnet.multicluster/nats": "hostnet-nats"}
SHARE: Json = {"kube_cluster": "east", "node": "n1", "deployment": "nats", "namespace": "hostnet-nats", "member": "east-0"}


def node(name: str = "n1", labels: Json | None = None, uid: str = "") -> Json:
    return {"kube_cluster": "east", "name": name, "uid": uid or f"uid-{name}", "labels": labels or {}}


def pod(deployment_name: str = "nats", namespace: str = "hostnet-nats", member: str = "east-0", name: str = "n1") -> Json:
    return {"kube_cluster": "east", "namespace": namespace, "name": "p", "deployment": deployment_name, "member": member, "node": name}


def plan(work: str = "reboot", *members: str, in_hand: str = "", surge: bool = False) -> Json:
    entries = [
        {"member": name, "work": work, "surge": surge, "steps": steps.of(work, "ok", surge, "before_join")}
        for name in members or ("east-0",)
    ]
    return {"errors": [], "members": entries, "in_hand": in_hand, "left": [], "lines": ["the plan"]}


BINDINGS = [
    {"member": f"east-{number}", "kube_cluster": "east", "node": f"n{number + 1}", "node_uid": f"uid-n{number + 1}"} for number in range(3)
]


def shares(nodes: list[Json], pods: list[Json] | None = None, allowed: tuple[str, ...] = (), **more: Any) -> Json:
    planned = more.pop("planned", plan())
    others = {"pods": pods or [], "refused": more.pop("refused", {})}
    journal = more.pop("journal", None)
    return neighbours.shares(OWN, planned, BINDINGS, nodes, others, journal, allowed, **more)


class TestFound:
    def test_by_label_by_pod_and_by_both_it_is_one_member(self) -> None:
        for labels, pods in ((LABELS, []), ({}, [pod()]), (LABELS, [pod()]), ({"hostnet.multicluster/nats": "east-0"}, [pod()])):
            assert neighbours.found(OWN, [node(labels=labels)], pods) == [SHARE]

    def test_a_stopped_member_is_found_by_its_namespaces_label(self) -> None:
        labels = {"namespace.hostnet.multicluster/nats": "hostnet-nats"}
        assert neighbours.found(OWN, [node(labels=labels)], []) == [{**SHARE, "member": ""}]

    def test_a_daemonsets_pod_has_its_members_name_from_the_label(self) -> None:
        assert neighbours.found(OWN, [node(labels=LABELS)], [pod(member="")]) == [SHARE]

    def test_our_own_member_is_nobodys_neighbour(self) -> None:
        labels = {"hostnet.multicluster/ledger": "east-0", "namespace.hostnet.multicluster/ledger": "hostnet-ledger"}
        assert neighbours.found(OWN, [node(labels=labels)], [pod("ledger", "hostnet-ledger")]) == []
        assert neighbours.found(OWN, [node(labels={"hostnet.multicluster/ledger": "east-0"})], []) == []

    def test_a_namesake_in_another_namespace_is_one(self) -> None:
        assert neighbours.found(OWN, [node()], [pod("ledger", "elsewhere")])[0]["namespace"] == "elsewhere"

    def test_pods_of_other_nodes_and_kube_clusters_do_not_count(self) -> None:
        assert neighbours.found(OWN, [node()], [pod(name="n2"), {**pod(), "kube_cluster": "west"}]) == []

    def test_a_label_of_an_older_version_alone_has_no_namespace(self) -> None:
        assert neighbours.found(OWN, [node(labels={"hostnet.multicluster/nats": "east-0"})], []) == [{**SHARE, "namespace": ""}]


class TestNamesakes:
    def test_refused_where_a_node_says_another_namespace(self) -> None:
        nodes = [
            node(labels={"namespace.hostnet.multicluster/ledger": "elsewhere"}),
            node("n2", {"namespace.hostnet.multicluster/ledger": "hostnet-ledger"}),
        ]
        (error,) = neighbours.namesakes(OWN, nodes)
        assert "deployment ledger in namespace elsewhere has members on node n1 (kube cluster east)" in error
        assert "Choose another hostnet_name" in error

    def test_a_deploy_refuses_it(self) -> None:
        hostnet, spec = plans.settings(system="etcd"), plans.spec_of("etcd")
        nodes = plans.five_nodes()
        observed = {name: plans.nothing() for name in ("east", "west")}
        nodes[0] = {**nodes[0], "labels": {f"namespace.hostnet.multicluster/{hostnet['name']}": "elsewhere"}}
        found = deployment.deployment_plan(hostnet, spec, nodes, observed)
        assert any("in namespace elsewhere" in error for error in found["errors"])
        assert any("in namespace elsewhere" in error for error in found["conflicts"]), "a rollout refuses it too"


class TestShares:
    def test_a_vm_of_our_own_alone(self) -> None:
        assert shares([node()]) == {"errors": [], "members": {"east-0": []}, "deployments": []}

    def test_refused_unless_it_is_named(self) -> None:
        (error,) = shares([node(labels=LABELS)])["errors"]
        for words in (
            "member east-0 of deployment nats (namespace hostnet-nats)",
            "node n1 of kube cluster east",
            '{"hostnet_neighbours": ["nats"]}',
        ):
            assert words in error
        found = shares([node(labels=LABELS)], allowed=("nats",))
        assert (found["errors"], found["deployments"]) == ([], [{"name": "nats", "namespace": "hostnet-nats"}])
        assert found["members"] == {"east-0": [SHARE]}

    def test_all_names_that_are_missing_are_in_one_command(self) -> None:
        labels = {**LABELS, "hostnet.multicluster/etcd": "east-0", "namespace.hostnet.multicluster/etcd": "hostnet-etcd"}
        errors = shares([node(labels=labels)], allowed=("other",))["errors"]
        assert len(errors) == 2
        assert all('{"hostnet_neighbours": ["etcd", "nats", "other"]}' in error for error in errors)

    def test_a_namesake_cannot_be_named(self) -> None:
        (error,) = shares([node()], [pod("ledger", "elsewhere")], ("ledger",))["errors"]
        assert "two deployments of one name" in error

    def test_an_unknown_namespace_says_why(self) -> None:
        labels = {"hostnet.multicluster/nats": "east-0"}
        (error,) = shares([node(labels=labels)], allowed=("nats",), refused={"east": "pods is forbidden"})["errors"]
        assert "pods is forbidden" in error
        assert "playbooks/deploy.yml of nats" in error

    @pytest.mark.parametrize("work", [work for work in steps.WORKS if work not in neighbours.VM_WORKS])
    def test_works_that_leave_the_vm_alone_ask_nobody(self, work: str) -> None:
        planned = {**plan(), "members": [{"member": "east-0", "work": work, "surge": False, "steps": []}]}
        assert shares([node(labels=LABELS)], planned=planned)["errors"] == []

    def test_members_elsewhere_are_not_touched(self) -> None:
        assert shares([node(), node("n9", LABELS)])["errors"] == []

    def test_another_vm_under_the_nodes_name_is_not_the_one_that_goes_down(self) -> None:
        assert shares([node(labels=LABELS, uid="another")])["errors"] == []


class TestResumed:
    JOURNAL: ClassVar[Json] = {"state": "in_flight", "member": {"member": "east-0", "old": BINDINGS[0], "neighbours": [SHARE]}}

    def test_what_the_journal_knows_is_allowed_and_observed_though_the_node_is_gone(self) -> None:
        found = shares([], planned=plan(in_hand="east-0"), journal=self.JOURNAL)
        assert (found["errors"], found["members"]) == ([], {"east-0": [SHARE]})
        assert found["deployments"] == [{"name": "nats", "namespace": "hostnet-nats"}]

    @pytest.mark.parametrize("edited", [["nats"], [{"deployment": "nats"}], [None]])
    def test_an_edited_record_is_said(self, edited: list[Any]) -> None:
        journal = {**self.JOURNAL, "member": {**self.JOURNAL["member"], "neighbours": edited}}
        (error,) = shares([], planned=plan(in_hand="east-0"), journal=journal)["errors"]
        assert "the journal's member.neighbours of east-0 was edited" in error

    def test_who_came_after_its_turn_had_begun_is_not_taken_down_unasked(self) -> None:
        nodes = [node(labels={**LABELS, "hostnet.multicluster/etcd": "east-5", "namespace.hostnet.multicluster/etcd": "hostnet-etcd"})]
        (error,) = shares(nodes, allowed=("etcd", "nats"), planned=plan(in_hand="east-0"), journal=self.JOURNAL)["errors"]
        assert "member east-5 of deployment etcd" in error
        assert "hostnet_abort=true" in error
        after = shares(nodes, planned=plan(in_hand="east-0"), journal=self.JOURNAL, stays_up=True)
        assert (after["errors"], after["members"]) == ([], {"east-0": [SHARE]}), "its VM is not taken down any more"


class TestSteps:
    def test_reboot(self) -> None:
        found = neighbours.steps(steps.of("reboot", "ok", False, "never"), "reboot", False)
        assert " ".join(found) == (
            "cordon evict gate_neighbours gate lead drain stop stop_neighbours vm uncordon start start_neighbours settle soak"
        )

    def test_replace(self) -> None:
        found = neighbours.steps(steps.of("replace", "ok", False, "before_join"), "replace", False)
        assert " ".join(found[:11]) == "cordon evict gate_neighbours gate lead drain stop stop_neighbours vm start_neighbours identify"

    def test_surge(self) -> None:
        found = neighbours.steps(steps.of("replace", "ok", True, "before_join"), "replace", True)
        assert found[:4] == ["vm_add", "identify", "gate_neighbours", "gate"]
        assert found[-6:] == ["cordon", "evict", "stop_neighbours", "retire", "start_neighbours", "soak"]

    @given(st.sampled_from(["reboot", "replace"]), st.booleans(), st.sampled_from(["before_join", "after_join", "never"]))
    def test_they_are_stopped_before_the_vm_goes_and_nothing_else_changes(self, work: str, surge: bool, forget: str) -> None:
        surge = surge and work == "replace"
        before = steps.of(work, "ok", surge, forget)
        after = neighbours.steps(before, work, surge)
        assert [step for step in after if not step.endswith("_neighbours")] == before
        down = after.index("retire" if surge else "vm")
        assert after.index("gate_neighbours") < after.index("gate") < after.index("stop")
        assert after[down - 1] == "stop_neighbours"
        assert after.index("start_neighbours") > down
        if not surge:
            undoable = after[: after.index("stop_neighbours") + 1]
            assert not set(undoable) & set(steps.POINT_OF_NO_RETURN), "a closed gate of theirs leaves no member down"


def known(**more: Any) -> Json:
    members = [{"member": f"east-{number}", "kube_cluster": "east", "node": f"n{number + 1}"} for number in range(3)]
    return {"name": "nats", "namespace": "hostnet-nats", "problems": [], "members": members, "removed": False, **more}


class TestExtended:
    SHARED: ClassVar[Json] = {"east-0": [{**SHARE, "member": ""}], "east-1": [{**SHARE, "node": "n2", "member": "east-1"}], "east-2": []}

    def test_a_reboot_takes_all_members_and_each_vm_has_its_steps(self) -> None:
        found = neighbours.extended(plan("reboot", "east-0", "east-1", "east-2"), self.SHARED, [known()])
        assert [entry["neighbours"] for entry in found["members"]] == [[SHARE], [{**SHARE, "node": "n2", "member": "east-1"}], []]
        assert ["gate_neighbours" in entry["steps"] for entry in found["members"]] == [True, True, False]
        assert found["left"] == []
        assert "with east-0: member east-0 of deployment nats (namespace hostnet-nats)" in found["lines"][1]

    def test_a_replacement_ends_with_the_first_vm_that_takes_a_disk_of_theirs(self) -> None:
        found = neighbours.extended(plan("replace", "east-2", "east-0", "east-1"), self.SHARED, [known()])
        assert [entry["member"] for entry in found["members"]] == ["east-2", "east-0"]
        assert found["left"] == ["east-1"]
        assert "playbooks/repair.yml for nats, and this playbook again for east-1" in found["lines"][-1]

    def test_a_cloud_that_is_followed_chooses_which_vm_that_is(self) -> None:
        followed = {**plan("replace", "east-2", "east-0", "east-1"), "follows": True}
        found = neighbours.extended(followed, self.SHARED, [known()])
        assert [entry["member"] for entry in found["members"]] == ["east-2", "east-0", "east-1"]
        assert (found["left"], found["alone"]) == ([], ["east-0", "east-1"])
        assert (
            "one VM with members of others is replaced in a run: then run playbooks/repair.yml for nats, and this playbook again"
            in found["lines"][-1]
        )

    def test_the_lines_show_the_steps_and_the_members_of_this_run(self) -> None:
        planned = plan("replace", "east-2", "east-0", "east-1")
        planned["lines"] = ["first"]
        for number, entry in enumerate(planned["members"], 1):
            planned["lines"] += [
                f"{number}. {entry['member']} on node x (east, 10.0.0.1), replace: follows",
                "   " + " > ".join(entry["steps"]),
                "   more",
            ]
        planned["lines"].append("! last")
        lines = neighbours.extended(planned, self.SHARED, [known()])["lines"]
        assert [line for line in lines if " on node x" in line] == [
            line for line in planned["lines"] if "east-2 on" in line or "east-0 on" in line
        ]
        assert ["gate_neighbours > gate" in line for line in (lines[2], lines[5])] == [False, True]
        assert lines[:7:6] == ["first", "   more"]
        assert lines[7] == "! last"

    def test_problems_are_the_plans_errors(self) -> None:
        assert neighbours.extended(plan(), self.SHARED, [known(problems=["no"])])["errors"] == ["no"]

    def test_a_deployment_that_is_stopped_everywhere_has_nothing_to_stop(self) -> None:
        found = neighbours.extended(plan(), self.SHARED, [known(removed=True)])
        assert found["members"][0]["neighbours"] == []
        assert found["members"][0]["steps"] == plan()["members"][0]["steps"]

    def test_the_member_in_hand_keeps_the_steps_that_were_written_down(self) -> None:
        planned = plan("reboot", "east-0", in_hand="east-0")
        assert neighbours.extended(planned, self.SHARED, [known()])["members"][0]["steps"] == planned["members"][0]["steps"]


class TestDescribed:
    def told(self, **more: Any) -> tuple[Json, Json]:
        hostnet = {**plans.settings(system="nats"), "name": "nats", "namespace": "hostnet-nats"}
        return hostnet, {**neighbours.about(hostnet, plans.spec_of("nats")), **more}

    def described(self, **answers: Json) -> Json:
        return neighbours.neighbour(OWN, {"name": "nats", "namespace": "hostnet-nats"}, answers)

    def test_what_is_told_holds_no_secret_and_no_path_of_a_controller(self) -> None:
        hostnet, data = self.told()
        hostnet["kube_clusters"] = [{"name": "east", "api_key": "hunter2", "kubeconfig": "/srv/kc"}]
        hostnet["ca"], hostnet["pki_dir"] = {"passphrase": "hunter2"}, "/srv/pki"
        text = json.dumps(neighbours.about(hostnet, plans.spec_of("nats")))
        assert "hunter2" not in text
        assert "/srv" not in text
        assert neighbours.about(*self.told()[:1], plans.spec_of("nats")) == data

    def test_it_is_asked_with_its_own_spec_and_our_connections(self) -> None:
        _hostnet, data = self.told()
        found = self.described(east={"about": data, "error": ""}, west={"about": data, "error": ""})
        assert found["problems"] == []
        assert found["spec"] == plans.spec_of("nats")
        assert (found["hostnet"]["name"], found["hostnet"]["system"], found["hostnet"]["kube_clusters"]) == (
            "nats",
            "nats",
            OWN["kube_clusters"],
        )
        assert (found["hostnet"]["pki_dir"], found["hostnet"]["ca"]) == ("", {}), "our CA is not theirs"

    def test_whoever_may_not_read_it_is_told_what_to_do(self) -> None:
        (problem,) = self.described(east={"about": None, "error": "configmaps is forbidden"})["problems"]
        for words in ("deployment nats (namespace hostnet-nats)", "kube cluster east", "configmaps is forbidden", "docs/rbac.yaml"):
            assert words in problem

    def test_one_of_an_older_version_says_nothing(self) -> None:
        (problem,) = self.described(east={"about": None, "error": ""})["problems"]
        assert "run playbooks/deploy.yml of nats once" in problem

    @pytest.mark.parametrize(
        "edit",
        [
            {"spec": "{"},
            {"spec": "{}"},
            {"spec": json.dumps({"inspect": {"filter": "ansible.builtin.vault"}})},
            {"settings": json.dumps({"name": "other", "namespace": "hostnet-nats"})},
            {"settings": "[]"},
            {"schema": "2"},
            {"kube_clusters": "null"},
        ],
    )
    def test_an_edited_one_is_refused(self, edit: Json) -> None:
        _hostnet, data = self.told(**edit)
        (problem,) = self.described(east={"about": data, "error": ""}, west={"about": data, "error": ""})["problems"]
        assert "cannot be read by this version" in problem

    def test_one_kube_cluster_does_not_speak_for_another(self) -> None:
        _hostnet, data = self.told()
        (problem,) = self.described(east={"about": data, "error": ""}, west={"about": {**data, "spec": "{}"}, "error": ""})["problems"]
        assert "differs between kube clusters" in problem

    def test_kube_clusters_that_are_not_at_hand_hide_its_members(self) -> None:
        hostnet, _data = self.told()
        hostnet["kube_clusters"] = [*hostnet["kube_clusters"], {"name": "north"}]
        data = neighbours.about(hostnet, plans.spec_of("nats"))
        (problem,) = self.described(east={"about": data, "error": ""})["problems"]
        assert "kube cluster north" in problem
        assert "name ledger in hostnet_neighbours there" in problem


def said(**more: Any) -> Json:
    members = [{"member": f"east-{number}", "class": "ok", "healthy": True, "reason": "", "alone": []} for number in range(3)]
    return {"members": members, "rollout": None, **more}


class TestJudged:
    RUNNING: ClassVar[Json] = {"east": {"workloads": [{"name": "nats"}], "pods": []}}
    PLAN: ClassVar[Json] = {"mode": "existing", "conflicts": [], "members": known()["members"]}

    def problems(
        self, status: Json, work: str = "reboot", observed: Json | None = None, resumed: tuple[Json, ...] = (), **plan_more: Any
    ) -> list[str]:
        result = neighbours.judged(known(), {**self.PLAN, **plan_more}, status, observed or self.RUNNING, [SHARE], work, resumed)
        return list(result["problems"])

    def test_open_where_all_are_well(self) -> None:
        assert self.problems(said()) == []

    def test_one_that_is_not_well_elsewhere_keeps_the_vm_up(self) -> None:
        status = said()
        status["members"][2] |= {"healthy": False, "reason": "it does not answer", "class": "unknown"}
        (problem,) = self.problems(status)
        assert problem.startswith("member east-2 of deployment nats (namespace hostnet-nats) is unknown (it does not answer)")
        assert "playbooks/repair.yml of nats" in problem

    def test_what_this_rollout_has_stopped_itself_is_no_obstacle(self) -> None:
        status = said()
        status["members"][0] |= {"healthy": False, "class": "unknown", "reason": "stopped"}
        assert len(self.problems(status)) == 1
        assert self.problems(status, resumed=(SHARE,)) == []
        assert len(self.problems(status, resumed=({**SHARE, "namespace": "elsewhere"},))) == 1

    def test_a_rollout_of_its_own_comes_first(self) -> None:
        rolling = {"run_id": "r1", "work": "replace", "member": "east-1"}
        (problem,) = self.problems(said(rollout=rolling))
        assert "is in progress at member east-1 (replace, run r1)" in problem
        assert self.problems(said(rollout={**rolling, "member": ""})) == [], "one that is open between two members has nobody down"

    def test_one_that_is_not_finished_or_contradicts_itself(self) -> None:
        assert "is not finished" in self.problems(said(), mode="unfinished")[0]
        assert self.problems(said(), conflicts=["two records"]) == ["deployment nats (namespace hostnet-nats): two records"]

    def test_the_only_copy_is_not_lost_with_the_vm(self) -> None:
        status = said()
        status["members"][0]["alone"] = ["stream orders"]
        assert self.problems(status) == []
        assert "the only copy of stream orders" in self.problems(status, "replace")[0]

    def test_a_label_that_no_record_explains(self) -> None:
        (problem,) = self.problems(said(members=said()["members"][1:]))
        assert "is no member that its records know" in problem

    def test_one_that_was_removed_with_its_data_kept(self) -> None:
        gone: Json = {"east": {"workloads": [], "pods": []}}
        down = said()
        for entry in down["members"]:
            entry |= {"healthy": False, "class": "unknown"}
        assert self.problems(down, observed=gone) == []
        (problem,) = self.problems(down, "replace", observed=gone)
        assert "its data is on that VM" in problem


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([], []),
        ("", []),
        ("nats", ["nats"]),
        ("nats,etcd", ["nats", "etcd"]),
        ("['nats', \"etcd\"]", ["nats", "etcd"]),
        (["nats"], ["nats"]),
    ],
)
def test_names_of_neighbours(value: Any, expected: list[str]) -> None:
    assert neighbours.as_names(value) == expected


@pytest.mark.parametrize("value", [{"nats": 1}, [1], ["NATS"], 7, "a b"])
def test_what_is_no_name_is_said(value: Any) -> None:
    with pytest.raises(ValueError, match="hostnet_neighbours"):
        neighbours.as_names(value)

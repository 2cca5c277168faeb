# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which pods go, whose cordon is whose, and what errors say."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import drain as plan
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.drain import Cordon, Rules, Verdict

Json = dict[str, Any]
CORDONS = st.builds(Cordon, st.booleans(), st.sampled_from(["", "ledger", "other"]))
MEMBERS = "hostnet.multicluster/deployment=ledger"


def owner(kind: str, api_version: str = "apps/v1", controller: bool = True) -> Json:
    return {"apiVersion": api_version, "kind": kind, "name": "x", "uid": "u", "controller": controller}


def pod(
    *,
    owners: list[Json] | None = None,
    labels: Json | None = None,
    annotations: Json | None = None,
    phase: str = "Running",
    deleted: bool = False,
    volumes: list[Json] | None = None,
) -> Json:
    metadata: Json = {"namespace": "shop", "name": "web-1", "uid": "uid-1", "labels": labels or {}, "annotations": annotations or {}}
    metadata["ownerReferences"] = [owner("ReplicaSet")] if owners is None else owners
    if deleted:
        metadata["deletionTimestamp"] = "2026-11-22T10:00:00Z"
    return {"metadata": metadata, "spec": {"nodeName": "n", "volumes": volumes or []}, "status": {"phase": phase}}


EMPTY_DIR: list[Json] = [{"name": "tmp", "emptyDir": {}}]
PODS = st.builds(
    pod,
    owners=st.lists(
        st.builds(
            owner, st.sampled_from(["ReplicaSet", "DaemonSet", "Job"]), st.sampled_from(["apps/v1", "example.com/v1"]), st.booleans()
        ),
        max_size=2,
    ),
    labels=st.sampled_from([{}, {"hostnet.multicluster/deployment": "ledger"}]),
    annotations=st.sampled_from([{}, {"kubernetes.io/config.mirror": "hash"}]),
    phase=st.sampled_from(["Pending", "Running", "Succeeded", "Failed"]),
    deleted=st.booleans(),
    volumes=st.sampled_from([[], EMPTY_DIR, [{"name": "d", "hostPath": {"path": "/d"}}]]),
)
RULES = st.builds(plan.rules, st.sampled_from(["", MEMBERS]), st.booleans(), st.booleans())


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (pod(), Verdict("evict")),
        (pod(owners=[owner("DaemonSet")]), Verdict("skip", "daemonset")),
        # Somebody else's kind of that name, such as OpenKruise's, is evicted as any other.
        (pod(owners=[owner("DaemonSet", "apps.example.com/v1")]), Verdict("evict")),
        (pod(annotations={"kubernetes.io/config.mirror": "x"}, owners=[owner("Node", "v1")]), Verdict("skip", "mirror")),
        (pod(phase="Succeeded", owners=[]), Verdict("skip", "finished")),
        (pod(phase="Failed", deleted=True), Verdict("skip", "finished")),
        (pod(deleted=True, owners=[]), Verdict("wait", "terminating")),
        (pod(owners=[]), Verdict("refuse", "unmanaged")),
        (pod(owners=[owner("ReplicaSet", controller=False)]), Verdict("refuse", "unmanaged")),
        (pod(volumes=EMPTY_DIR), Verdict("evict")),
        (pod(labels={"hostnet.multicluster/deployment": "ledger"}), Verdict("refuse", "member")),
        (pod(labels={"hostnet.multicluster/deployment": "ledger"}, owners=[owner("DaemonSet")]), Verdict("refuse", "member")),
        (pod(labels={"hostnet.multicluster/deployment": "ledger"}, deleted=True), Verdict("refuse", "member")),
        (pod(labels={"hostnet.multicluster/deployment": "ledger"}, phase="Succeeded"), Verdict("skip", "finished")),
    ],
)
def test_judge(item: Json, expected: Verdict) -> None:
    assert plan.judge(item, Rules()) == expected


def test_judge_with_options() -> None:
    assert plan.judge(pod(owners=[]), plan.rules("", True, True)) == Verdict("evict")
    assert plan.judge(pod(volumes=EMPTY_DIR), plan.rules("", False, False)) == Verdict("refuse", "empty_dir")
    member = pod(labels={"hostnet.multicluster/deployment": "ledger"}, owners=[])
    assert plan.judge(member, plan.rules(MEMBERS, False, True)) == Verdict("skip", "excluded")
    assert plan.judge(pod(), plan.rules("  ", False, True)) == Verdict("evict")


@given(PODS, RULES)
def test_what_is_evicted_was_allowed_to_be(item: Json, allowed: Rules) -> None:
    verdict = plan.judge(item, allowed)
    controllers = [entry for entry in item["metadata"]["ownerReferences"] if entry["controller"]]
    if verdict.action == plan.EVICT:
        assert not verdict.reason
        assert controllers or allowed.force_unmanaged
        assert allowed.delete_empty_dir or item["spec"]["volumes"] != EMPTY_DIR
        assert "deletionTimestamp" not in item["metadata"]
    else:
        assert verdict.reason
    if allowed.exclude and item["metadata"]["labels"]:
        assert verdict == Verdict(plan.SKIP, plan.EXCLUDED)
    if verdict.action == plan.REFUSE:
        # What is refused is named, with what to do about it.
        text = plan.refusal(item, verdict)
        assert text.startswith("pod shop/web-1: ")
        assert any(
            words in text for words in ("kubectl -n shop delete pod web-1", "set delete_empty_dir: true", "member of deployment ledger")
        )


@given(PODS, RULES)
def test_more_permission_refuses_nothing_and_changes_no_other_verdict(item: Json, allowed: Rules) -> None:
    verdict, more = plan.judge(item, allowed), plan.judge(item, allowed._replace(force_unmanaged=True, delete_empty_dir=True))
    # No option evicts a member of another deployment.
    assert more.action != plan.REFUSE or more.reason == plan.MEMBER
    assert more == (Verdict(plan.EVICT) if verdict.action == plan.REFUSE and verdict.reason != plan.MEMBER else verdict)


@given(CORDONS, st.sampled_from(plan.STATES))
def test_a_cordon_is_made_once_and_only_its_owner_takes_it_away(current: Cordon, state: str) -> None:
    wanted = plan.wanted_cordon(current, state, "ledger")
    assert plan.wanted_cordon(wanted, state, "ledger") == wanted
    if current.unschedulable and current.owner != "ledger":
        assert wanted == current
    elif state == plan.UNCORDONED:
        assert not wanted.unschedulable
        assert wanted.owner != "ledger"
    else:
        assert wanted == Cordon(True, "ledger")
        assert wanted.theirs("ledger")
        assert not wanted.theirs("other")


@given(CORDONS, CORDONS)
def test_the_patch_makes_it_so(current: Cordon, wanted: Cordon) -> None:
    node: Json = {"metadata": {"name": "n", "uid": "u", "resourceVersion": "7", "annotations": {"kept": "1"}}, "spec": {"podCIDR": "x"}}
    if current.owner:
        node["metadata"]["annotations"][plan.CORDONED_BY_ANNOTATION] = current.owner
    if current.unschedulable:
        node["spec"]["unschedulable"] = True
    assert plan.cordon_of(node) == current
    patch = plan.cordon_patch(node, wanted)
    assert (patch["metadata"]["uid"], patch["metadata"]["resourceVersion"]) == ("u", "7")
    for part, old in ((patch["metadata"]["annotations"], node["metadata"]["annotations"]), (patch["spec"], node["spec"])):
        old.update(part)
        for key in [key for key, value in old.items() if value is None]:
            del old[key]
    assert plan.cordon_of(node) == wanted
    assert node["metadata"]["annotations"]["kept"] == "1"
    assert node["spec"]["podCIDR"] == "x"


def test_cordon_of_a_bare_node() -> None:
    assert plan.cordon_of({"metadata": {"name": "n"}}) == Cordon(False, "")


def budget(name: str = "web", namespace: str = "shop", allowed: int = 0, seen: int = 1, selector: Json | None = None) -> Json:
    status = {"disruptionsAllowed": allowed, "desiredHealthy": 2, "currentHealthy": 2 + allowed, "observedGeneration": seen}
    return {"metadata": {"name": name, "namespace": namespace, "generation": 1}, "spec": {"selector": selector or {}}, "status": status}


def test_budgets() -> None:
    item = pod(labels={"app": "web"})
    app = {"matchLabels": {"app": "web"}}
    covering = [
        budget(selector=app),
        budget("all"),
        budget("set", selector={"matchExpressions": [{"key": "app", "operator": "In", "values": ["web"]}]}),
    ]
    others = [budget(namespace="other", selector=app), budget("db", selector={"matchLabels": {"app": "db"}})]
    others.append({"metadata": {"name": "none", "namespace": "shop"}, "spec": {}})
    assert plan.budgets_of(item, covering + others) == covering
    assert plan.budget_text(item, covering[:1]) == "PodDisruptionBudget shop/web (needs 2 healthy pods and has 2)"
    assert plan.budget_text(item, others) == ""
    assert plan.budget_text(item, [budget(allowed=1, selector=app)]) == ""
    assert plan.budget_text(item, [budget(allowed=1, seen=0, selector=app)]) == (
        "PodDisruptionBudget shop/web (its controller has not looked at it yet)"
    )
    assert plan.budget_text(item, covering[:2]) == (
        "PodDisruptionBudget shop/web and PodDisruptionBudget shop/all (Kubernetes evicts no pod that is covered by more than one)"
    )


@pytest.mark.parametrize(
    ("status", "detail", "expected"),
    [
        (429, "Cannot evict pod as it would violate the pod's disruption budget.", "retry"),
        (504, "couldn't update PodDisruptionBudget due to conflicts", "retry"),
        (409, "the object has been modified", "retry"),
        (409, "the UID in the precondition (a) does not match the UID in record (b)", "gone"),
        (404, 'pods "x" not found', "gone"),
        (403, "unable to create new content in namespace x because it is being terminated", "retry"),
        (400, 'admission webhook "drain.example.com" denied the request: moving first', "retry"),
        (403, 'pods "x" is forbidden', "fatal"),
        (500, "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.", "fatal"),
        (0, "no answer", "fatal"),
    ],
)
def test_answers(status: int, detail: str, expected: str) -> None:
    assert plan.answer(status, detail) == expected


def test_stuck_texts_name_the_pod_the_cause_and_the_remedy() -> None:
    item = pod()
    held = plan.stuck_text(item, 60, "Cannot evict", "PodDisruptionBudget shop/web (needs 2 healthy pods and has 2)", False)
    assert held == (
        "pod shop/web-1: PodDisruptionBudget shop/web (needs 2 healthy pods and has 2) allowed no eviction for 60 s; wait for its other pods to "
        "become ready, add one, or change the budget; then run again"
    )
    assert plan.stuck_text(item, 60, "busy", "", False) == ("pod shop/web-1: not evicted after 60 s: busy; remove the cause and run again")
    assert "no time was left to ask" in plan.stuck_text(item, 1, "", "", False)
    item["metadata"].update(finalizers=["example.com/f"], deletionGracePeriodSeconds=30)
    going = plan.stuck_text(item, 60, "", "", True)
    assert "is being deleted and was not gone after 60 s (its grace period is 30 s; finalizers example.com/f)" in going


@given(st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=9))
def test_summary_counts_what_it_does_not_name(failures: list[str]) -> None:
    text = plan.summary(failures)
    more = len(failures) - 5
    assert text.split("; and ", maxsplit=1)[0].split("; ") == failures[:5]
    assert (f"and {more} more: see failures" in text) == (more > 0)


def test_option_errors_are_told_at_once() -> None:
    params: Json = {"kube_clusters": [{"name": "east"}], "owner": "ledger", "timeout": 1, "grace_seconds": None, "exclude": "", "nodes": []}
    assert plan.option_errors(params) == []
    east = {"kube_cluster": "east", "name": "a"}
    nodes = [east, east, {"kube_cluster": "north", "name": "b"}]
    wrong = {**params, "owner": " ", "timeout": 0, "grace_seconds": -1, "exclude": "a=b=c", "nodes": nodes}
    errors = plan.option_errors(wrong)
    assert [error.split(":")[0] for error in errors] == ["nodes", "nodes", "owner", "timeout", "grace_seconds", "exclude"]
    assert "node a (kube cluster east) is listed twice" in errors[0]
    assert "kube_clusters has no entry of that name; it has east" in errors[1]

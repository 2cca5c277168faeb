# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What clouds, people and bad luck do to a deployment before and during a rollout, done to a real one in the lab.

One deployment for all of them, of HOSTNET_SITUATION_SYSTEM and HOSTNET_SITUATION_PLACEMENT (default: etcd, node_name). After every test it is
well again, with the cluster id that it had. Writes go on all the time, except where a majority is lost.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import kubernetes.client
import pytest
import yaml

from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import lease as leases
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import drain, names, steps

from .harness import HOOK, KUBE_CLUSTERS, LAB, Attempt, Choice, Json, Playbook, Stage
from .soak import mend

pytestmark = pytest.mark.lab

# As the lab names it.
NETWORK = f"{os.environ['HOSTNET_LAB_NAME']}-hostnet-lab" if os.environ.get("HOSTNET_LAB_NAME") else "hostnet-lab"
CHOICE = Choice(
    os.environ.get("HOSTNET_SITUATION_SYSTEM", "etcd"), os.environ.get("HOSTNET_SITUATION_PLACEMENT", "node_name"), "situations"
)


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stage, str]]:
    stage = Stage(CHOICE, tmp_path_factory.mktemp("situations"))
    stage.verb("up", "east:3,west:2")
    stage.remove()
    try:
        stage.deploy()
        yield stage, list(stage.cluster_ids().values())[0]  # noqa: RUF015 - next() in a generator could end it
    finally:
        stage.remove()


@pytest.fixture
def stage(deployed: tuple[Stage, str]) -> Iterator[Stage]:
    """The deployment, well before and after. A test that left it otherwise fails, and the next one gets a new deployment."""
    found, _first = deployed
    cluster_id = list(found.cluster_ids().values())[0]  # noqa: RUF015 - next() in a generator could end it
    yield found
    # That its members are well was seen by the checker, which has read from all of them.
    problems = found.problems(cluster_id, ends=("done", "aborted"))
    if problems:
        mend(found)
    assert problems == []


@contextmanager
def writing(stage: Stage, most_down: int = 1) -> Iterator[None]:
    """The checker has to say that all of it holds."""
    with stage.load(most_down) as load:
        yield
        verdict = load.end()
    print(json.dumps({key: verdict[key] for key in ("result", "reasons", "writes", "lost", "gaps", "down")}))
    assert verdict["result"] == "holds", verdict["reasons"]


def ended(attempt: Attempt) -> Attempt:
    assert attempt.rc == 0, f"{attempt.failure}\n{attempt.log}"
    return attempt


def failed(attempt: Attempt, *parts: str) -> Attempt:
    """The run failed by itself, and its words are the right ones."""
    assert attempt.rc not in (0, None)
    assert not attempt.killed
    for part in parts:
        assert re.search(part, attempt.failure), f"{part!r} is not in: {attempt.failure}\n{attempt.log}"
    return attempt


def nodes_of(stage: Stage, kube: str) -> list[str]:
    return sorted(node for where, node in stage.members().values() if where == kube)


def first_of(stage: Stage, kube: str) -> str:
    return min(member for member, (where, _node) in stage.members().items() if where == kube)


def hook(stage: Stage, name: str, *tasks: Json, then_do_it: bool = True) -> str:
    """A hook of its own: these tasks, and the lab's hook after them."""
    path = stage.folder / f"hook-{name}.yml"
    last = [{"name": "Do it", "ansible.builtin.include_tasks": str(HOOK)}] if then_do_it else []
    path.write_text(yaml.safe_dump([*tasks, *last], sort_keys=False))
    return str(path)


def held_up(stage: Stage, member: str, **variables: Any) -> tuple[Playbook, Path]:
    """A run that is in the hook of `member` and stays there until the file is made."""
    begun, go = stage.folder / f"begun-{member}", stage.folder / f"go-{member}"
    for path in (begun, go):
        path.unlink(missing_ok=True)
    tasks = (
        {"name": "Say so", "ansible.builtin.copy": {"content": "", "dest": str(begun), "mode": "0644"}},
        {"name": "Wait", "ansible.builtin.wait_for": {"path": str(go), "timeout": 600}},
    )
    work = {"hostnet_work": "reboot", "hostnet_members": [member], "hostnet_step_timeout_seconds": 900, **variables}
    run = stage.start("upgrade.yml", **{**work, "hostnet_replace_tasks": hook(stage, "held-up", *tasks)})
    stage.until("the hook", lambda: begun.exists() or run.process.poll() is not None)
    assert run.process.poll() is None, run.log.read_text()
    return run, go


def reboot(stage: Stage, member: str, **variables: Any) -> Attempt:
    return stage.play("upgrade.yml", **{"hostnet_work": "reboot", "hostnet_members": [member], **variables})


# -- VMs that changed behind our back --------------------------------------------------------------------------------------


def test_two_vms_are_replaced_behind_our_back_one_after_another(stage: Stage) -> None:
    with writing(stage):
        for member in sorted(stage.members())[:2]:
            stage.verb("replace-node", stage.members()[member][1])
            ended(stage.play("repair.yml"))


def test_two_vms_are_replaced_behind_our_back_at_once(stage: Stage) -> None:
    with writing(stage, most_down=2):
        for node in nodes_of(stage, "east")[:2]:
            stage.verb("replace-node", node)
        ended(stage.play("repair.yml"))


def test_all_vms_of_west_are_replaced_at_once_and_the_majority_is_kept(stage: Stage) -> None:
    with writing(stage, most_down=2):
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda node: stage.verb("replace-node", node), nodes_of(stage, "west")))
        ended(stage.play("repair.yml"))


@pytest.mark.parametrize("step", ["certify", "admit", "start", "join"])
def test_the_new_vm_goes_too_before_its_member_is_there(stage: Stage, step: str) -> None:
    member = first_of(stage, "west")
    work: Json = {"hostnet_work": "replace", "hostnet_members": [member]}
    with writing(stage):
        killed = stage.start("upgrade.yml", failpoint=f"{step}:after-begin", **work).wait()
        assert killed.killed, killed.failure
        gone = stage.journal("east")["member"]["new"]["node"]
        stage.verb("replace-node", gone)
        ended(stage.play("upgrade.yml", **work))
        assert stage.members()[member][1] != gone


def test_the_new_vm_goes_while_the_play_works_with_it(stage: Stage) -> None:
    member = first_of(stage, "west")
    with writing(stage):
        run = stage.start("upgrade.yml", hostnet_work="replace", hostnet_members=[member])

        def new() -> str:
            return str(((stage.journal("east").get("member") or {}).get("new") or {}).get("node", ""))

        stage.until("the new node", lambda: bool(new()) or run.process.poll() is not None)
        gone = new()
        stage.verb("replace-node", gone)
        ended(run.wait())
        assert stage.members()[member][1] != gone


def test_a_vm_is_reimaged(stage: Stage) -> None:
    with writing(stage):
        stage.verb("reimage-node", nodes_of(stage, "west")[0])
        ended(stage.play("repair.yml"))
        again = ended(stage.play("repair.yml"))
        assert not again.changed, again.changed


def test_a_vm_moves_to_another_address(stage: Stage) -> None:
    with writing(stage):
        stage.verb("readdress-node", nodes_of(stage, "east")[0])
        ended(stage.play("repair.yml"))


def test_two_vms_swap_their_addresses(stage: Stage) -> None:
    with writing(stage, most_down=2):
        stage.verb("swap-nodes", nodes_of(stage, "east")[0], nodes_of(stage, "west")[0])
        ended(stage.play("repair.yml"))


@contextmanager
def stranger(stage: Stage, pki: Path, member: str, address: str) -> Iterator[list[str]]:
    """An etcd of a cluster of its own on a dead member's address, with that member's certificates; gives the command that asks it."""
    name = f"{NETWORK}-stranger"
    files = ["--cert-file=/pki/{0}/server.crt", "--key-file=/pki/{0}/server.key", "--trusted-ca-file=/pki/ca.crt", "--client-cert-auth"]
    files += ["--peer-cert-file=/pki/{0}/peer.crt", "--peer-key-file=/pki/{0}/peer.key", "--peer-trusted-ca-file=/pki/ca.crt"]
    etcd = [
        "/usr/local/bin/etcd",
        f"--name={member}",
        f"--initial-cluster={member}=https://{address}:2380",
        "--initial-cluster-token=theirs",
    ]
    etcd += [f"--listen-peer-urls=https://{address}:2380", f"--initial-advertise-peer-urls=https://{address}:2380"]
    etcd += [f"--listen-client-urls=https://{address}:2379", f"--advertise-client-urls=https://{address}:2379", "--peer-client-cert-auth"]
    run = ["docker", "run", "--detach", "--name", name, "--network", NETWORK, "--ip", address, "--volume", f"{pki}:/pki:ro", stage.image]
    ask = ["docker", "exec", name, "/usr/local/bin/etcdctl", f"--endpoints=https://{address}:2379", "--cacert=/pki/ca.crt"]
    ask += [f"--cert=/pki/{member}/server.crt", f"--key=/pki/{member}/server.key"]
    try:
        subprocess.run([*run, *etcd, *(word.format(member) for word in files)], check=True, capture_output=True)
        stage.until(
            "the stranger", lambda: subprocess.run([*ask, "endpoint", "health"], capture_output=True, check=False).returncode == 0, 60
        )
        yield ask
    finally:
        subprocess.run(["docker", "rm", "--force", "--volumes", name], check=False, capture_output=True)


@pytest.mark.skipif(CHOICE.system != "etcd", reason="the stranger is an etcd")
def test_a_foreign_member_is_on_the_reused_address_of_a_vm_that_is_gone(stage: Stage) -> None:
    """Its certificates are good for the address, and Kubernetes still has the old pod with it: the worst that a reused address can be."""
    member = first_of(stage, "east")
    node = stage.members()[member][1]
    address = next(
        item.address
        for found in stage.nodes("east")
        if found.metadata.name == node
        for item in found.status.addresses
        if item.type == "InternalIP"
    )
    pki = stage.folder / "pki-of-the-stranger"
    shutil.copytree(stage.pki, pki)
    with writing(stage):
        stage.verb("replace-node", node)
        with stranger(stage, pki, member, address) as ask:
            pods = stage.core("east").list_namespaced_pod(stage.namespace).items
            assert address in {pod.status.pod_ip for pod in pods}, "no pod has the stale address"
            listed = [*ask, "member", "list", "--write-out=json"]
            before = json.loads(subprocess.run(listed, check=True, capture_output=True).stdout)
            ended(stage.play("repair.yml"))
            assert json.loads(subprocess.run(listed, check=True, capture_output=True).stdout)["members"] == before["members"]
            assert len(before["members"]) == 1


# -- who is dead --------------------------------------------------------------------------------------------------------------


def unchanged_by_us(stage: Stage) -> Json:
    """Without what Kubernetes itself does about a Node object that is gone, or not Ready."""
    return {kube: {key: found[key] for key in ("maps", "secrets", "sets")} for kube, found in stage.state().items()}


def node_of(stage: Stage, kube: str, name: str) -> Any:
    return next((node for node in stage.nodes(kube) if node.metadata.name == name), None)


def is_ready(stage: Stage, kube: str, name: str) -> bool:
    node = node_of(stage, kube, name)
    return node is not None and any(found.type == "Ready" and found.status == "True" for found in node.status.conditions)


def kubelet(node: str, verb: str) -> None:
    subprocess.run(["docker", "exec", node, "systemctl", verb, "kubelet"], check=True, capture_output=True)


def zone_of(stage: Stage, kube: str, name: str) -> str:
    return str(node_of(stage, kube, name).metadata.labels["topology.kubernetes.io/zone"])


def test_a_node_object_is_deleted_and_its_process_runs_on(stage: Stage) -> None:
    """Its kubelet is cut off, so nobody ends the process. It keeps its place; and comes back to it with its disk when the kubelet registers again."""
    member = first_of(stage, "west")
    kube, name = stage.members()[member]
    node = node_of(stage, kube, name)
    address = next(found.address for found in node.status.addresses if found.type == "InternalIP")
    spare = stage.verb("add-node", kube, "--zone", zone_of(stage, kube, name), "--for", secrets.token_hex(4))
    with writing(stage):
        kubelet(name, "stop")
        try:
            stage.core(kube).delete_node(name)
            before = unchanged_by_us(stage)
            refused = failed(
                stage.play("repair.yml"), rf"still alive is member {member} at {re.escape(address)} \(seen by ", "Shut that VM down"
            )
            assert not refused.changed, refused.changed
            assert unchanged_by_us(stage) == before
        finally:
            kubelet(name, "start")
        stage.until("the node to be back", lambda: is_ready(stage, kube, name))
        assert node_of(stage, kube, name).metadata.uid != node.metadata.uid
        ended(stage.play("repair.yml"))
        assert stage.members()[member] == (kube, name)
        bound = json.loads(stage.config_map(kube, "members")[member])
        assert bound["node_uid"] == node_of(stage, kube, name).metadata.uid
        again = ended(stage.play("repair.yml"))
        assert not again.changed, again.changed
    stage.verb("remove-node", spare)


def test_a_host_is_dead_and_its_node_stays_not_ready(stage: Stage) -> None:
    """Nothing is done without a human's word. With it the member gets another node, and stays there when the old host comes back with its disk."""
    member = first_of(stage, "west")
    kube, name = stage.members()[member]
    spare = stage.verb("add-node", kube, "--zone", zone_of(stage, kube, name), "--for", secrets.token_hex(4))
    with writing(stage):
        subprocess.run(["docker", "kill", name], check=True, capture_output=True)
        try:
            stage.until("the node to be not Ready", lambda: not is_ready(stage, kube, name))
            before = unchanged_by_us(stage)
            word = f"kubectl --context {kube} taint nodes {name} node.kubernetes.io/out-of-service=nodeshutdown:NoExecute"
            refused = failed(stage.play("repair.yml"), "unreachable is not dead", re.escape(word))
            assert not refused.changed, refused.changed
            assert unchanged_by_us(stage) == before
            taint = {"key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown", "effect": "NoExecute"}
            taints = stage.core(kube).api_client.sanitize_for_serialization(node_of(stage, kube, name).spec.taints or [])
            stage.core(kube).patch_node(name, {"spec": {"taints": [*taints, taint]}})
            ended(stage.play("repair.yml"))
            assert stage.members()[member] == (kube, spare)
        finally:
            subprocess.run(["docker", "start", name], check=True, capture_output=True)
        stage.until("the node to be back", lambda: is_ready(stage, kube, name))
        ended(stage.play("deploy.yml"))
        assert stage.members()[member] == (kube, spare)
        pods = stage.core(kube).list_namespaced_pod(stage.namespace).items
        assert name not in {pod.spec.node_name for pod in pods}
    stage.verb("remove-node", name)


# -- kube clusters and controllers -----------------------------------------------------------------------------------------


def test_the_api_of_a_kube_cluster_is_paused_at_each_step(stage: Stage) -> None:
    """For half a minute each time, or until the run has failed: it may also wait, and go on."""
    member = first_of(stage, "east")
    settings: Json = {"hostnet_work": "replace", "hostnet_members": [member]}
    before = stage.generation()
    with writing(stage):
        run, last = None, 0
        for step in steps.of("replace", "ok", False, stage.forget):
            if run is None or run.process.poll() is not None:
                known = stage.journal("east")
                # An earlier run may have begun it before it was undone: only what this run writes counts.
                last = known["steps"][-1]["n"] if known.get("state") == "in_flight" and known["steps"] else 0
                run = stage.start("upgrade.yml", **settings)

            def begun(step: str = step, last: int = last, run: Playbook = run) -> bool:
                journal = stage.journal("east")
                steps = [entry["step"] for entry in journal.get("steps", []) if entry["n"] > last]
                return (int(journal.get("generation", 0)) > before and step in steps) or run.process.poll() is not None

            stage.until(f"step {step}", begun)
            stage.verb("pause-api", "west")
            try:
                with suppress(subprocess.TimeoutExpired):
                    run.process.wait(30)
            finally:
                stage.verb("resume-api", "west")
            if run.process.poll():
                print(f"{step}: {failed(run.wait(), 'west').failure[:200]}")
            else:
                print(f"{step}: {'it waits' if run.process.poll() is None else 'it is done'}")
        assert run is not None
        if run.wait().rc:
            ended(stage.play("upgrade.yml", **settings))
        journals = [stage.journal(kube) for kube in KUBE_CLUSTERS]
        assert all(journal["generation"] > before and journal["state"] == "done" for journal in journals)


def test_a_second_controller_is_refused_while_the_first_one_works(stage: Stage) -> None:
    member = first_of(stage, "west")
    with writing(stage):
        run, go = held_up(stage, member)
        holder = stage.lease("east").spec.holder_identity
        before = stage.state()
        for playbook in ("upgrade.yml", "repair.yml"):
            # A repair says first that there is a rollout to finish; it too changes nothing.
            words = (re.escape(holder), f"hostnet_take_over={re.escape(holder)}") if playbook == "upgrade.yml" else (re.escape(holder),)
            second = failed(stage.play(playbook), *words)
            assert not second.changed, second.changed
        assert stage.state() == before
        go.touch()
        ended(run.wait())


def test_the_holder_of_the_lock_is_dead(stage: Stage) -> None:
    member = first_of(stage, "west")
    with writing(stage):
        run, go = held_up(stage, member)
        dead = stage.lease("east").spec.holder_identity
        run.kill(group=True)
        assert run.wait().killed
        go.touch()
        second = ended(reboot(stage, member))
        taken = [result.get("taken_over_from") for task in second.tasks for result in [task.result] if result.get("taken_over_from")]
        assert dead in json.dumps(taken), taken


def test_the_holder_of_the_lock_was_on_another_machine_and_is_known_to_be_dead(stage: Stage) -> None:
    member = first_of(stage, "west")
    with writing(stage):
        run, go = held_up(stage, member)
        dead = stage.lease("east").spec.holder_identity
        run.kill(group=True)
        run.wait()
        go.touch()
        for kube in KUBE_CLUSTERS:
            lease = stage.lease(kube)
            holder = {**json.loads(lease.metadata.annotations[leases.HOLDER_ANNOTATION]), "boot_id": "another", "host": "elsewhere"}
            body = {"metadata": {"annotations": {leases.HOLDER_ANNOTATION: json.dumps(holder)}}}
            client = kubernetes.client.CoordinationV1Api(stage.core(kube).api_client)
            client.patch_namespaced_lease(lease.metadata.name, stage.namespace, body)
        failed(reboot(stage, member), "elsewhere", f"hostnet_take_over={re.escape(dead)}")
        ended(reboot(stage, member, hostnet_take_over=dead))


# -- evictions, hooks, images ------------------------------------------------------------------------------------------------


def test_a_budget_never_allows_an_eviction(stage: Stage) -> None:
    member = first_of(stage, "east")
    kube, node = stage.members()[member]
    with stage.lab.namespace() as namespace, writing(stage):
        api = stage.core(kube).api_client
        labels = {"app": "stubborn"}
        container = {"name": "a", "image": stage.lab.image, "command": ["sleep", "86400"]}
        spec = {
            "nodeSelector": {"kubernetes.io/hostname": node},
            "hostNetwork": True,
            "terminationGracePeriodSeconds": 0,
            "containers": [container],
        }
        template = {"metadata": {"labels": labels}, "spec": spec}
        apps: Any = kubernetes.client.AppsV1Api(api)
        policy: Any = kubernetes.client.PolicyV1Api(api)
        apps.create_namespaced_deployment(
            namespace,
            {"metadata": {"name": "stubborn"}, "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}},
        )
        budget = {"metadata": {"name": "never"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": labels}}}
        policy.create_namespaced_pod_disruption_budget(namespace, budget)
        stage.until("the pod", lambda: (apps.read_namespaced_deployment("stubborn", namespace).status.ready_replicas or 0) == 1)
        stage.until("the budget", lambda: policy.read_namespaced_pod_disruption_budget("never", namespace).status.current_healthy == 1)
        failed(reboot(stage, member, hostnet_step_timeout_seconds=60), "stubborn-", "never")
        found = stage.core(kube).read_node(node)
        # The rollout is in flight: its cordon is gone, or says whose it is, and the next run takes it away.
        assert not found.spec.unschedulable or found.metadata.annotations[drain.CORDONED_BY_ANNOTATION] == CHOICE.name
        policy.delete_namespaced_pod_disruption_budget("never", namespace)
        ended(reboot(stage, member))


def test_the_hook_fails(stage: Stage) -> None:
    member = first_of(stage, "east")
    bad = hook(stage, "fails", {"name": "Fail", "ansible.builtin.fail": {"msg": "the cloud says no"}}, then_do_it=False)
    with writing(stage):
        failed(reboot(stage, member, hostnet_replace_tasks=bad), "the cloud says no")
        ended(reboot(stage, member))


def test_the_hook_hangs(stage: Stage) -> None:
    member = first_of(stage, "east")
    bad = hook(stage, "hangs", {"name": "Hang", "ansible.builtin.command": {"argv": ["sleep", "3600"]}}, then_do_it=False)
    with writing(stage):
        failed(reboot(stage, member, hostnet_replace_tasks=bad, hostnet_step_timeout_seconds=60), "(?i)timed? ?out|60")
        ended(reboot(stage, member))


def test_the_hook_brings_a_vm_into_the_wrong_zone(stage: Stage) -> None:
    member = first_of(stage, "east")
    kube, node = stage.members()[member]
    zones = {item.metadata.name: item.metadata.labels["topology.kubernetes.io/zone"] for item in stage.nodes(kube)}
    wrong = next(zone for zone in sorted(zones.values()) if zone != zones[node])
    bad = hook(
        stage,
        "wrong-zone",
        {"name": "Remove", "ansible.builtin.command": {"argv": [str(LAB), "remove-node", node]}},
        {"name": "Add", "ansible.builtin.command": {"argv": [str(LAB), "add-node", kube, "--zone", wrong, "--for", "wrong"]}},
        then_do_it=False,
    )
    settings: Json = {"hostnet_work": "replace", "hostnet_members": [member]}
    with writing(stage):
        failed(stage.play("upgrade.yml", **settings, hostnet_replace_tasks=bad), wrong, zones[node])
        known = set(zones)
        stray = next(item.metadata.name for item in stage.nodes(kube) if item.metadata.name not in known)
        stage.verb("remove-node", stray)
        stage.verb("add-node", kube, "--zone", zones[node])
        ended(stage.play("upgrade.yml", **settings))


def test_a_member_never_becomes_healthy_with_the_wrong_image(stage: Stage) -> None:
    members, good = sorted(stage.members()), stage.image
    settings = {"hostnet_work": "version", "hostnet_step_timeout_seconds": 60}
    with writing(stage):
        first = failed(stage.play("upgrade.yml", **settings, hostnet_image=stage.lab.image))
        journal = stage.journal("east")
        assert journal["done"] == [], "the rollout went on behind a member that is not well"
        assert journal["member"]["member"] in first.failure
        # The way back: the right image again.
        ended(stage.play("upgrade.yml", **settings, hostnet_image=good, hostnet_abort=True))
        ended(stage.play("deploy.yml"))
        assert sorted(stage.members()) == members


NOWHERE = "registry.invalid/none:1"


def running(stage: Stage) -> set[str]:
    """The members' pods, by UID."""
    selector = f"{names.DEPLOYMENT_LABEL}={stage.choice.name}"
    return {
        pod.metadata.uid
        for kube in KUBE_CLUSTERS
        for pod in stage.core(kube).list_namespaced_pod(stage.namespace, label_selector=selector).items
    }


def test_an_image_that_no_registry_gives_stops_nobody(stage: Stage) -> None:
    settings = {"hostnet_work": "version", "hostnet_step_timeout_seconds": 40}
    before = running(stage)
    with writing(stage, most_down=0):
        failed(
            stage.play("upgrade.yml", **settings, hostnet_image=NOWHERE), rf"image {NOWHERE} was not pulled within 40 s \(ErrImagePull: "
        )
        assert not {"gate", "restart"} & {entry["step"] for entry in stage.journal("east")["steps"]}
        assert running(stage) == before
        ended(stage.play("upgrade.yml", **settings, hostnet_abort=True))
        assert running(stage) == before


def test_a_new_vm_that_gets_no_image_costs_nobody_its_place(stage: Stage) -> None:
    member = first_of(stage, "east")
    settings = {"hostnet_work": "replace", "hostnet_members": [member], "hostnet_step_timeout_seconds": 120}
    with writing(stage):
        failed(stage.play("upgrade.yml", **settings, hostnet_image=NOWHERE), rf"node \S+: image {NOWHERE} was not pulled within 120 s")
        begun = {entry["step"] for entry in stage.journal("east")["steps"]}
        assert "identify" in begun
        assert not {"unlist", "forget", "certify", "admit"} & begun, "nobody was forgotten, and no list was changed"
        # The same VM is taken by the run that goes on; what the first one has made there goes.
        ended(stage.play("upgrade.yml", **settings))


# -- the end -------------------------------------------------------------------------------------------------------------------


def test_all_vms_of_east_are_replaced_at_once_and_the_majority_is_lost(deployed: tuple[Stage, str]) -> None:
    """The last one: nobody can mend this."""
    stage, _cluster_id = deployed
    members = {member: node for member, (kube, node) in stage.members().items() if kube == "east"}
    for node in members.values():
        stage.verb("replace-node", node)

    def settled() -> bool:
        """Nothing that the kube clusters do by themselves about VMs that are gone is still to come."""
        pods = stage.core("east").list_namespaced_pod(stage.namespace).items
        return not any(pod.spec.node_name in members.values() for pod in pods)

    stage.until("the pods of the VMs that are gone to be gone", settled, 600)
    before = stage.state()
    for playbook, variables in (("repair.yml", {}), ("upgrade.yml", {"hostnet_work": "reboot"})):
        refused = failed(
            stage.play(playbook, **variables), "majority is lost", "nothing is removed, wiped", "no such node any more", *members
        )
        assert not refused.changed, refused.changed
    assert stage.state() == before

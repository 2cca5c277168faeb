# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole playbooks on real API servers, whose kubelets and members are made up: pods are ready once they exist, and members say that all is well.

Requests of node_run and member_exec are therefore only those that verify the lock, member_inspect sends none, and deployment_observe none to members.
"""

from __future__ import annotations

import contextlib
import json
import threading
import urllib.error
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.hostnet.multicluster.plugins.modules import rollout_journal, rollout_lock

from .collection import CHECKOUT
from .in_process import perform
from .kube_api import KubeApi, create_node, delete_nodes
from .run import PlayRun, run_playbook

Json = dict[str, Any]
NAME, NAMESPACE = "locked", "hostnet-locked"
WORKERS = "!node-role.kubernetes.io/control-plane"
LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/{NAME}-rollout"

# At the end of the action plugins of modules that need a kubelet. Those that change something connect and verify the lock as they do.
PLUGIN = """\

import json, os, time
from pathlib import Path
from ansible_collections.hostnet.multicluster.plugins.module_utils._call import Failure
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import state
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.run import Outcome
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.settings_and_spec import settings_errors
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.systems import etcd
from ansible_collections.hostnet.multicluster.plugins.modules import {name}

def looked(nodes):
    said = "disk mounted=false mount=/ filesystem=ext4 id=fsid:1\\n"
    return [
        {{"kube_cluster": node["kube_cluster"], "node": node["name"], "rc": 0, "stdout": f"clock {{time.time():.0f}}\\n{{said}}", "stderr": ""}}
        for node in nodes
    ]

def node_run_run(call):
    call.clusters
    if os.environ.get("TEST_FAIL") == call.params["name"]:
        raise Failure("made to fail (test)")
    wait = os.environ.get("TEST_WAIT")
    if wait:
        Path(wait).write_text("")
        while Path(wait).exists():
            time.sleep(0.05)
    results = looked(call.params["nodes"])
    return {{"changed": call.params["changes"] and bool(results), "results": results, "pulled": [entry["image"] for entry in call.params["pull"]]}}

def told(members):
    # The same whoever is asked beside it.
    ids = {{member["member"]: 160 + 16 * (member["member"] > "f") + int(member["member"].rpartition("-")[2]) for member in members}}
    peers = [
        {{"ID": ids[member["member"]], "name": member["member"], "peerURLs": [f"https://{{member['variables']['address']}}:2380"]}}
        for member in members
    ]
    answers = {{}}
    for name, number in ids.items():
        header = {{"cluster_id": 99, "member_id": number, "revision": 5}}
        status = [{{"Status": {{"header": header, "version": "3.6.16", "leader": min(ids.values()), "raftAppliedIndex": 9}}}}]
        said = {{"status": status, "members": {{"members": peers}}}}
        answers[name] = {{key: {{"rc": 0, "stdout": json.dumps(body), "stderr": "", "error": ""}} for key, body in said.items()}}
        silent = name in os.environ.get("TEST_SILENT", "").split(",") or Path(os.environ.get("TEST_SILENT_WHILE", "/nowhere")).exists()
        if silent:
            answers[name] = {{key: {{"rc": None, "stdout": "", "stderr": "", "error": "it does not answer (test)"}} for key in said}}
    return etcd.inspection(answers, members)

def member_inspect_run(call):
    if os.environ.get("TEST_CLOSED", "no such text") in call.params["what"]:
        raise Failure(call.params["what"] + ": closed (test)")
    return {{"changed": False, "blocked": [], "lost": [], "inspection": told(call.params["members"]), "targets": call.params["members"]}}

def deployment_observe_run(call, facts):
    wrong = settings_errors(call.params["hostnet"], call.params["spec"]) if call.params["check_settings"] else []
    if wrong:
        raise Failure("; ".join(wrong))
    state.answers = state.ask = lambda _clusters, members, *_rest: told(members)
    state.run_on_nodes = lambda _clusters, nodes, *_rest: Outcome(looked([{{"kube_cluster": node.kube_cluster, "name": node.node}} for node in nodes]), [])
    # Those who are silent stay so: nobody waits for them.
    call.params["patience"] = 0
    return deployment_observe.observe(call, {{"filter": "", "interval": 0}} if call.params["ask"] else None, None, lambda _line: None, facts)

def member_exec_run(call):
    call.clusters
    done = {{"rc": 0, "stdout": "", "stderr": "", "error": ""}}
    return {{
        "changed": True,
        "results": {{member["member"]: dict.fromkeys(call.params["commands"], done) for member in call.params["members"]}},
    }}

"""
PERFORMED = "ActionModule.perform_run, ActionModule.shows = {name}_run, False\n"
# It brings its scripts to the nodes as node_run does.
OF_JOBS = """
from types import SimpleNamespace
node_run = SimpleNamespace(ARGUMENTS=node_run.ARGUMENTS, run=lambda call, _show: node_run_run(call))
"""


def made_up_collection(
    root: Path, made_up: Sequence[str] = ("node_run", "node_job", "member_inspect", "member_exec", "deployment_observe")
) -> None:
    """This checkout as a collection below `root`, but for the modules `made_up`, which need a kubelet."""
    collection = root / "ansible_collections" / "hostnet" / "multicluster"
    action = collection / "plugins" / "action"
    action.mkdir(parents=True)
    for part in ("roles", "meta", "galaxy.yml", "playbooks"):
        (collection / part).symlink_to(CHECKOUT / part)
    for path in (CHECKOUT / "plugins").iterdir():
        if path.name != "action":
            (collection / "plugins" / path.name).symlink_to(path)
    for path in (CHECKOUT / "plugins" / "action").glob("*.py"):
        if path.stem in made_up:
            after = OF_JOBS if path.stem == "node_job" else PERFORMED.format(name=path.stem)
            (action / path.name).write_text(path.read_text() + PLUGIN.format(name=path.stem) + after)
        else:
            (action / path.name).symlink_to(path)


class Kubelets(threading.Thread):
    """A ready pod for each replica of StatefulSets and Deployments of the namespaces, and none for those that are gone or have no replica.

    As with a scheduler no pod of a Deployment comes to a node that is cordoned or not there.
    """

    def __init__(self, kubes: list[KubeApi], namespaces: tuple[str, ...] = (NAMESPACE,)) -> None:
        super().__init__(daemon=True)
        self.kubes = kubes
        self.namespaces = namespaces
        self.ended = threading.Event()
        self.problem: BaseException | None = None

    def run(self) -> None:
        try:
            # Each look is a few connections with TLS to every API server: more often, and it takes the machine away from the playbooks.
            while not self.ended.wait(1):
                for kube in self.kubes:
                    for namespace in self.namespaces:
                        self.look(kube, namespace)
        except BaseException as error:
            self.problem = error
            raise

    def look(self, kube: KubeApi, namespace: str) -> None:
        apps = f"/apis/apps/v1/namespaces/{namespace}"
        sets = kube.request_json("GET", f"{apps}/statefulsets")["items"]
        guards = kube.request_json("GET", f"{apps}/deployments")["items"]
        items = kube.request_json("GET", f"/api/v1/namespaces/{namespace}/pods")["items"]
        pods = {item["metadata"]["name"] for item in items}
        # Processes that were told to end have ended; those of a workload come again at the next look.
        ending = {item["metadata"]["name"] for item in items if "deletionTimestamp" in item["metadata"]}
        for name in ending:
            kube.request_json("DELETE", f"/api/v1/namespaces/{namespace}/pods/{name}?gracePeriodSeconds=0")
        wanted = {f"{item['metadata']['name']}-0": item["spec"]["template"] for item in sets if item["spec"]["replicas"]}
        more = {
            f"{item['metadata']['name']}-{number}": item["spec"]["template"]
            for item in guards
            for number in range(item["spec"]["replicas"])
        }
        if set(more) - pods:
            nodes = kube.request_json("GET", "/api/v1/nodes")["items"]
            free = {node["metadata"]["name"] for node in nodes if not node["spec"].get("unschedulable")}
            more = {name: template for name, template in more.items() if name in pods or _pinned_to(template) in free}
        wanted |= more
        for name in pods - set(wanted) - ending:
            kube.request_json("DELETE", f"/api/v1/namespaces/{namespace}/pods/{name}?gracePeriodSeconds=0")
        for name in set(wanted) - pods:
            template = wanted[name]
            spec = {**template["spec"], "nodeName": _pinned_to(template)}
            # With annotations, as a controller makes it: they say what it was started with.
            metadata = {"name": name, **{key: template["metadata"].get(key, {}) for key in ("labels", "annotations")}}
            kube.request_json("POST", f"/api/v1/namespaces/{namespace}/pods", {"metadata": metadata, "spec": spec})
            container = {
                "name": spec["containers"][0]["name"],
                "image": "x",
                "imageID": "x",
                "ready": True,
                "restartCount": 0,
                "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
            }
            status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": [container]}
            path = f"/api/v1/namespaces/{namespace}/pods/{name}/status"
            kube.request_json("PATCH", path, {"status": status}, "application/merge-patch+json")


def _pinned_to(template: Json) -> str:
    """The node that a pod template is for."""
    terms = template["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    return str(terms[0]["matchFields"][0]["values"][0])


class World:
    def __init__(self, kubes: list[KubeApi], folder: Path) -> None:
        self.kubes = kubes
        self.folder = folder
        self.collections = folder / "collections"
        made_up_collection(self.collections)
        self.inventory = folder / "hosts.yml"
        self.inventory.write_text(yaml.safe_dump({"all": {"hosts": {"localhost": {"ansible_connection": "local"}}}}))

    def play(
        self,
        playbook: str = "deploy.yml",
        *,
        check: bool = False,
        environment: dict[str, str] | None = None,
        sources: Sequence[Path] = (),
        unset: Sequence[str] = (),
        **variables: Any,
    ) -> PlayRun:
        """With `sources` (inventory files of the plugin nodes, in this order) the kube clusters come from them alone; `unset` are not given."""
        given = {
            "hostnet_system": "etcd",
            "hostnet_name": NAME,
            "hostnet_pki_dir": str(self.folder / "pki"),
            **({} if sources else {"hostnet_kube_clusters": [kube.entry for kube in self.kubes]}),
            "hostnet_timeout_seconds": 20,
            "hostnet_node_selector": WORKERS,
            **variables,
        }
        given = {key: value for key, value in given.items() if key not in unset}
        arguments = [word for source in sources for word in ("-i", str(source))]
        extra = {"ANSIBLE_COLLECTIONS_PATH": str(self.collections), "PYTHONPATH": "", **(environment or {})}
        return run_playbook(playbook, self.inventory, check=check, variables=given, arguments=arguments, environment=extra)

    def deployed(self, **options: Any) -> PlayRun:
        run = self.play(**options)
        assert run.rc == 0, run.output
        return run

    def remove(self, **variables: Any) -> PlayRun:
        return self.play("remove.yml", hostnet_remove_name=NAME, hostnet_remove_data=True, **variables)

    def leases(self) -> list[tuple[str, int] | None]:
        """(holder, generation) in each kube cluster; None without a Lease."""
        found: list[tuple[str, int] | None] = []
        for kube in self.kubes:
            try:
                spec = kube.request_json("GET", LEASE)["spec"]
            except urllib.error.HTTPError as error:
                if error.code != 404:
                    raise
                found.append(None)
            else:
                found.append((spec["holderIdentity"], spec["leaseTransitions"]))
        return found

    def free(self) -> int:
        """The generation of the lock, which nobody holds and which is the same everywhere."""
        leases = self.leases()
        assert leases[0] is not None
        assert leases == [("", leases[0][1])] * len(self.kubes)
        return leases[0][1]

    def journal_of(self, kube: int) -> Json:
        """The journal as a kube cluster (0: east) has it."""
        found: Json = json.loads(
            self.kubes[kube].request_json("GET", f"/api/v1/namespaces/{NAMESPACE}/configmaps/{NAME}-rollout")["data"]["journal"]
        )
        return found

    def replicas(self, member: str = "east-0") -> int:
        kube = {kube.name: kube for kube in self.kubes}[member.partition("-")[0]]
        return int(kube.request_json("GET", f"/apis/apps/v1/namespaces/{NAMESPACE}/statefulsets/{NAME}-{member}")["spec"]["replicas"])

    def cordoned(self, node: str = "east-1", kube: int = 0) -> bool:
        return bool(self.kubes[kube].request_json("GET", f"/api/v1/nodes/{node}")["spec"].get("unschedulable"))

    def objects(self) -> list[str]:
        paths = ("/api/v1", "configmaps"), ("/api/v1", "secrets"), ("/apis/apps/v1", "statefulsets")
        found = []
        for kube in self.kubes:
            for group, kind in paths:
                items = kube.request_json("GET", f"{group}/namespaces/{NAMESPACE}/{kind}")["items"]
                found += [f"{kube.name} {kind} {item['metadata']['name']} {item['metadata']['resourceVersion']}" for item in items]
        return sorted(found)

    def journal(self, run_id: str, op: str, journal: Json, **options: Any) -> Json:
        """One call of rollout_journal by the holder `run_id`, with the lock that it has."""
        common = {"kube_clusters": [kube.entry for kube in self.kubes], "name": NAME, "namespace": NAMESPACE}
        lock = self.lock(run_id)["lock"]
        return perform(rollout_journal, {**common, "lock": lock, "op": op, "journal": journal, **options})

    def lock(self, run_id: str, state: str = "held") -> Json:
        return lock({"kube_clusters": [kube.entry for kube in self.kubes], "name": NAME, "namespace": NAMESPACE}, run_id, state=state)


def lock(deployment: Json, run_id: str, **options: Any) -> Json:
    """One call of rollout_lock for {kube_clusters, name, namespace}, by the run `run_id`."""
    result = perform(rollout_lock, {**deployment, "run_id": run_id, "what": "upgrade reboot", **options})
    assert not result.get("failed"), result
    return result


# Kube cluster, name and address of the nodes that `world` makes.
NODES = (("east", "east-1", "10.0.0.1"), ("east", "east-2", "10.0.0.12"), ("west", "west-1", "10.0.1.1"))


@contextlib.contextmanager
def world(kubes: list[KubeApi], folder: Path) -> Iterator[World]:
    """Three nodes with their kubelets, and no deployment; whatever is deployed there is removed at the end.

    The namespace of an earlier test is there, empty, as an API server without controllers keeps it.
    """
    for kube_cluster, name, address in NODES:
        create_node({kube.name: kube for kube in kubes}[kube_cluster], name, address=address)
    kubelets = Kubelets(kubes)
    kubelets.start()
    found = World(kubes, folder)
    try:
        yield found
    finally:
        removed = found.remove(hostnet_take_over=",".join({lease[0] for lease in found.leases() if lease}))
        kubelets.ended.set()
        kubelets.join()
    assert removed.rc == 0, removed.output
    assert kubelets.problem is None


@contextlib.contextmanager
def deployed_world(kubes: list[KubeApi], folder: Path) -> Iterator[World]:
    """`world` without the nodes of earlier tests, and with the deployment."""
    for kube in kubes:
        delete_nodes(kube)
    with world(kubes, folder) as found:
        found.deployed()
        yield found


def message(run: PlayRun) -> str:
    assert run.rc != 0, run.output
    return [str(task.result.get("msg", "")) for task in run.tasks if task.outcome == "failed"][-1]


def requests(run: PlayRun) -> int:
    return sum(int(task.result.get("requests", 0)) for task in run.tasks)

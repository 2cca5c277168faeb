# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every playbook against every broken precondition: whatever is broken, a user reads the collection's words, not Jinja's or Python's.

Real API servers, whose kubelets and members are made up. Each commit tries some of the table; make soak tries all of it.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import time
import urllib.error
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.client import FIELD_MANAGER
from support.commit import parameters
from support.kube_api import KubeApi, create_node, delete_nodes
from support.made_up import NAME, NAMESPACE, Kubelets, World

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

Json = dict[str, Any]
Break = Callable[[World], Json | None]

MERGE = "application/merge-patch+json"
CORE = f"/api/v1/namespaces/{NAMESPACE}"
TYPES = {
    f"{CORE}/configmaps": ("v1", "ConfigMap"),
    f"{CORE}/secrets": ("v1", "Secret"),
    f"/apis/apps/v1/namespaces/{NAMESPACE}/statefulsets": ("apps/v1", "StatefulSet"),
    f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases": ("coordination.k8s.io/v1", "Lease"),
    f"/apis/policy/v1/namespaces/{NAMESPACE}/poddisruptionbudgets": ("policy/v1", "PodDisruptionBudget"),
}
KINDS = tuple(TYPES)
NODES = (
    ("east", "east-1", "10.0.0.1"),
    ("east", "east-2", "10.0.0.12"),
    ("east", "east-3", "10.0.0.13"),
    ("west", "west-1", "10.0.1.1"),
    ("west", "west-2", "10.0.1.12"),
)
# What Jinja, Ansible's wrapping of it and Python say, and nobody who runs a database does.
FOREIGN = re.compile(
    r"traceback|jinja|template|templating|finalization of|error while|filter plugin|test plugin|conditional|has no attribute|object of type|"
    r"is undefined|no first item|nonetype|not iterable|out of range|invalid literal|expecting (?:value|property)|unhashable|<class|"
    r"positional argument|could not convert|dict2items|set_fact|unsupported operand|unexpected failure",
    re.IGNORECASE,
)
FOREIGN_CASED = re.compile(r"\bNone\b|\bTrue\b|\bFalse\b|\b[A-Z]\w*Error\b")

# Playbooks with what they need; where something may be left to do, only the plan is looked at.
PLAYBOOKS: dict[str, tuple[Json, bool]] = {
    "status.yml": ({}, False),
    "deploy.yml": ({}, False),
    "upgrade.yml": ({"hostnet_work": "reboot"}, True),
    "repair.yml": ({"hostnet_step_timeout_seconds": 20}, False),
    "scale_down.yml": ({"hostnet_members": ["east-0"]}, True),
    "adopt.yml": ({"hostnet_adopt_name": NAME, "hostnet_adopt_cluster_id": "63"}, False),
    "forget_kube_cluster.yml": ({"hostnet_lost_kube_cluster": "west"}, True),
    "remove.yml": ({"hostnet_remove_name": NAME, "hostnet_remove_data": True}, True),
}


# -- what is broken ------------------------------------------------------------------------------------------------


def said(**variables: Any) -> Break:
    return lambda _world: variables


def kube_clusters(**changes: Any) -> Break:
    """`west` is reached in another way."""
    return lambda world: {"hostnet_kube_clusters": [world.kubes[0].entry, {**world.kubes[1].entry, **changes}]}


def config_map(suffix: str, where: tuple[int, ...], change: Callable[[Json], None] | None = None) -> Break:
    """`<name>-<suffix>` is deleted, or made anew with other data."""

    def broken(world: World) -> None:
        for index in where:
            kube, path = world.kubes[index], f"{CORE}/configmaps/{NAME}-{suffix}"
            live = kube.request_json("GET", path)
            kube.request_json("DELETE", path)
            if change:
                data = dict(live["data"])
                change(data)
                metadata = {key: live["metadata"].get(key) for key in ("name", "labels", "annotations")}
                kube.request_json("POST", f"{CORE}/configmaps?fieldManager={FIELD_MANAGER}", {"metadata": metadata, "data": data})

    return broken


def first_value(text: str) -> Callable[[Json], None]:
    return lambda data: data.update({sorted(key for key in data if "-" in key)[0]: text})


def binding_with(**changes: Any) -> Callable[[Json], None]:
    """The first binding with other values; None takes one away."""

    def change(data: Json) -> None:
        key = sorted(key for key in data if "-" in key)[0]
        merged = {**json.loads(data[key]), **changes}
        data[key] = json.dumps({name: value for name, value in merged.items() if value is not None})

    return change


JOURNAL: Json = {
    "schema": 1,
    "generation": 7,
    "sequence": 3,
    "run_id": "somebody",
    "state": "in_flight",
    "work": "reboot",
    "settings": {"work": "reboot", "surge": False, "image": ""},
    "done": [],
    "steps": [],
}
IN_HAND: Json = {"member": "east-0", "class": "ok", "work": "reboot", "surge": False, "steps": ["gate", "stop"]}


def journal(text: str) -> Break:
    def broken(world: World) -> None:
        for kube in world.kubes:
            metadata = {"name": f"{NAME}-rollout", "labels": {"hostnet.multicluster/deployment": NAME}}
            with contextlib.suppress(urllib.error.HTTPError):
                kube.request_json("DELETE", f"{CORE}/configmaps/{NAME}-rollout")
            kube.request_json("POST", f"{CORE}/configmaps?fieldManager={FIELD_MANAGER}", {"metadata": metadata, "data": {"journal": text}})

    return broken


def everything(*where: int) -> Break:
    def broken(world: World) -> None:
        for index in where:
            for path in KINDS:
                world.kubes[index].request_json("DELETE", path)

    return broken


def every(kind: int) -> Break:
    def broken(world: World) -> None:
        for kube in world.kubes:
            kube.request_json("DELETE", KINDS[kind])

    return broken


def lease(**spec: Any) -> Break:
    def broken(world: World) -> None:
        path = f"{KINDS[3]}/{NAME}-rollout"
        for kube in world.kubes:
            kube.request_json("PATCH", path, {"spec": spec}, MERGE)

    return broken


def node(name: str, body: Json, part: str = "") -> Break:
    def broken(world: World) -> None:
        world.kubes[0].request_json("PATCH", f"/api/v1/nodes/{name}{part}", body, MERGE)

    return broken


def gone_nodes(*names: str) -> Break:
    def broken(world: World) -> None:
        for name in names:
            world.kubes[0].request_json("DELETE", f"/api/v1/nodes/{name}")

    return broken


def pki(change: Callable[[Path], object]) -> Break:
    def broken(world: World) -> None:
        change(world.folder / "pki")

    return broken


def silent(*members: str) -> Break:
    return lambda _world: {"TEST_SILENT": ",".join(members)}


BROKEN: dict[str, Break] = {
    "nothing": said(),
    # What somebody wrote.
    "kube clusters as text": said(hostnet_kube_clusters="east,west"),
    "no kube cluster": said(hostnet_kube_clusters=[]),
    "a kube cluster without a name": kube_clusters(name=None),
    "an unknown key of a kube cluster": kube_clusters(kontext="west"),
    "a kubeconfig that is not there": kube_clusters(kubeconfig="/nowhere/config"),
    "a context that is not there": kube_clusters(context="occident"),
    "an API server that does not answer": kube_clusters(kubeconfig=None, context=None, host="https://127.0.0.1:1"),
    "a part of the kube clusters": lambda world: {"hostnet_kube_clusters": [world.kubes[0].entry]},
    "kube clusters swapped": lambda world: {
        "hostnet_kube_clusters": [{**world.kubes[1].entry, "name": "east"}, {**world.kubes[0].entry, "name": "west"}]
    },
    "a timeout that is a word": said(hostnet_timeout_seconds="soon"),
    "a timeout below zero": said(hostnet_timeout_seconds=-5),
    "another data root": said(hostnet_data_root="/srv/other"),
    "a data root of the system": said(hostnet_data_root="/etc"),
    "an unknown system": said(hostnet_system="oracle"),
    "another system": said(hostnet_system="nats"),
    "an unknown placement": said(hostnet_placement="anywhere"),
    "clients as text": said(hostnet_clients="reader"),
    "members as a mapping": said(hostnet_members={"east-0": True}),
    "tolerations as text": said(hostnet_tolerations="all"),
    "resources as text": said(hostnet_resources="small"),
    "a selector that is none": said(hostnet_node_selector="a in (b"),
    "a selector that finds nothing": said(hostnet_node_selector="example.test/none=true"),
    "a name with capitals": said(hostnet_name="Ledger"),
    "a variable of nothing": said(hostnet_image=None, hostnet_data_root=None, hostnet_clients=None),
    "a pki folder of a number": said(hostnet_pki_dir=7),
    # What somebody did to the kube clusters.
    "the claim is gone in west": config_map("identity", (1,)),
    "the claim is gone": config_map("identity", (0, 1)),
    "the claims differ": config_map("identity", (1,), lambda data: data.update(token="another")),
    "a claim with other kube clusters": config_map("identity", (0, 1), lambda data: data.update(kube_clusters="east")),
    "a claim without a token": config_map("identity", (0, 1), lambda data: data.pop("token")),
    "a claim without anything": config_map("identity", (0, 1), lambda data: data.clear()),
    "the cluster id is gone in west": config_map("cluster-id", (1,)),
    "the cluster id is gone": config_map("cluster-id", (0, 1)),
    "a cluster id without anything": config_map("cluster-id", (0, 1), lambda data: data.clear()),
    "the bindings are gone in west": config_map("members", (1,)),
    "the bindings are gone": config_map("members", (0, 1)),
    "bindings without anything": config_map("members", (0, 1), lambda data: data.clear()),
    "a binding that is no JSON": config_map("members", (0, 1), first_value("{")),
    "a binding that is a list": config_map("members", (0,), first_value("[]")),
    "a binding without an address": config_map("members", (0, 1), binding_with(address=None)),
    "a binding with an address of text": config_map("members", (0, 1), binding_with(address="here")),
    "a binding with an ordinal of text": config_map("members", (0, 1), binding_with(ordinal="first")),
    "a binding of another member": config_map("members", (0, 1), binding_with(member="east-9")),
    "ordinals that are no JSON": config_map("members", (0, 1), lambda data: data.update(ordinals="{")),
    "the join list is gone": config_map("join", (0, 1)),
    "a join list of nonsense": config_map("join", (0, 1), lambda data: data.update(seeds=",,here")),
    "a journal that is no JSON": journal("{"),
    "a journal of a list": journal("[1, 2]"),
    "a journal without anything": journal("{}"),
    "a journal of a member that nobody knows": journal(json.dumps({**JOURNAL, "member": {**IN_HAND, "member": "north-7"}})),
    "a journal whose member has no old binding": journal(json.dumps({**JOURNAL, "member": IN_HAND})),
    "a journal with members of text": journal(json.dumps({**JOURNAL, "member": "east-0"})),
    "a journal with settings of text": journal(json.dumps({**JOURNAL, "settings": "reboot"})),
    "a journal with steps of text": journal(json.dumps({**JOURNAL, "steps": ["stop"]})),
    "a journal in no state": journal(json.dumps({**JOURNAL, "state": "paused"})),
    "all objects of west are gone": everything(1),
    "all objects are gone": everything(0, 1),
    "the workloads are gone": every(2),
    "the Secrets are gone": every(1),
    "the lock is gone": every(3),
    "the lock is somebody else's": lease(holderIdentity="somebody", leaseDurationSeconds=3600, renewTime="2100-01-01T00:00:00.000000Z"),
    "a lock without a time": lease(holderIdentity="somebody", renewTime=None, acquireTime=None, leaseDurationSeconds=None),
    # What clouds do.
    "a node is gone": gone_nodes("east-1"),
    "all nodes of east are gone": gone_nodes("east-1", "east-2", "east-3"),
    "a node without an address": node("east-1", {"status": {"addresses": []}}, "/status"),
    "a node that is not Ready": node("east-1", {"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}, "/status"),
    "a node without conditions": node("east-1", {"status": {"conditions": None}}, "/status"),
    "a node without its label": node("east-1", {"metadata": {"labels": {f"hostnet.multicluster/{NAME}": None}}}),
    "a node with the label of another member": node("east-1", {"metadata": {"labels": {f"hostnet.multicluster/{NAME}": "west-0"}}}),
    "a node with the address of another": node("east-1", {"status": {"addresses": [{"type": "InternalIP", "address": "10.0.1.1"}]}}, "/status"),
    # What members do.
    "a member does not answer": silent("east-0"),
    "the majority does not answer": silent("east-0", "east-1", "west-0"),
    "nobody answers": silent("east-0", "east-1", "east-2", "west-0", "west-1"),
    # What is done to the controller.
    "the pki folder is gone": pki(shutil.rmtree),
    "the CA's key is gone": pki(lambda path: (path / "ca.key").unlink()),
    "the CA is a text": pki(lambda path: (path / "ca.crt").write_text("none")),
    "the pki folder is a file": pki(lambda path: (shutil.rmtree(path), path.write_text("none"))),
}  # fmt: skip


# -- and put right again -------------------------------------------------------------------------------------------


class Kept:
    """What the deployment was when all was well: brought back after each run that changed something."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.pki = world.folder / "pki"
        self.copy = world.folder / "pki-copy"
        shutil.copytree(self.pki, self.copy)
        self.files = self.seen_files()
        self.objects = {
            (kube.name, path, item["metadata"]["name"]): item for kube in world.kubes for path in KINDS for item in self.items(kube, path)
        }
        self.nodes = {item["metadata"]["name"]: item for kube in world.kubes for item in self.items(kube, "/api/v1/nodes")}

    def items(self, kube: KubeApi, path: str) -> list[Json]:
        return list(kube.request_json("GET", path)["items"])

    def seen_files(self) -> dict[str, bytes]:
        files = [path for path in self.pki.rglob("*") if path.is_file() and path.name != ".lock"]
        return {str(path.relative_to(self.pki)): path.read_bytes() for path in files}

    def restore(self) -> None:
        if not self.pki.is_dir() or self.seen_files() != self.files:
            if self.pki.is_dir():
                shutil.rmtree(self.pki)
            else:
                self.pki.unlink(missing_ok=True)
            shutil.copytree(self.copy, self.pki)
        for kube in self.world.kubes:
            self.restore_nodes(kube)
        for kube in self.world.kubes:
            for path in KINDS:
                live = {item["metadata"]["name"]: item for item in self.items(kube, path)}
                wanted = {key[2]: item for key, item in self.objects.items() if key[:2] == (kube.name, path)}
                for name in sorted({*live, *wanted}):
                    self.restore_object(kube, path, name, live.get(name), wanted.get(name))
        self.wait_for_pods()

    def restore_object(self, kube: KubeApi, path: str, name: str, live: Json | None, wanted: Json | None) -> None:
        if live and wanted and live["metadata"]["resourceVersion"] == wanted["metadata"]["resourceVersion"]:
            return
        if live:
            kube.request_json("DELETE", f"{path}/{name}?propagationPolicy=Background")
        if wanted:
            metadata = {key: value for key, value in wanted["metadata"].items() if key in ("name", "labels", "annotations")}
            api_version, kind = TYPES[path]
            parts = {key: value for key, value in wanted.items() if key != "status"}
            body = {**parts, "apiVersion": api_version, "kind": kind, "metadata": metadata}
            # Ours, as it was: what somebody else has made is left alone.
            ours = f"{path}/{name}?fieldManager={FIELD_MANAGER}&force=true"
            self.objects[kube.name, path, name] = kube.request_json("PATCH", ours, body, "application/apply-patch+yaml")

    def restore_nodes(self, kube: KubeApi) -> None:
        live = {item["metadata"]["name"]: item for item in self.items(kube, "/api/v1/nodes")}
        for kube_cluster, name, address in NODES:
            if kube_cluster != kube.name:
                continue
            wanted, found = self.nodes[name], live.get(name)
            if found and all(found[part] == wanted[part] for part in ("spec", "status")) and labels(found) == labels(wanted):
                continue
            if found:
                kube.request_json("DELETE", f"/api/v1/nodes/{name}")
            create_node(kube, name, address=address)
            kube.request_json("PATCH", f"/api/v1/nodes/{name}", {"metadata": labels(wanted)}, MERGE)
            self.nodes[name] = kube.request_json("GET", f"/api/v1/nodes/{name}")
            # The Node object is a new one, and the bindings were made for the old one.
            old, new = wanted["metadata"]["uid"], self.nodes[name]["metadata"]["uid"]
            for key, item in self.objects.items():
                if old in json.dumps(item):
                    self.objects[key] = json.loads(json.dumps(item).replace(old, new))
                    self.objects[key]["metadata"]["resourceVersion"] = ""

    def wait_for_pods(self) -> None:
        deadline = time.monotonic() + 120
        for kube in self.world.kubes:
            names = {f"{key[2]}-0" for key in self.objects if key[0] == kube.name and key[1].endswith("/statefulsets")}
            while names - {item["metadata"]["name"] for item in self.items(kube, f"{CORE}/pods") if item["status"].get("conditions")}:
                assert time.monotonic() < deadline, f"no pods {names} in {kube.name} within 120 s"
                time.sleep(0.1)


def labels(item: Json) -> Json:
    return {key: item["metadata"].get(key) for key in ("labels", "annotations")}


@pytest.fixture(scope="module")
def kept(kube_api: KubeApi, kube_api_two: KubeApi, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    kubes = {"east": kube_api, "west": kube_api_two}
    for kube in kubes.values():
        delete_nodes(kube)
    for kube_cluster, name, address in NODES:
        create_node(kubes[kube_cluster], name, address=address)
    kubelets = Kubelets(list(kubes.values()))
    kubelets.start()
    world = World(list(kubes.values()), tmp_path_factory.mktemp("broken"))
    world.deployed()
    found = Kept(world)
    yield found
    found.restore()
    removed = world.remove()
    kubelets.ended.set()
    kubelets.join()
    assert removed.rc == 0, removed.output
    assert kubelets.problem is None


@pytest.mark.parametrize(("playbook", "what"), parameters([(playbook, what) for what in BROKEN for playbook in PLAYBOOKS], 8))
def test_what_a_user_reads(kept: Kept, playbook: str, what: str) -> None:
    variables, check = PLAYBOOKS[playbook]
    given = {**variables}
    if playbook == "forget_kube_cluster.yml":
        given["hostnet_kube_clusters"] = [kept.world.kubes[0].entry]
    try:
        given |= BROKEN[what](kept.world) or {}
        silent_members = given.pop("TEST_SILENT", "")
        run = kept.world.play(playbook, check=check, environment={"TEST_SILENT": silent_members}, **given)
    finally:
        kept.restore()
    shown = "\n".join(str(task.result.get("msg", "")) for task in run.tasks if task.outcome == "failed") if run.tasks else run.output
    wrong = {found.group(0) for pattern in (FOREIGN, FOREIGN_CASED) for found in pattern.finditer(shown)}
    assert not wrong, shown
    if run.rc:
        assert shown.strip(), run.output
        # The plan is the plan's words; a report comes after them only where there is something to report.
        assert "[ERROR]: Unexpected" not in run.output, run.output
    else:
        assert "failed=0" in run.output

# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a real API server takes, against what _plan/sizes.py says of it, and what a deploy does about it."""

from __future__ import annotations

import base64
import copy
import urllib.error
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import placement, sizes
from support import made_up, plans
from support.in_process import call_module
from support.kube_api import KubeApi, create_node, delete_nodes
from support.run import PlayRun

Json = dict[str, Any]


MERGE = "application/merge-patch+json"
OUT = {"key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown", "effect": "NoExecute"}


def visited(run: PlayRun) -> set[str]:
    """The nodes on which a run has started pods: made-up kubelets answer for each that node_run was given."""
    return {
        str(one["node"])
        for task in run.tasks
        for one in task.result.get("results", [])
        if isinstance(one, dict) and "stdout" in one and "node" in one
    }


def created(kube: KubeApi, namespace: str, definition: Json) -> str:
    """What the API server says against this object; "" where it takes it."""
    kind = {"ConfigMap": "api/v1", "Secret": "api/v1", "DaemonSet": "apis/apps/v1"}[definition["kind"]]
    try:
        kube.request_json("POST", f"/{kind}/namespaces/{namespace}/{definition['kind'].lower()}s", definition)
    except urllib.error.HTTPError as error:
        return error.read().decode()
    return ""


def sized(kind: str, namespace: str, size: int) -> Json:
    """An object whose data is this long; two bytes are one character in a part of it."""
    text = "é" * 1000 + "x" * (size - 2000)
    values = base64.b64encode(text.encode()).decode() if kind == "Secret" else text
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": f"sized-{size}", "namespace": namespace}, "data": {"key": values}}


@pytest.mark.parametrize("kind", ["ConfigMap", "Secret"])
def test_data_of_the_largest_size(kube_api: KubeApi, namespace: str, kind: str) -> None:
    most = sized(kind, namespace, sizes.DATA_BYTES)
    assert sizes.data_bytes(most) == sizes.DATA_BYTES
    assert sizes.too_large("east", most, (), "") == ""
    assert created(kube_api, namespace, most) == ""
    more = sized(kind, namespace, sizes.DATA_BYTES + 1)
    assert f"Kubernetes takes {sizes.DATA_BYTES}" in sizes.too_large("east", more, (), "")
    assert str(sizes.DATA_BYTES) in created(kube_api, namespace, more)


def test_the_module_sends_nothing_that_would_be_refused(kube_api: KubeApi, namespace: str) -> None:
    small = sized("ConfigMap", namespace, 3000)
    large = sized("Secret", namespace, sizes.DATA_BYTES + 1)
    objects = [{"kube_cluster": kube_api.name, "definition": one} for one in (small, large)]
    result = call_module("manifests", {"kube_clusters": [kube_api.entry], "objects": objects})
    assert result["failed"]
    assert f"Secret {namespace}/{large['metadata']['name']}" in result["msg"]
    assert f"its data is {sizes.DATA_BYTES + 1} bytes long, and Kubernetes takes {sizes.DATA_BYTES}" in result["msg"]
    assert kube_api.request_json("GET", f"/api/v1/namespaces/{namespace}/configmaps")["items"] == []


def daemon_set(count: int, namespace: str) -> tuple[Json, list[Json]]:
    """The DaemonSet of so many hosts in one kube cluster, and the Secrets, without their contents."""
    hostnet = plans.settings(["east"], placement="daemonset", system="nats", namespace=namespace)
    spec = plans.spec_of("nats")
    (first, *_others) = plans.admitted(hostnet, spec, plans.five_nodes()[:3])
    bindings = [
        {
            **first,
            "member": f"east-{number}",
            "ordinal": number,
            "node": f"vm-{number}",
            "address": f"10.{number // 60000}.{number // 250 % 240}.{number % 250 + 1}",
        }
        for number in range(count)
    ]
    issued = [
        {
            "name": entry["member"],
            "file": "server",
            "certificate": "",
            "private_key": "",
            "serial": "1f",
            "not_after": "2027-01-01T00:00:00Z",
        }
        for entry in bindings
    ]
    objects = placement.render_objects(hostnet, spec, plans.identity([]), bindings, [first["address"]], "existing", issued)
    (workload,) = [entry["definition"] for entry in objects if entry["definition"]["kind"] == "DaemonSet"]
    return workload, [entry["definition"] for entry in objects if entry["definition"]["kind"] == "Secret"]


def test_the_largest_daemonset(kube_api: KubeApi, namespace: str) -> None:
    taken, _secrets = daemon_set(3, namespace)
    (container,) = taken["spec"]["template"]["spec"]["containers"]
    refused = copy.deepcopy(taken)
    refused["metadata"]["name"] = "refused"
    # One long value instead of many hosts, which the API server would compare with each other for a minute.
    container["env"].append({"name": "LONG", "value": "x" * (sizes.OBJECT_BYTES - 40_000)})
    refused["spec"]["template"]["spec"]["containers"][0]["env"].append({"name": "LONG", "value": "x" * sizes.OBJECT_BYTES})
    assert sizes.too_large("east", taken, (), "") == ""
    assert created(kube_api, namespace, taken) == ""
    assert f"etcd takes {sizes.OBJECT_BYTES}" in sizes.too_large("east", refused, (), "")
    assert "too large" in created(kube_api, namespace, refused)


def test_a_daemonset_of_version_0_2_0_becomes_one_with_several_secrets(kube_api: KubeApi, namespace: str) -> None:
    now, _secrets = daemon_set(130, namespace)
    (volume,) = [one for one in now["spec"]["template"]["spec"]["volumes"] if one["name"] == "certificates"]
    sources = volume["projected"]["sources"]
    assert [source["secret"]["name"] for source in sources] == ["ledger", "ledger-certificates-1", "ledger-certificates-2"]
    before, _secrets = daemon_set(3, namespace)
    (old,) = [one for one in before["spec"]["template"]["spec"]["volumes"] if one["name"] == "certificates"]
    items = old.pop("projected")["sources"][0]["secret"]["items"]
    old["secret"] = {"secretName": "ledger", "defaultMode": 0o440, "items": items}
    for definition, action in ((before, "created"), (now, "changed"), (now, "unchanged")):
        objects = [{"kube_cluster": kube_api.name, "definition": definition}]
        result = call_module("manifests", {"kube_clusters": [kube_api.entry], "objects": objects})
        assert not result.get("failed"), result
        assert [entry["action"] for entry in result["objects"]] == [action]
    live = kube_api.request_json("GET", f"/apis/apps/v1/namespaces/{namespace}/daemonsets/ledger")
    assert [one for one in live["spec"]["template"]["spec"]["volumes"] if one["name"] == "certificates"] == [volume]
    assert live["spec"]["updateStrategy"]["type"] == "OnDelete"


def test_a_deploy_whose_bindings_would_not_fit_changes_nothing(kube_api: KubeApi, kube_api_two: KubeApi, tmp_path: Path) -> None:
    kubes = {kube.name: kube for kube in (kube_api, kube_api_two)}
    for kube in kubes.values():
        delete_nodes(kube)
    for kube_cluster, name, address in made_up.NODES:
        # Three nodes stand for many: their ids alone are more than one ConfigMap holds.
        create_node(kubes[kube_cluster], name, address=address, provider_id="made-up://" + "x" * 400_000)
    world = made_up.World(list(kubes.values()), tmp_path)
    said = made_up.message(world.play())
    assert f"ConfigMap {made_up.NAMESPACE}/{made_up.NAME}-members would hold 12" in said
    assert f"Kubernetes takes {sizes.DATA_BYTES}: 3 members are more than it has room for" in said
    for kube in kubes.values():
        namespaces = {item["metadata"]["name"] for item in kube.request_json("GET", "/api/v1/namespaces")["items"]}
        assert made_up.NAMESPACE not in namespaces or not world.objects()
        delete_nodes(kube)


def test_pods_start_only_on_nodes_that_get_a_member_or_hold_one(kube_api: KubeApi, kube_api_two: KubeApi, tmp_path: Path) -> None:
    """Nodes of every task that starts pods, for a first deploy, one again, growth and removal, beside nodes that get no member."""
    kubes = {kube.name: kube for kube in (kube_api, kube_api_two)}
    for number, kube in enumerate(kubes.values()):
        delete_nodes(kube)
        control = "node-role.kubernetes.io/control-plane"
        create_node(kube, f"{kube.name}-control", address=f"10.9.{number}.1", labels={control: ""})
        create_node(kube, f"{kube.name}-other", address=f"10.9.{number}.2", labels={"pool": "web"})
        # Of another deployment, and one of which this one has nothing but a label that nobody took away.
        create_node(kube, f"{kube.name}-theirs", address=f"10.9.{number}.3", labels={"hostnet.multicluster/other": "east-7"})
        create_node(kube, f"{kube.name}-out", address=f"10.9.{number}.4", labels={"pool": "db"}, taints=[OUT])
    with made_up.world(list(kubes.values()), tmp_path) as world:
        for kube_cluster, name, _address in made_up.NODES:
            kubes[kube_cluster].request_json("PATCH", f"/api/v1/nodes/{name}", {"metadata": {"labels": {"pool": "db"}}}, MERGE)
        mine = {name for _kube_cluster, name, _address in made_up.NODES}
        chosen = {"hostnet_node_selector": "pool=db"}
        assert visited(world.deployed(**chosen)) == mine
        assert visited(world.deployed(**chosen)) == set()
        create_node(kubes["west"], "west-2", address="10.0.1.2", labels={"pool": "db"})
        assert visited(world.deployed(**chosen)) == {"west-2"}
        # Who removes need not say which nodes carry members: those that do are known.
        removed = world.play("remove.yml", hostnet_remove_name=made_up.NAME, hostnet_remove_data=True, unset=["hostnet_node_selector"])
        assert removed.rc == 0, removed.output
        assert visited(removed) == {*mine, "west-2"}

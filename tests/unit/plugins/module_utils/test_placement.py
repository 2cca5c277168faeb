# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The objects of a deployment: both placements, every system of the collection, IPv4 and IPv6."""

from __future__ import annotations

import base64
import copy
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import (
    certificate_secrets,
    member_certificates,
    names,
    namespace,
    placement,
    settings_and_spec,
)
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import pod as pod_plan
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import workloads as workloads_plan
from support import plans
from support.plans import Json

IDENTITY = {"token": plans.TOKEN, "ca_fingerprint": plans.FINGERPRINT}
PLACEHOLDER = re.compile(r"\{[a-z_]+(\[[^\]]*\])?\}")
CASES = [
    pytest.param(system, placed, family, id=f"{system}-{placed}-{family}")
    for system in plans.SYSTEMS
    for placed in settings_and_spec.PLACEMENTS
    for family in ("IPv4", "IPv6")
]


def nodes_of(family: str) -> list[Json]:
    nodes = plans.five_nodes()
    if family == "IPv6":
        for number, node in enumerate(nodes):
            node["address"] = f"fd00::{number + 1}"
    return nodes


def issued(hostnet: Json, spec: Json, bindings: Sequence[Json]) -> list[Json]:
    """What host_certificates would return."""
    return [
        {
            "name": entry["name"],
            "file": entry["file"],
            "certificate": f"/pki/ledger/{entry['name']}/{entry['file']}.crt",
            "private_key": f"/pki/ledger/{entry['name']}/{entry['file']}.key",
            "serial": "1f",
            "not_after": "2027-11-22T12:00:00Z",
        }
        for entry in member_certificates.wanted_certificates(hostnet, spec, bindings)
    ]


def rendered(
    system: str = "etcd",
    placed: str = "node_name",
    family: str = "IPv4",
    seeds: Sequence[str] = (),
    spec: Json | None = None,
    nodes: list[Json] | None = None,
    **changes: Any,
) -> tuple[Json, Json, list[Json], list[Json]]:
    """Settings, spec, bindings and objects."""
    spec = spec or plans.spec_of(system)
    hostnet = plans.settings(system=system, placement=placed, **changes)
    bindings = plans.admitted(hostnet, spec, nodes_of(family) if nodes is None else nodes)
    seeds = seeds or [binding["address"] for binding in bindings]
    objects = placement.render_objects(hostnet, spec, IDENTITY, bindings, seeds, "new", issued(hostnet, spec, bindings))
    return hostnet, spec, bindings, objects


def of_kind(objects: Sequence[Json], *kinds: str) -> list[Json]:
    return [entry["definition"] for entry in objects if entry["definition"]["kind"] in kinds]


def workloads(objects: Sequence[Json]) -> list[Json]:
    return of_kind(objects, "StatefulSet", "DaemonSet")


def pods(objects: Sequence[Json]) -> list[Json]:
    return [workload["spec"]["template"]["spec"] for workload in workloads(objects)]


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)


@pytest.mark.parametrize(("system", "placed", "family"), CASES)
def test_no_placeholder_is_left(system: str, placed: str, family: str) -> None:
    _hostnet, _spec, _bindings, objects = rendered(system, placed, family)
    for pod in pods(objects):
        for text in texts(pod):
            assert not PLACEHOLDER.search(text), text
            assert "{{" not in text
    for config_map in of_kind(objects, "ConfigMap"):
        if config_map["metadata"]["name"] in ("ledger-config", "ledger-join"):
            for text in config_map["data"].values():
                assert not PLACEHOLDER.search(text), text


@pytest.mark.parametrize(("system", "placed", "family"), CASES)
def test_pods_are_hardened(system: str, placed: str, family: str) -> None:
    _hostnet, spec, _bindings, objects = rendered(system, placed, family)
    assert pods(objects)
    for pod in pods(objects):
        assert pod["hostNetwork"] is True
        assert pod["dnsPolicy"] == "ClusterFirstWithHostNet"
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        assert pod["terminationGracePeriodSeconds"] == spec["grace_seconds"] >= 30
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["runAsGroup"] == spec["user"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostPID", "hostIPC", "serviceAccountName", "nodeName", "initContainers"} & set(pod)
        (container,) = pod["containers"]
        security = container["securityContext"]
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert security["readOnlyRootFilesystem"] is True
        assert security["allowPrivilegeEscalation"] is False
        assert "privileged" not in security
        assert container["resources"] == {} or "limits" in container["resources"]
        hosts = [volume["hostPath"] for volume in pod["volumes"] if "hostPath" in volume]
        assert len(hosts) == 1
        for mount in container["volumeMounts"]:
            assert mount["name"] in {volume["name"] for volume in pod["volumes"]}
            assert "subPath" not in mount, "a subPath would never be refreshed"
            assert mount.get("readOnly") is True or mount["name"] == "data" or mount["name"].startswith("scratch-")


@pytest.mark.parametrize(("system", "placed", "family"), CASES)
def test_invariant_8_a_pod_starts_only_where_admission_made_its_folder(system: str, placed: str, family: str) -> None:
    _hostnet, spec, bindings, objects = rendered(system, placed, family)
    folders = set()
    for pod in pods(objects):
        (volume,) = [one for one in pod["volumes"] if one["name"] == "data"]
        assert volume["hostPath"]["type"] == "Directory", "the kubelet must refuse to make it"
        folders.add(volume["hostPath"]["path"])
        (mount,) = [one for one in pod["containers"][0]["volumeMounts"] if one["name"] == "data"]
        assert mount["mountPath"] == spec["data_path"]
    assert folders == {f"/var/lib/hostnet/ledger/{binding['admission']}" for binding in bindings}
    assert len(folders) == (1 if placed == "daemonset" else 5)


@pytest.mark.parametrize(("system", "placed", "family"), CASES)
def test_invariant_11_nothing_restarts_a_pod_but_the_playbooks(system: str, placed: str, family: str) -> None:
    hostnet, _spec, bindings, objects = rendered(system, placed, family)
    for workload in workloads(objects):
        assert workload["spec"]["updateStrategy"] == {"type": "OnDelete"}
        selector = workload["spec"]["selector"]["matchLabels"]
        labels = workload["spec"]["template"]["metadata"]["labels"]
        assert selector.items() <= labels.items()
        terms = workload["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        (term,) = terms["nodeSelectorTerms"]
        if placed == "daemonset":
            assert term == {"matchExpressions": [{"key": names.node_label("ledger"), "operator": "Exists"}]}
        else:
            member = workload["metadata"]["labels"][names.MEMBER_LABEL]
            (binding,) = [one for one in bindings if one["member"] == member]
            assert term == {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [binding["node"]]}]}
            assert workload["spec"]["replicas"] == 1
    for kube_cluster in ("east", "west"):
        mine = [entry for entry in objects if entry["kube_cluster"] == kube_cluster]
        budget, *others = of_kind(mine, "PodDisruptionBudget")
        # AKS begins no upgrade where a budget has maxUnavailable 0.
        assert budget["spec"]["minAvailable"] == len([one for one in bindings if one["kube_cluster"] == kube_cluster])
        for workload in workloads(objects):
            labels = workload["spec"]["template"]["metadata"]["labels"]
            assert budget["spec"]["selector"]["matchLabels"].items() <= labels.items()
            # Kubernetes evicts no pod that is covered by more than one.
            assert not [one for one in others if one["spec"]["selector"]["matchLabels"].items() <= labels.items()]
    assert hostnet["namespace"] == "bank"


@pytest.mark.parametrize("placed", settings_and_spec.PLACEMENTS)
def test_every_node_with_a_member_has_guards_that_go_with_its_stop(placed: str) -> None:
    hostnet, spec, bindings, objects = rendered(placed=placed, tolerations=[{"key": "db", "operator": "Exists"}])
    guards = {one["metadata"]["labels"][names.MEMBER_LABEL]: one for one in of_kind(objects, "Deployment")}
    assert sorted(guards) == sorted(one["member"] for one in bindings)
    for binding in bindings:
        guard = guards[binding["member"]]
        pod = guard["spec"]["template"]
        (term,) = pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
        assert term == {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [binding["node"]]}]}
        assert guard["spec"]["replicas"] == 2
        # No pod that a drain has evicted may come back to a cordoned node, and none of them is a member.
        assert pod["spec"]["tolerations"] == [{"key": "db", "operator": "Exists"}]
        assert names.DEPLOYMENT_LABEL not in pod["metadata"]["labels"]
        covering = [
            one
            for one in of_kind(objects, "PodDisruptionBudget")
            if one["spec"]["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
        ]
        assert [one["spec"]["minAvailable"] for one in covering] == [1]
    stopped = [{**one, "stopped": True} if one["member"] == "west-0" else one for one in bindings]
    after = placement.render_objects(
        hostnet, spec, IDENTITY, stopped, [bindings[0]["address"]], "existing", issued(hostnet, spec, bindings)
    )
    assert {one["metadata"]["labels"][names.MEMBER_LABEL] for one in of_kind(after, "Deployment") if one["spec"]["replicas"] == 0} == {
        "west-0"
    }


@pytest.mark.parametrize(("system", "placed", "family"), CASES)
def test_invariant_13_the_address_comes_from_the_node_never_from_the_pod(system: str, placed: str, family: str) -> None:
    _hostnet, _spec, bindings, objects = rendered(system, placed, family)
    for workload in workloads(objects):
        env = {entry["name"]: entry for entry in workload["spec"]["template"]["spec"]["containers"][0]["env"]}
        if placed == "daemonset":
            assert env["HOSTNET_ADDRESS"]["valueFrom"]["fieldRef"]["fieldPath"] == "status.hostIP"
            assert env["HOSTNET_NODE"]["valueFrom"]["fieldRef"]["fieldPath"] == "spec.nodeName"
            assert env["HOSTNET_PROCESS"]["valueFrom"]["fieldRef"]["fieldPath"] == "spec.nodeName"
        else:
            (binding,) = [one for one in bindings if f"ledger-{one['member']}" == workload["metadata"]["name"]]
            assert env["HOSTNET_ADDRESS"]["value"] == binding["address"]
            assert env["HOSTNET_PROCESS"]["value"] == binding["member"]
            assert env["HOSTNET_NODE"]["value"] == binding["node"]
    assert "podIP" not in json.dumps([entry["definition"] for entry in objects])


@pytest.mark.parametrize(("system", "placed", "family"), CASES)
def test_ipv6_addresses_have_brackets_where_a_port_follows(system: str, placed: str, family: str) -> None:
    _hostnet, _spec, bindings, objects = rendered(system, placed, family)
    for pod in pods(objects):
        for word in pod["containers"][0].get("args", []):
            assert "//$(HOSTNET_ADDRESS):" not in word or family == "IPv4", word
            assert "=$(HOSTNET_ADDRESS):" not in word or family == "IPv4", word
            assert "[$(HOSTNET_ADDRESS)]" not in word or family == "IPv6", word
    (join,) = {json.dumps(one["data"], sort_keys=True) for one in of_kind(objects, "ConfigMap") if one["metadata"]["name"] == "ledger-join"}
    data = json.loads(join)
    assert data["seeds"].split(",") == [binding["address"] for binding in bindings]
    for key, text in data.items():
        if key in ("HOSTNET_JOIN", "HOSTNET_INITIAL_CLUSTER", "HOSTNET_ROUTES"):
            assert ("[fd00::1]:" in text) == (family == "IPv6")
            assert ("10.0.0.12:" in text) == (family == "IPv4")


@pytest.mark.parametrize(("system", "placed", "family"), CASES)
def test_declared_ports_are_host_ports(system: str, placed: str, family: str) -> None:
    _hostnet, spec, _bindings, objects = rendered(system, placed, family)
    for pod in pods(objects):
        ports = pod["containers"][0]["ports"]
        assert {port["name"]: port["hostPort"] for port in ports} == spec["ports"]
        assert all(port["hostPort"] == port["containerPort"] for port in ports)
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            if probe in spec:
                assert isinstance(pod["containers"][0][probe]["httpGet"]["port"], int)


@pytest.mark.parametrize(("system", "placed", "family"), CASES)
def test_invariant_14_no_key_is_in_an_object_and_the_ca_key_never_enters_a_cluster(system: str, placed: str, family: str) -> None:
    hostnet, _spec, bindings, objects = rendered(system, placed, family)
    secrets = [entry for entry in objects if entry["definition"]["kind"] == "Secret"]
    assert len(secrets) == (2 if placed == "daemonset" else 5)
    for entry in objects:
        if entry["definition"]["kind"] != "Secret":
            assert "files" not in entry
            continue
        paths = set(entry["files"].values())
        assert f"{hostnet['pki_dir']}/ca.crt" in paths
        assert not any(path.endswith("ca.key") for path in paths)
        # Contents are read by the module from the files; here are the paths alone, and texts that are no secret.
        assert set(entry["definition"].get("data", {})) <= {
            key for key in entry["definition"].get("data", {}) if key.endswith(("locality", "server.conf"))
        }
        assert "stringData" not in entry["definition"]
        if placed == "node_name":
            # No node can read another node's key.
            (owner,) = [one for one in bindings if f"ledger-{one['member']}" == entry["definition"]["metadata"]["name"]]
            others = {one["member"] for one in bindings} - {owner["member"]}
            assert not any(f"/{other}/" in path for other in others for path in paths)
        else:
            local = {one["member"] for one in bindings if one["kube_cluster"] == entry["kube_cluster"]}
            assert {path.split("/")[3] for path in paths if path.endswith(".key")} - {"clients"} == local


@pytest.mark.parametrize(("system", "placed", "family"), CASES)
def test_invariant_11_a_rewritten_join_list_changes_no_template(system: str, placed: str, family: str) -> None:
    hostnet, spec, bindings, before = rendered(system, placed, family)
    certificates = issued(hostnet, spec, bindings)
    seeds = [bindings[1]["address"], bindings[4]["address"]]
    after = placement.render_objects(hostnet, spec, IDENTITY, bindings, seeds, "existing", certificates)
    changed = {one["definition"]["metadata"]["name"] for one, two in zip(before, after, strict=True) if one != two}
    assert changed == {"ledger-join"}
    # And a container reads the list when it starts, not when its pod is made.
    for pod in pods(after):
        env = {entry["name"]: entry for entry in pod["containers"][0]["env"]}
        for key in (*spec["join"], "HOSTNET_STATE", "HOSTNET_TOKEN"):
            assert env[key]["valueFrom"] == {"configMapKeyRef": {"name": "ledger-join", "key": key}}


@pytest.mark.parametrize("placed", settings_and_spec.PLACEMENTS)
def test_invariant_3_and_5_join_lists_are_equal_in_all_kube_clusters(placed: str) -> None:
    _hostnet, _spec, _bindings, objects = rendered(placed=placed, seeds=["10.0.0.1", "10.0.1.1"])
    lists = [entry for entry in objects if entry["definition"]["metadata"]["name"] == "ledger-join"]
    assert [entry["kube_cluster"] for entry in lists] == ["east", "west"]
    assert lists[0]["definition"]["data"] == lists[1]["definition"]["data"]
    assert lists[0]["definition"]["data"]["seeds"] == "10.0.0.1,10.0.1.1"
    assert lists[0]["definition"]["data"]["HOSTNET_STATE"] == "new"
    assert lists[0]["definition"]["data"]["HOSTNET_TOKEN"] == plans.TOKEN


def test_every_kube_cluster_gets_all_bindings_and_the_highest_ordinals() -> None:
    _hostnet, _spec, bindings, objects = rendered()
    for kube_cluster in ("east", "west"):
        (found,) = [
            entry["definition"]["data"]
            for entry in objects
            if entry["kube_cluster"] == kube_cluster and entry["definition"]["metadata"]["name"] == "ledger-members"
        ]
        expected = {**{one["member"]: one for one in bindings}, "ordinals": {"east": 2, "west": 1}}
        assert {name: json.loads(text) for name, text in found.items()} == expected


def test_a_member_that_a_rollout_stopped_keeps_its_workload_and_has_no_pod() -> None:
    hostnet, spec, bindings, before = rendered()
    stopped = [{**one, "stopped": True} if one["member"] == "east-1" else one for one in bindings]
    seeds = [one["address"] for one in bindings]
    after = placement.render_objects(hostnet, spec, IDENTITY, stopped, seeds, "new", issued(hostnet, spec, bindings))
    replicas = {one["metadata"]["name"]: one["spec"]["replicas"] for one in workloads(after)}
    assert replicas == {one["metadata"]["name"]: int(one["metadata"]["name"] != "ledger-east-1") for one in workloads(before)}
    # Nothing else differs but its binding, so that whoever starts it again starts the same.
    assert [one["spec"]["template"] for one in workloads(after)] == [one["spec"]["template"] for one in workloads(before)]


def test_workloads_carry_what_restores_a_lost_record() -> None:
    for placed in settings_and_spec.PLACEMENTS:
        _hostnet, _spec, _bindings, objects = rendered(placed=placed)
        for workload in workloads(objects):
            assert workload["metadata"]["annotations"] == {
                "hostnet.multicluster/token": plans.TOKEN,
                "hostnet.multicluster/ca-fingerprint": plans.FINGERPRINT,
            }


def test_every_object_is_found_by_the_deployments_selector() -> None:
    for system in plans.SYSTEMS:
        _hostnet, _spec, _bindings, objects = rendered(system)
        for entry in objects:
            assert entry["definition"]["metadata"]["labels"][names.DEPLOYMENT_LABEL] == "ledger"
            assert entry["definition"]["metadata"]["namespace"] == "bank"


def test_daemonset_secret_has_a_folder_for_each_node() -> None:
    _hostnet, _spec, bindings, objects = rendered("cockroachdb", "daemonset")
    west = [entry for entry in objects if entry["kube_cluster"] == "west"]
    (secret,) = [entry for entry in west if entry["definition"]["kind"] == "Secret"]
    (pod,) = pods(west)
    (volume,) = [one for one in pod["volumes"] if one["name"] == "certificates"]
    (source,) = volume["projected"]["sources"]
    assert source["secret"]["name"] == secret["definition"]["metadata"]["name"] == "ledger"
    items = {item["key"]: item["path"] for item in source["secret"]["items"]}
    assert set(items) == set(secret["files"]) | set(secret["definition"]["data"])
    assert set(items.values()) >= {
        f"{node}/{file}" for node in ("west-worker", "west-worker2") for file in ("ca.crt", "node.crt", "node.key")
    }
    assert {path.split("/")[0] for path in items.values()} == {one["node"] for one in bindings if one["kube_cluster"] == "west"}
    assert any("--certs-dir=/etc/hostnet/certs/$(HOSTNET_NODE)" in word for word in pod["containers"][0]["args"])
    assert volume["projected"]["defaultMode"] == 0o440
    # A pod that starts again has the template that it was made from, with hosts that are gone.
    assert source["secret"]["optional"] is True


def secrets_of(there: Sequence[int], **changes: Any) -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    """What each Secret has, and what the DaemonSet takes from it, as nodes, for members of these ordinals in one kube cluster."""
    spec = plans.spec_of("etcd")
    hostnet = plans.settings(["east"], placement="daemonset", **changes)
    (first,) = [entry for entry in plans.admitted(hostnet, spec, plans.five_nodes()[:3]) if entry["ordinal"] == 0]
    bindings = [
        {
            **first,
            "member": f"east-{ordinal}",
            "ordinal": ordinal,
            "node": f"vm-{ordinal}",
            "address": f"10.0.{ordinal // 250}.{ordinal % 250 + 1}",
        }
        for ordinal in there
    ]
    objects = placement.render_objects(
        hostnet, spec, IDENTITY, bindings, [bindings[0]["address"]], "existing", issued(hostnet, spec, bindings)
    )
    has = {
        entry["definition"]["metadata"]["name"]: {key.split(".")[0] for key in entry["files"]}
        for entry in objects
        if entry["definition"]["kind"] == "Secret"
    }
    (pod,) = pods(objects)
    (volume,) = [one for one in pod["volumes"] if one["name"] == "certificates"]
    sources = [source["secret"] for source in volume["projected"]["sources"]]
    assert all(source["items"] and source["optional"] for source in sources), "without items a source would bring every file flat"
    return has, {source["name"]: {item["path"].split("/")[0] for item in source["items"]} for source in sources}


def test_a_daemonset_with_many_hosts_has_several_secrets() -> None:
    has, takes = secrets_of(range(130))
    assert has == takes
    assert {name: len(nodes) for name, nodes in has.items()} == {"ledger": 64, "ledger-certificates-1": 64, "ledger-certificates-2": 2}
    assert has["ledger-certificates-1"] == {f"vm-{number}" for number in range(64, 128)}


@given(st.sets(st.integers(0, 200), min_size=2, max_size=20), st.data())
def test_whoever_comes_or_goes_changes_one_secret(ordinals: set[int], data: st.DataObject) -> None:
    one = data.draw(st.sampled_from(sorted(ordinals)))
    highest = {"east": max(ordinals)}
    with_it, _takes = secrets_of(sorted(ordinals), ordinals=highest)
    without, takes = secrets_of(sorted(ordinals - {one}), ordinals=highest)
    changed = [name for name in with_it if with_it[name] != without[name]]
    assert changed == [names.certificates("ledger", one // certificate_secrets.HOSTS_PER_SECRET)]
    assert set(with_it) == set(without)
    assert takes == {name: nodes for name, nodes in without.items() if nodes}


def test_secrets_whose_members_have_all_left_are_emptied() -> None:
    has, takes = secrets_of([0, 1], ordinals={"east": 70})
    assert has == {"ledger": {"vm-0", "vm-1"}, "ledger-certificates-1": set()}
    assert set(takes) == {"ledger"}


def test_member_files_are_filled_for_each_member() -> None:
    _hostnet, _spec, bindings, objects = rendered("cockroachdb")
    (secret,) = [one for one in of_kind(objects, "Secret") if one["metadata"]["name"] == "ledger-east-1"]
    assert base64.b64decode(secret["data"]["locality"]).decode() == "region=east,zone=east-b"
    dates = json.loads(secret["metadata"]["annotations"][names.CERTIFICATES_ANNOTATION])
    assert dates == {
        "east-1": {
            "node": {"serial": "1f", "not_after": "2027-11-22T12:00:00Z"},
            "client.root": {"serial": "1f", "not_after": "2027-11-22T12:00:00Z"},
        }
    }
    assert bindings[1]["zone"] == "east-b"


def test_the_specs_own_wishes_reach_the_pod() -> None:
    spec = plans.spec_of("nats")
    spec["capabilities"] = ["NET_BIND_SERVICE"]
    spec["scratch"] = ["/tmp", "/var/cache/My App"]
    spec["env"]["PLAIN"] = "{name} {data} {config} {any_host} {ports[client]}"
    _hostnet, _spec, _bindings, objects = rendered(
        "nats", spec=spec, tolerations=[{"operator": "Exists"}], resources={"limits": {"cpu": 1}}
    )
    pod = pods(objects)[0]
    container = pod["containers"][0]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}
    assert {"name": "scratch-var-cache-my-app", "emptyDir": {"sizeLimit": "64Mi"}} in pod["volumes"]
    assert {"name": "scratch-tmp", "mountPath": "/tmp"} in container["volumeMounts"]
    assert {"name": "PLAIN", "value": "ledger /data /etc/hostnet/config 0.0.0.0 4222"} in container["env"]
    assert container["lifecycle"]["preStop"]["exec"]["command"] == ["/nats-server", "--signal", "ldm=1"]
    assert pod["tolerations"][-1] == {"operator": "Exists"}
    assert container["resources"] == {"limits": {"cpu": 1}}
    assert tuple(pod_plan.fill("{any_host}", plans.settings(), spec, ipv6) for ipv6 in (False, True)) == ("0.0.0.0", "[::]")


@pytest.mark.parametrize("placed", settings_and_spec.PLACEMENTS)
def test_invariant_9_kubernetes_takes_no_pod_from_a_node_that_it_cannot_reach(placed: str) -> None:
    _hostnet, _spec, _bindings, objects = rendered(placed=placed)
    for pod in pods(objects):
        for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"):
            assert {"key": key, "operator": "Exists", "effect": "NoExecute"} in pod["tolerations"]


def test_a_kube_cluster_without_members_gets_the_join_list_and_nothing_that_runs() -> None:
    _hostnet, _spec, _bindings, objects = rendered("nats", nodes=plans.five_nodes()[:3])
    west = [entry["definition"] for entry in objects if entry["kube_cluster"] == "west"]
    assert [(one["kind"], one["metadata"]["name"]) for one in west] == [
        ("ConfigMap", "ledger-members"),
        ("ConfigMap", "ledger-join"),
        ("ConfigMap", "ledger-about"),
        ("ConfigMap", "ledger-config"),
    ]


def test_the_order_of_bindings_and_certificates_changes_no_object() -> None:
    for system in plans.SYSTEMS:
        for placed in settings_and_spec.PLACEMENTS:
            hostnet, spec, bindings, objects = rendered(system, placed)
            certificates = issued(hostnet, spec, bindings)
            seeds = [binding["address"] for binding in bindings]
            again = placement.render_objects(hostnet, spec, IDENTITY, bindings[::-1], seeds, "new", certificates[::-1])
            assert again == objects


def test_rendering_does_not_change_its_input() -> None:
    spec = plans.spec_of("nats")
    hostnet = plans.settings(system="nats")
    bindings = plans.admitted(hostnet, spec, plans.five_nodes())
    certificates = issued(hostnet, spec, bindings)
    inputs = (hostnet, spec, IDENTITY, bindings, ["10.0.0.1"], "new", certificates)
    before = copy.deepcopy(inputs)
    placement.render_objects(*inputs)
    assert inputs == before


def test_namespaces_are_made_only_where_there_is_none() -> None:
    hostnet = plans.settings()
    observed = {"east": plans.nothing(), "west": plans.nothing(namespace={"labels": {}, "phase": "Active"})}
    made, quota = namespace.namespace_objects(hostnet, observed)
    assert (quota["kube_cluster"], quota["definition"]["kind"]) == ("east", "ResourceQuota")
    assert quota["definition"]["spec"]["scopeSelector"]["matchExpressions"][0]["values"] == ["system-cluster-critical"]
    assert len(namespace.namespace_objects({**hostnet, "priority_class": ""}, observed)) == 1
    assert made["kube_cluster"] == "east"
    assert made["definition"]["metadata"]["name"] == "bank"
    assert made["definition"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "privileged"
    assert len(namespace.namespace_objects(hostnet, {})) == 4


@pytest.mark.parametrize("placed", settings_and_spec.PLACEMENTS)
def test_a_pod_tells_what_a_restart_would_change(placed: str) -> None:
    def told(found: Sequence[Json]) -> set[str]:
        return {entry["spec"]["template"]["metadata"]["annotations"]["hostnet.multicluster/configuration"] for entry in workloads(found)}

    _hostnet, _spec, bindings, objects = rendered(placed=placed)
    (before,) = told(objects)
    # Neither its place, nor other members, nor the join list, nor the image, which each pod tells by itself.
    assert told(rendered(placed=placed, seeds=[bindings[1]["address"]])[3]) == {before}
    assert told(rendered(placed=placed, image="example.test/etcd:2")[3]) == {before}
    for changes in ({"resources": {"requests": {"cpu": "3"}}}, {"spec": {**plans.spec_of("etcd"), "args": ["--snapshot-count=9"]}}):
        (after,) = told(rendered(placed=placed, **changes)[3])
        assert after != before


@pytest.mark.parametrize("placed", settings_and_spec.PLACEMENTS)
def test_members_are_guarded_against_preemption_and_karpenter(placed: str) -> None:
    for workload in workloads(rendered(placed=placed)[3]):
        template = workload["spec"]["template"]
        assert template["spec"]["priorityClassName"] == "system-cluster-critical"
        assert template["metadata"]["annotations"]["karpenter.sh/do-not-disrupt"] == "true"
        assert workload["spec"]["updateStrategy"] == {"type": "OnDelete"}, "a new template restarts nobody"
        assert "imagePullSecrets" not in template["spec"]
    for workload in workloads(rendered(placed=placed, priority_class="", pull_secrets=["mirror"])[3]):
        spec = workload["spec"]["template"]["spec"]
        assert "priorityClassName" not in spec
        assert spec["imagePullSecrets"] == [{"name": "mirror"}]


@pytest.mark.parametrize("placed", ["node_name", "daemonset"])
def test_the_images_that_a_members_node_has_to_pull(placed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hostnet = plans.settings(placement=placed)
    spec = plans.spec_of("etcd")
    batch = plans.admitted(hostnet, spec, plans.five_nodes())[:1]
    assert workloads_plan.images(hostnet, spec, batch) == [{"image": "example.test/etcd:1", "policy": "IfNotPresent"}]
    assert workloads_plan.images(hostnet, spec, []) == []
    # The version that it is to start from.
    assert [entry["image"] for entry in workloads_plan.images({**hostnet, "image": "example.test/etcd:2"}, spec, batch)] == [
        "example.test/etcd:2"
    ]
    template = workloads_plan.pod_template(hostnet, spec, batch)
    beside = [
        {"name": "a", "image": "example.test/sidecar:1"},
        {"name": "b", "image": "example.test/etcd:1", "imagePullPolicy": "IfNotPresent"},
        {"name": "c", "image": hostnet["probe_image"]},
    ]
    template["spec"]["containers"] += beside
    template["spec"]["initContainers"] = [{"name": "d", "image": "example.test/init:1", "imagePullPolicy": "Always"}, beside[0]]
    monkeypatch.setattr(workloads_plan, "pod_template", lambda *_args: template)
    # Each once, and not that of the pod which pulls them.
    assert workloads_plan.images(hostnet, spec, batch) == [
        {"image": "example.test/init:1", "policy": "Always"},
        {"image": "example.test/sidecar:1"},
        {"image": "example.test/etcd:1", "policy": "IfNotPresent"},
    ]

# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory plugin nodes against real API servers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.hostnet.multicluster.plugins.inventory import nodes as plugin
from support.collection import CHECKOUT
from support.inventory import parse, parse_together
from support.kube_api import KubeApi
from support.run import ansible_environment, run_playbook

Json = dict[str, Any]
CONTROL_PLANE = "node-role.kubernetes.io/control-plane"


@pytest.fixture
def five_nodes(no_nodes: None, kube_api: KubeApi, kube_api_two: KubeApi, create_node: Callable[..., Json]) -> None:
    create_node(kube_api, "control", address="10.1.0.2", labels={CONTROL_PLANE: ""})
    for number in (1, 2):
        create_node(kube_api, f"vm-{number}", address=f"10.1.0.1{number}", region="r-east", zone=f"east.{number}", labels={"pool": "db"})
    create_node(kube_api_two, "control", address="10.2.0.2", labels={CONTROL_PLANE: ""})
    create_node(kube_api_two, "vm-3", address="10.2.0.13", unschedulable=True)


def kubeconfig(path: Path, contexts: dict[str, KubeApi]) -> str:
    """One kubeconfig with a context of each name."""
    content: Json = {"apiVersion": "v1", "kind": "Config", "clusters": [], "users": [], "contexts": []}
    for name, kube in contexts.items():
        own = yaml.safe_load(Path(kube.kubeconfig).read_text())
        content["clusters"].append({"name": name, "cluster": own["clusters"][0]["cluster"]})
        content["users"].append({"name": name, "user": own["users"][0]["user"]})
        content["contexts"].append({"name": name, "context": {"cluster": name, "user": name}})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content))
    return str(path)


def source(folder: Path, name: str = "test", **options: Any) -> Path:
    path = folder / f"{name}.hostnet.yml"
    path.write_text(yaml.safe_dump({"plugin": "hostnet.multicluster.nodes", **options}))
    return path


def command(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(Path(sys.executable).parent / "ansible-inventory"), *arguments],
        env=ansible_environment(folder / "results", **environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.usefixtures("five_nodes")
def test_every_context_of_the_kubeconfig(tmp_path: Path, kube_api: KubeApi, kube_api_two: KubeApi) -> None:
    path = kubeconfig(tmp_path / "k", {"east": kube_api, "west": kube_api_two})
    (found,) = parse([source(tmp_path, kube_clusters="all_contexts")], tmp_path, {"KUBECONFIG": path, "K8S_AUTH_KUBECONFIG": ""})
    assert "error" not in found
    # Nobody has said which nodes carry members: workers are listed, and no playbook takes that for a selector.
    assert sorted(found["hosts"]) == ["vm-1", "vm-2", "vm-3"]
    variables = found["hosts"]["vm-1"]
    node = variables.pop("hostnet_node")
    # Besides these, Ansible's own inventory_file and inventory_dir.
    assert {name: value for name, value in variables.items() if not name.startswith("inventory_")} == {
        "ansible_connection": "local",
        "ansible_host": "10.1.0.11",
        "ansible_python_interpreter": "{{ ansible_playbook_python }}",
        "hostnet_kube_cluster": "east",
    }
    assert (node["name"], node["zone"], node["labels"]["pool"], node["ready"]) == ("vm-1", "east.1", "db", True)
    everybody = ["vm-1", "vm-2", "vm-3"]
    assert {name: sorted(hosts) for name, hosts in found["groups"].items()} == {
        "all": everybody,
        "ungrouped": [],
        "hostnet_nodes": everybody,
        "kube_cluster_east": ["vm-1", "vm-2"],
        "kube_cluster_west": ["vm-3"],
        "region_r_east": ["vm-1", "vm-2"],
        "zone_east_1": ["vm-1"],
        "zone_east_2": ["vm-2"],
    }
    assert found["all"] == {
        "hostnet_kube_clusters": [{"name": name, "kubeconfig": path, "context": name} for name in ("east", "west")],
        "hostnet_address_type": "InternalIP",
        "hostnet_absent_kube_clusters": [],
    }


@pytest.mark.usefixtures("five_nodes")
def test_options(tmp_path: Path, kube_api: KubeApi, kube_api_two: KubeApi, create_node: Callable[..., Json]) -> None:
    create_node(kube_api_two, "vm-1", address="10.2.0.11", annotations={"example.com/ip": "192.0.2.1"})
    kubeconfig(tmp_path / "configs" / "k", {"gke_x_y_z": kube_api})
    options: Json = {
        # A path relative to the inventory file, and a template.
        "kubeconfig": "{{ lookup('ansible.builtin.env', 'CONFIGS') }}/k",
        "kube_clusters": [{"name": "east", "context": "gke_x_y_z"}, {**kube_api_two.entry, "tls_server_name": "localhost"}],
        "qualified_names": True,
        "node_selector": "",
        "address_type": "example.com/ip",
        "compose": {"rack": "hostnet_node.zone | default('none', true)", "ansible_connection": "'ssh'"},
        "groups": {"cordoned": "hostnet_node.unschedulable"},
        "keyed_groups": [{"key": "hostnet_node.labels.pool | default('none')", "prefix": "pool"}],
        "strict": True,
    }
    broken = {**options, "compose": {"x": "hostnet_node.nothing.here"}}
    found, strict = parse([source(tmp_path, **options), source(tmp_path, "broken", **broken)], tmp_path, {"CONFIGS": "configs"})
    assert sorted(found["hosts"]) == ["control.east", "control.west", "vm-1.east", "vm-1.west", "vm-2.east", "vm-3.west"]
    assert found["hosts"]["vm-1.west"]["ansible_host"] == "192.0.2.1"
    assert "ansible_host" not in found["hosts"]["vm-1.east"]
    assert (found["hosts"]["vm-1.east"]["rack"], found["hosts"]["vm-3.west"]["rack"]) == ("east.1", "none")
    assert found["hosts"]["vm-3.west"]["ansible_connection"] == "ssh"
    assert found["groups"]["cordoned"] == ["vm-3.west"]
    # Every node is meant where somebody says so.
    assert found["all"]["hostnet_node_selector"] == ""
    assert sorted(found["groups"]["pool_db"]) == ["vm-1.east", "vm-2.east"]
    assert found["all"]["hostnet_kube_clusters"] == [
        {"name": "east", "kubeconfig": str(tmp_path / "configs" / "k"), "context": "gke_x_y_z"},
        {**kube_api_two.entry, "tls_server_name": "localhost"},
    ]
    assert "Could not set x" in strict["error"]


@pytest.mark.usefixtures("five_nodes")
def test_one_clear_error(tmp_path: Path, kube_api: KubeApi, kube_api_two: KubeApi, create_node: Callable[..., Json]) -> None:
    create_node(kube_api_two, "vm-1", address="10.2.0.11")
    strange = kubeconfig(tmp_path / "strange", {"east": kube_api, "arn:aws:eks": kube_api})
    nobody = {**kube_api.entry, "kubeconfig": kube_api.user_kubeconfig("nobody")}
    both = [kube_api.entry, kube_api_two.entry]
    cases: list[tuple[Json, str]] = [
        ({"kube_clusters": both}, "kube clusters east and west both have a node vm-1; set qualified_names: true"),
        ({"kubeconfig": strange}, "kube_clusters is not named: list the kube clusters"),
        ({"kubeconfig": strange, "kube_clusters": "all_contexts"}, f"context 'arn:aws:eks' of kubeconfig {strange} is not a DNS label"),
        ({"kubeconfig": strange, "kube_clusters": "all_contexts"}, "list kube_clusters, each with a name of yours and its context"),
        ({"kubeconfig": "/nonexistent", "kube_clusters": "all_contexts"}, "kubeconfig /nonexistent cannot be read"),
        ({"kubeconfig": "{{ nonsense }}"}, "option kubeconfig: 'nonsense' is undefined"),
        ({"kube_clusters": []}, "no kube cluster: kube_clusters is empty"),
        ({"kube_clusters": [{"context": "east"}]}, "kube_clusters: missing required arguments: name found in kube_clusters"),
        ({"kube_clusters": [{"name": "east", "contxt": "east"}]}, "kube_clusters: unknown option kube_clusters.contxt. Supported"),
        ({"kube_clusters": [{**kube_api.entry, "name": "East"}]}, "the name 'East' is not a DNS label"),
        ({"kube_clusters": [kube_api.entry, kube_api.entry]}, "this name is given twice"),
        ({"kube_clusters": [{**kube_api.entry, "context": "no"}]}, "kube cluster east: context: kubeconfig"),
        ({"kube_clusters": [kube_api.entry], "absent_ok": ["north"]}, "absent_ok: north is not in kube_clusters, which has east"),
        ({"kube_clusters": [nobody], "absent_ok": ["east"]}, 'kube cluster east: list of nodes: nodes is forbidden: User "nobody"'),
        ({"kube_clusters": [{**kube_api.entry, "host": "https://127.0.0.1:1"}]}, "kube cluster east: version: no answer from"),
        ({"kube_clusters": [kube_api.entry], "node_selector": "a b"}, "kube cluster east: list of nodes: "),
        ({"plugin": "other.plugin.name"}, "Incorrect plugin name in file"),
    ]
    sources = [source(tmp_path, f"case{index}", **options) for index, (options, _part) in enumerate(cases)]
    for (options, part), found in zip(cases, parse(sources, tmp_path), strict=True):
        assert part in found.get("error", ""), (options, found)
        assert "Traceback" not in found["error"]


@pytest.mark.usefixtures("five_nodes")
def test_several_sources_add_up_in_any_order(tmp_path: Path, kube_api: KubeApi, kube_api_two: KubeApi) -> None:
    east, west = source(tmp_path, "east", kube_clusters=[kube_api.entry]), source(tmp_path, "west", kube_clusters=[kube_api_two.entry])
    one_way, other_way = parse_together([[east, west], [west, east]], tmp_path)
    assert one_way["all"] == other_way["all"]
    assert [entry["name"] for entry in one_way["all"]["hostnet_kube_clusters"]] == ["east", "west"]
    assert sorted(one_way["hosts"]) == sorted(other_way["hosts"]) == ["vm-1", "vm-2", "vm-3"]
    assert "hostnet_inventory_errors" not in one_way["all"]


@pytest.mark.usefixtures("five_nodes")
def test_sources_that_contradict_each_other(
    tmp_path: Path, kube_api: KubeApi, kube_api_two: KubeApi, create_node: Callable[..., Json]
) -> None:
    create_node(kube_api_two, "vm-1", address="10.2.0.11")
    east = source(tmp_path, "east", kube_clusters=[kube_api.entry])
    cases = [
        ({"kube_clusters": [{**kube_api_two.entry, "name": "east"}]}, "kube cluster east is in two inventory sources"),
        (
            {"kube_clusters": [kube_api_two.entry], "node_selector": "pool=db"},
            "node_selector is 'pool=db', and an inventory source before this one has none",
        ),
        ({"kube_clusters": [kube_api_two.entry], "address_type": "ExternalIP"}, "address_type is 'ExternalIP', and an inventory source"),
        ({"kube_clusters": [kube_api_two.entry]}, "kube clusters east and west both have a node vm-1; set qualified_names: true"),
        # Ansible would go on with the kube clusters that are left.
        ({"kube_clusters": [{**kube_api_two.entry, "host": "https://127.0.0.1:1"}]}, "kube cluster west: version: no answer"),
    ]
    sources = [[east, source(tmp_path, f"case{index}", **options)] for index, (options, _part) in enumerate(cases)]
    for (_options, part), found in zip(cases, parse_together(sources, tmp_path), strict=True):
        assert part in found["errors"][0]
        (kept,) = found["all"]["hostnet_inventory_errors"]
        assert part in kept
        assert kept.startswith("inventory source ")
    # A status names it too.
    assert [entry["name"] for entry in found["all"]["hostnet_kube_clusters"]] == ["east", "west"]


def token(kube: KubeApi, namespace: str) -> str:
    """Of a service account that may see everything."""
    accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    kube.request_json("POST", accounts, {"metadata": {"name": "reader"}})
    subject = {"kind": "ServiceAccount", "name": "reader", "namespace": namespace}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
    kube.request_json("POST", bindings, {"metadata": {"name": namespace}, "roleRef": role, "subjects": [subject]})
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
    return str(kube.request_json("POST", f"{accounts}/reader/token", request)["status"]["token"])


@pytest.mark.usefixtures("five_nodes")
def test_absence_and_the_cache(tmp_path: Path, kube_api: KubeApi, kube_api_two: KubeApi, namespace: str) -> None:
    secret = token(kube_api_two, namespace)
    both = [kube_api.entry, {**kube_api_two.entry, "api_key": secret}]
    caching: Json = {"cache": True, "cache_plugin": "ansible.builtin.jsonfile", "cache_connection": str(tmp_path / "cache")}
    plain = source(tmp_path, "plain", kube_clusters=both)
    allowed = source(tmp_path, "allowed", kube_clusters=both, absent_ok=["west"], **caching)
    cached = source(tmp_path, "cached", kube_clusters=both, absent_ok=["west"], **caching)
    (first,) = parse([cached], tmp_path)
    with kube_api_two.paused():  # type: ignore[attr-defined]
        refused, absent = parse([plain, allowed], tmp_path)
        with kube_api.paused():  # type: ignore[attr-defined]
            # Nobody is asked: both would fail.
            (again,) = parse([cached], tmp_path)
            source(tmp_path, "cached", kube_clusters=both, node_selector="pool=db", **caching)
            (other,) = parse([cached], tmp_path)
    (back, fresh) = parse([allowed, source(tmp_path, "cached", kube_clusters=both, absent_ok=["west"], **caching)], tmp_path)
    assert refused["error"].startswith(f"kube cluster west: version: no answer from {kube_api_two.url}")
    assert sorted(absent["hosts"]) == ["vm-1", "vm-2"]
    assert absent["all"]["hostnet_absent_kube_clusters"] == ["west"]
    assert absent["groups"]["kube_cluster_west"] == []
    assert again == first
    # What was read with another selector is no answer.
    assert "kube cluster east: version: no answer" in other["error"]
    # Absence is not kept.
    assert back["all"]["hostnet_absent_kube_clusters"] == []
    assert fresh == first
    kept = "".join(path.read_text() for path in (tmp_path / "cache").iterdir())
    assert "vm-3" in kept
    assert secret not in kept


def test_file_names(tmp_path: Path) -> None:
    names = [
        "hostnet.yml",
        "hostnet.yaml",
        "a.hostnet.yml",
        "a.b.hostnet.yaml",
        "nodes.yml",
        "ahostnet.yml",
        "hostnet.yml.bak",
        "hostnet.json",
    ]
    paths = [tmp_path / name for name in names]
    for path in paths:
        path.write_text("plugin: hostnet.multicluster.nodes\nkube_clusters: []\n")
    wanted = ["not a file of this plugin" not in found["error"] for found in parse(paths, tmp_path)]
    assert wanted == [True] * 4 + [False] * 4


@pytest.mark.usefixtures("five_nodes")
def test_nodes_examples(tmp_path: Path, kube_api: KubeApi, kube_api_two: KubeApi) -> None:
    for folder in (".kube/config", ".cache/lab/kubeconfig"):
        kubeconfig(tmp_path / folder, {"east": kube_api, "west": kube_api_two})
    production = {"gke_ledger_us-east1_db": kube_api, "gke_ledger_us-west1_db": kube_api_two}
    kubeconfig(tmp_path / ".kube" / "production", production)
    sources = []
    for index, options in enumerate(yaml.safe_load(plugin.EXAMPLES)):
        if options.get("node_selector"):
            options["node_selector"] = "pool=db"
        sources.append(source(tmp_path, f"example{index}", **options))
    environment = {"HOME": str(tmp_path), "KUBECONFIG": "", "K8S_AUTH_KUBECONFIG": ""}
    every, named, status = parse(sources, tmp_path, environment)
    assert sorted(every["hosts"]) == ["vm-1", "vm-2", "vm-3"]
    assert sorted(named["hosts"]) == ["vm-1", "vm-2"]
    assert {variables["rack"] for variables in named["hosts"].values()} == {"none"}
    assert [entry["name"] for entry in named["all"]["hostnet_kube_clusters"]] == ["east", "west"]
    assert sorted(status["hosts"]) == ["vm-1.east", "vm-2.east", "vm-3.west"]


@pytest.mark.usefixtures("five_nodes")
def test_ansible_inventory_list_and_graph(tmp_path: Path, kube_clusters: list[Json]) -> None:
    source(tmp_path, kube_clusters=kube_clusters)
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars" / "all.yml").write_text("hostnet_name: ledger\n")
    listed = command(tmp_path, "-i", str(tmp_path / "test.hostnet.yml"), "--list")
    assert listed.returncode == 0, listed.stderr
    content = json.loads(listed.stdout)
    assert content["hostnet_nodes"]["children"] == ["kube_cluster_east", "kube_cluster_west", "region_r_east", "zone_east_1", "zone_east_2"]
    variables = content["_meta"]["hostvars"]["vm-1"]
    assert variables["hostnet_name"] == "ledger"
    assert [entry["name"] for entry in variables["hostnet_kube_clusters"]] == ["east", "west"]
    graph = command(tmp_path, "-i", str(tmp_path / "test.hostnet.yml"), "--graph", "kube_cluster_west")
    assert graph.stdout.split() == ["@kube_cluster_west:", "|--vm-3"]


def test_ansible_inventory_fails_where_the_user_wants_that(tmp_path: Path) -> None:
    failed = command(
        tmp_path,
        "-i",
        str(source(tmp_path, kube_clusters=[{"name": "east", "host": "https://127.0.0.1:1"}])),
        "--list",
        ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED="1",
        ANSIBLE_INVENTORY_ENABLED="hostnet.multicluster.nodes",
    )
    assert failed.returncode != 0
    assert "kube cluster east: version: no answer from https://127.0.0.1:1" in failed.stderr
    assert "Traceback" not in failed.stderr


@pytest.mark.usefixtures("five_nodes")
def test_inventory_of_the_lab(tmp_path: Path, kube_api: KubeApi, kube_api_two: KubeApi) -> None:
    lab = CHECKOUT / "inventories" / "lab" / "lab.hostnet.yml"
    contexts = {"east": kube_api, "west": kube_api_two}
    path = kubeconfig(tmp_path / "own" / "lab" / "kubeconfig-collection", contexts)
    kubeconfig(tmp_path / "xdg" / "hostnet-multicluster" / "lab-b" / "kubeconfig-collection", contexts)
    kubeconfig(tmp_path / ".cache" / "hostnet-multicluster" / "lab" / "kubeconfig-collection", contexts)
    unset = {"HOSTNET_CACHE": "", "XDG_CACHE_HOME": "", "HOSTNET_LAB_NAME": "", "HOME": str(tmp_path), "KUBECONFIG": "/nonexistent"}
    for environment, expected in (
        ({"HOSTNET_CACHE": str(tmp_path / "own")}, path),
        (
            {"XDG_CACHE_HOME": str(tmp_path / "xdg"), "HOSTNET_LAB_NAME": "b"},
            f"{tmp_path}/xdg/hostnet-multicluster/lab-b/kubeconfig-collection",
        ),
        ({}, f"{tmp_path}/.cache/hostnet-multicluster/lab/kubeconfig-collection"),
    ):
        (found,) = parse([lab], tmp_path, {**unset, **environment})
        assert "error" not in found, found
        assert [entry["kubeconfig"] for entry in found["all"]["hostnet_kube_clusters"]] == [expected] * 2


@pytest.mark.usefixtures("no_nodes")
def test_what_a_node_says_is_never_a_template(tmp_path: Path, kube_api: KubeApi, create_node: Callable[..., Json]) -> None:
    said = "{{ 6 * 7 }}"
    create_node(kube_api, "vm-1", address="10.1.0.11", provider_id=said)
    cache = {"cache": True, "cache_plugin": "ansible.builtin.jsonfile", "cache_connection": str(tmp_path / "cache")}
    file = source(tmp_path, kube_clusters=[kube_api.entry], **cache)
    playbook = tmp_path / "play.yml"
    task = {"name": "Say it", "ansible.builtin.debug": {"msg": "{{ hostnet_node.provider_id }}"}}
    playbook.write_text(yaml.safe_dump([{"hosts": "hostnet_nodes", "gather_facts": False, "tasks": [task]}]))
    # The second time it comes from the cache.
    for _number in range(2):
        run = run_playbook(str(playbook), file)
        assert run.rc == 0, run.output
        assert [task.result["msg"] for task in run.tasks] == [said]

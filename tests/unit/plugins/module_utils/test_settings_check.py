# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables that a user has set: each wrong one is one sentence that names it, its value and the remedy; what the defaults say is right."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.session.options import KUBE_CLUSTER_OPTIONS
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import settings_check, status_metrics
from support import statuses
from support.collection import CHECKOUT

Json = dict[str, Any]

OPTIONS = settings_check.options_of(
    yaml.safe_load(path.read_text()) for path in sorted((CHECKOUT / "roles").glob("*/meta/argument_specs.yml"))
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
GOOD: Json = {
    "hostnet_system": "etcd",
    "hostnet_image": "registry.example.com:5000/coreos/etcd:v3.6.5",
    "hostnet_probe_image": "docker.io/library/busybox:1.37@sha256:" + "ab" * 32,
    "hostnet_priority_class": "",
    "hostnet_pull_secrets": ["mirror.example.com"],
    "hostnet_node_selector": "role in (db, cache),!spot",
    "hostnet_address_type": "example.com/ip",
    "hostnet_timeout_seconds": "20",
    "hostnet_soak_seconds": 0,
    "hostnet_abort": "yes",
    "hostnet_surge": False,
    "hostnet_members": "[east-0,west-1]",
    "hostnet_work": "replace",
    "hostnet_pool_label": "example.com/pool",
    "hostnet_follow_until": {"west": "1.33", "east": "v1.33.4-gke.1134000"},
    "hostnet_clients": ["client", "client.backup"],
    "hostnet_certificate_hosts": ["db.example.com", "*.example.com", "192.0.2.1", "fd00::1"],
    "hostnet_kube_clusters": [
        {"name": "east", "kubeconfig": "~/.kube/config", "context": "a", "validate_certs": True},
        {
            "name": "west",
            "host": "https://192.0.2.2",
            "api_key": "secret",
            "ssl_ca_cert": "/ca.crt",
            "impersonate_groups": ["ops"],
            "proxy": None,
        },
    ],
    "hostnet_ca": {"certificate": "/ca.crt", "private_key": "/ca.key", "vault": True},
    "hostnet_certificate": {"key_type": "EC_P256", "valid_days": 90, "renew_days": "30"},
    "hostnet_tolerations": [{"key": "db", "operator": "Exists", "effect": "NoSchedule", "tolerationSeconds": 3}],
    "hostnet_resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"cpu": 2, "memory": "8e9"}},
    "system_nats_max_file_store": 1073741824,
    "system_cockroachdb_away": "00:30:00",
}


def errors_of(**changes: Any) -> list[str]:
    found: list[str] = settings_check.check({**GOOD, **changes}, [*GOOD, *changes], OPTIONS, ["hostnet_system"])["errors"]
    return found


def test_what_is_right() -> None:
    assert settings_check.check(GOOD, [*GOOD, *settings_check.FACTS], OPTIONS, ["hostnet_system", "hostnet_work"]) == {
        "errors": [],
        "warnings": [],
    }


@pytest.mark.parametrize("role", ["preflight", "rollout", "remove", "report", "system_etcd", "system_nats", "system_cockroachdb"])
def test_every_default_is_right(role: str) -> None:
    defaults = yaml.safe_load((CHECKOUT / "roles" / role / "defaults" / "main.yml").read_text())
    plain = {name: value for name, value in defaults.items() if "{{" not in str(value)}
    assert settings_check.check({name: value for name, value in plain.items() if name in OPTIONS}, list(defaults), OPTIONS)["errors"] == []


def test_the_options_of_a_kube_cluster_are_those_of_the_modules() -> None:
    plain = {
        name: {key: value for key, value in option.items() if key != "description"}
        for name, option in OPTIONS["hostnet_kube_clusters"]["options"].items()
    }
    # The argument specs of roles know no aliases, so each is an option of its own there.
    expected: dict[str, dict[str, object]] = {}
    for name, option in KUBE_CLUSTER_OPTIONS.items():
        expected[name] = {key: value for key, value in option.items() if key != "aliases"}
        for alias in option.get("aliases", []):
            expected[alias] = {key: value for key, value in expected[name].items() if key != "default"}
    assert plain == expected


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("hostnet_clients", "web", 'hostnet_clients is "web", and must be a list: write it as -e \'{"hostnet_clients": ["..."]}\''),
        ("hostnet_clients", {"a": 1}, "hostnet_clients is a dictionary, and must be a list"),
        ("hostnet_clients", ["web", 3], "hostnet_clients[1] is 3, and must be text: put quotes around it"),
        ("hostnet_clients", ["../web"], 'hostnet_clients[0] is "../web", and must be the name of a file'),
        ("hostnet_clients", ["a", "a"], "hostnet_clients names a twice"),
        ("hostnet_clients", ["a.key"], 'hostnet_clients[0] is "a.key", and must be the name of a file'),
        ("hostnet_client", "../web", 'hostnet_client is "../web", and must be the name of a file'),
        ("hostnet_drop_client", "a.crt", 'hostnet_drop_client is "a.crt", and must be the name of a file'),
        ("hostnet_certificate_hosts", "db.example.com", "hostnet_certificate_hosts is"),
        (
            "hostnet_certificate_hosts",
            ["10.0.0.0/8"],
            'hostnet_certificate_hosts[0] is "10.0.0.0/8", neither an IP address nor a host name',
        ),
        ("hostnet_certificate_hosts", ["10.0.0.300"], 'hostnet_certificate_hosts[0] is "10.0.0.300", neither'),
        ("hostnet_certificate_hosts", ["https://db"], "hostnet_certificate_hosts[0]"),
        ("hostnet_tolerations", {"key": "db"}, "hostnet_tolerations is a dictionary, and must be a list"),
        ("hostnet_tolerations", ["db"], 'hostnet_tolerations[0] is "db", and must be a dictionary'),
        ("hostnet_tolerations", [{"key": "db", "effekt": "NoExecute"}], "hostnet_tolerations[0] has the key 'effekt'"),
        ("hostnet_tolerations", [{"effect": "Never"}], 'hostnet_tolerations[0].effect is "Never"'),
        ("hostnet_tolerations", [{"value": True}], "hostnet_tolerations[0].value is true, and must be text"),
        ("hostnet_run_id", "awx 17", 'hostnet_run_id is "awx 17", and must be 1 to 128 of a-z'),
        ("hostnet_run_id", "a,b", 'hostnet_run_id is "a,b", and must be'),
        ("hostnet_lock_heartbeat_seconds", -1, "hostnet_lock_heartbeat_seconds is -1, and must be at least 0"),
        ("hostnet_resources", {"request": {}}, "hostnet_resources has the key 'request', which means nothing: known are requests, limits"),
        ("hostnet_resources", {"requests": {"memory": "1 GB"}}, 'hostnet_resources.requests.memory is "1 GB"'),
        ("hostnet_resources", {"requests": "1Gi"}, "hostnet_resources.requests is"),
        ("hostnet_resources", "1Gi", 'hostnet_resources is "1Gi", and must be a dictionary'),
        ("hostnet_ca", {"private_kez": "/x"}, "hostnet_ca has the key 'private_kez', which means nothing: is private_key meant?"),
        ("hostnet_ca", {"valid_days": 0}, "hostnet_ca.valid_days is 0, and must be at least 1"),
        ("hostnet_ca", ["x"], "hostnet_ca is a list, and must be a dictionary"),
        ("hostnet_certificate", {"key_type": "RSA"}, 'hostnet_certificate.key_type is "RSA", and must be one of EC_P256, RSA_2048'),
        ("hostnet_certificate", {"valid_days": "a year"}, 'hostnet_certificate.valid_days is "a year", and must be a whole number'),
        ("hostnet_kube_clusters", "east", 'hostnet_kube_clusters is "east", and must be a list'),
        ("hostnet_kube_clusters", ["east"], 'hostnet_kube_clusters[0] is "east", and must be a dictionary'),
        ("hostnet_kube_clusters", [{"kubeconfig": "x"}], "hostnet_kube_clusters[0] has no name: add it"),
        (
            "hostnet_kube_clusters",
            [{"name": "e", "contxt": "x"}],
            "hostnet_kube_clusters[0] has the key 'contxt', which means nothing: is context",
        ),
        ("hostnet_kube_clusters", [{"name": "e"}, {"name": "e"}], "hostnet_kube_clusters has two entries named e"),
        (
            "hostnet_kube_clusters",
            [{"name": "e", "request_timeout": "a minute"}],
            'hostnet_kube_clusters[0].request_timeout is "a minute", and must be a number',
        ),
        (
            "hostnet_kube_clusters",
            [{"name": "e", "request_timeout": True}],
            "hostnet_kube_clusters[0].request_timeout is true, and must be a number",
        ),
        (
            "hostnet_kube_clusters",
            [{"name": "e", "request_timeout": float("nan")}],
            "hostnet_kube_clusters[0].request_timeout is NaN, and must be a number",
        ),
        ("hostnet_timeout_seconds", 0, "hostnet_timeout_seconds is 0, and must be at least 1"),
        ("hostnet_timeout_seconds", "-5", "hostnet_timeout_seconds is -5, and must be at least 1"),
        ("hostnet_timeout_seconds", "5m", 'hostnet_timeout_seconds is "5m", and must be a whole number'),
        ("hostnet_timeout_seconds", True, "hostnet_timeout_seconds is true, and must be a whole number"),
        ("hostnet_timeout_seconds", 1.5, "hostnet_timeout_seconds is 1.5, and must be a whole number"),
        ("hostnet_timeout_seconds", None, "hostnet_timeout_seconds is empty (null), and must be a whole number"),
        ("hostnet_step_timeout_seconds", 0, "hostnet_step_timeout_seconds is 0, and must be at least 1"),
        ("hostnet_soak_seconds", -1, "hostnet_soak_seconds is -1, and must be at least 0"),
        ("hostnet_max_members", "-1", "hostnet_max_members is -1, and must be at least 0"),
        ("hostnet_join_per_cluster", [], "hostnet_join_per_cluster is a list, and must be a whole number"),
        ("hostnet_abort", "maybe", 'hostnet_abort is "maybe", and must be true or false'),
        ("hostnet_remove_data", "all", 'hostnet_remove_data is "all", and must be true or false'),
        ("hostnet_surge", 2, "hostnet_surge is 2, and must be true or false"),
        ("hostnet_image", "  ", "hostnet_image is"),
        ("hostnet_image", "https://ghcr.io/etcd", 'hostnet_image is "https://ghcr.io/etcd", which is no name of an image'),
        ("hostnet_image", "Etcd:v3", 'hostnet_image is "Etcd:v3", which is no name of an image'),
        ("hostnet_probe_image", "", "hostnet_probe_image is empty"),
        ("hostnet_priority_class", "Very High", 'hostnet_priority_class is "Very High", which is no name of a PriorityClass'),
        ("hostnet_name", 7, "hostnet_name is 7, and must be text: put quotes around it"),
        ("hostnet_namespace", "", "hostnet_namespace is empty: give a value, or take the line out for the default"),
        ("hostnet_node_selector", " ", "hostnet_node_selector is empty, and that would give every node a member"),
        ("hostnet_node_selector", "role=db zone=a", 'hostnet_node_selector is "role=db zone=a":'),
        ("hostnet_node_selector", {"role": "db"}, "hostnet_node_selector is a dictionary, and must be text"),
        ("hostnet_address_type", "internalip", 'hostnet_address_type is "internalip": write InternalIP'),
        ("hostnet_address_type", "a b", 'hostnet_address_type is "a b", neither InternalIP'),
        ("hostnet_work", "upgrade", 'hostnet_work is "upgrade", and must be one of reboot, replace, version, restart'),
        ("hostnet_pool_label", "example.com/pool=a", 'hostnet_pool_label is "example.com/pool=a", which is no key of a label (label key'),
        ("hostnet_pool_label", "Example.com/pool", 'hostnet_pool_label is "Example.com/pool", which is no key of a label'),
        ("hostnet_pool_label", "my pool", 'hostnet_pool_label is "my pool", which is no key of a label'),
        ("hostnet_pool_label", ["pool"], "hostnet_pool_label is a list, and must be text"),
        (
            "hostnet_follow_until",
            "latest",
            'hostnet_follow_until is "latest", which is no version of a kubelet: write it as 1.33, 1.33.4 or',
        ),
        ("hostnet_follow_until", 1.3, "hostnet_follow_until is 1.3, which is no version of a kubelet"),
        ("hostnet_follow_until", ["1.33"], "hostnet_follow_until is a list, which is no version of a kubelet"),
        ("hostnet_follow_until", None, "hostnet_follow_until is empty (null), which is no version of a kubelet"),
        ("hostnet_follow_until", {"west": "1.33", "east": 1.33}, "hostnet_follow_until.east is 1.33, which is no version"),
        ("hostnet_follow_until", {"west": ""}, 'hostnet_follow_until.west is "", which is no version'),
        ("hostnet_follow_until", '{"west": "1.33"}', 'hostnet_follow_until is "{\\"west\\": \\"1.33\\"}", which is no version'),
        ("hostnet_members", {"east-0": 1}, "hostnet_members is a dictionary, and must be a list"),
        ("hostnet_members", [0], "hostnet_members[0] is 0, and must be text"),
        ("hostnet_status_file", None, "hostnet_status_file is empty (null)"),
        ("system_etcd_client_port", 70000, "system_etcd_client_port is 70000, and must be a port between 1 and 65535"),
        ("system_etcd_quota_bytes", "2Gi", 'system_etcd_quota_bytes is "2Gi", and must be a whole number'),
        ("system_nats_system_account", "none", "system_nats_system_account is"),
        ("system_cockroachdb_away", 1800, "system_cockroachdb_away is 1800, and must be text"),
        ("system_cockroachdb_extra_args", "--x", "system_cockroachdb_extra_args is"),
    ],
)
def test_what_is_wrong(name: str, value: Any, said: str) -> None:
    (error,) = errors_of(**{name: value})
    assert error.startswith(said), error
    assert "secret" not in error


def test_what_has_to_be_set() -> None:
    def how(name: str) -> str:
        return f"give -e {name}=..., or set it in the inventory"

    found = settings_check.check({"hostnet_name": "", "hostnet_system": ""}, [], OPTIONS, ["hostnet_system", "hostnet_work"])["errors"]
    assert found == [
        f"hostnet_system is not set: {how('hostnet_system')} (etcd, nats, cockroachdb, or a system of your own as docs/systems.md describes)",
        f"hostnet_work is not set: {how('hostnet_work')} (reboot, replace, version, restart, repair, scale_down)",
    ]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("hostnet_data_rot", "hostnet_data_root"),
        ("hostnet_clusters", ""),
        ("hostnet_kube_cluster_s", "hostnet_kube_clusters"),
        ("hostnet_cliens", "hostnet_clients"),
        ("hostnet_timeout_second", "hostnet_timeout_seconds"),
        ("system_etcd_client_prot", "system_etcd_client_port"),
        ("hostnet_environment", ""),
    ],
)
def test_a_misspelt_name(name: str, meant: str) -> None:
    found = settings_check.check(GOOD, [*GOOD, name], OPTIONS)
    if meant:
        assert found["errors"] == [
            f"{name} is no variable of the collection, so it would do nothing: is {meant} meant? Correct it; one of your own needs another prefix"
        ]
    else:
        assert (found["errors"], len(found["warnings"])) == ([], 1)


def test_what_the_roles_make_for_each_other_is_never_refused() -> None:
    words: set[str] = set()
    for folder in ("roles", "plugins/inventory", "docs", "playbooks"):
        for path in sorted((CHECKOUT / folder).rglob("*.yml" if folder in ("roles", "playbooks") else "*")):
            if path.is_file() and path.suffix in (".yml", ".py", ".md"):
                words |= set(re.findall(r"\b(?:hostnet|system_(?:cockroachdb|etcd|nats))_[a-z_]+\b", path.read_text()))
    named = {word for word in words if not word.endswith("_") and word != "hostnet_nodes_info"}
    # Metrics have the collection's name as well.
    named -= set(re.findall(r"^hostnet_[a-z_]+", status_metrics.metrics(statuses.troubled()), re.MULTILINE))
    found = settings_check.check({}, sorted(named), OPTIONS)
    assert found["errors"] == [], "add a fact to FACTS of _plan/settings_check.py, or document the variable in its role's argument specs"


@settings(max_examples=60)
@given(ANYTHING)
def test_no_value_ends_in_an_error_of_python(value: Any) -> None:
    for name, option in OPTIONS.items():
        values = [value, [value], dict.fromkeys(option.get("options") or ["requests"], value)]
        for given_value in (*values, [values[2]]):
            for error in settings_check.check({name: given_value}, [name], OPTIONS)["errors"]:
                assert error.startswith(name)

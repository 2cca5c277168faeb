# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""CockroachDB without its image: versions, command lines as a shell runs them, rendered pods, and outputs as the command prints them."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import Template
from jinja2.nativetypes import NativeEnvironment

from ansible_collections.hostnet.multicluster.plugins.filter.cockroachdb import FilterModule
from ansible_collections.hostnet.multicluster.plugins.module_utils import _call
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import gate, join, layout, placement, pod
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.systems.cockroachdb import (
    CockroachError,
    Version,
    complete_spec,
    decommission_flags,
    drain_flags,
    image_version,
    init_member,
    init_outcome,
    inspection,
    is_blank,
    parse_build_tag,
    parse_cluster_id,
    parse_decommission,
    parse_node_id,
    parse_status,
    parse_version,
    refuse_init,
    same_address,
    shorten,
    version_flags,
)
from ansible_collections.hostnet.multicluster.plugins.modules import cockroachdb_spec
from support.collection import CHECKOUT
from support.in_process import perform

ROLE = CHECKOUT / "roles" / "system_cockroachdb"
CLUSTER = "6ce8e7e4-2b8f-4d8a-9d3c-8f0f5a7b1c2d"
OTHER = "0f0f5a7b-2b8f-4d8a-9d3c-6ce8e7e41c2d"
TABLE = ("v21.1.0-alpha.3", "v21.1.21", "v21.2.17", "v22.2.19", "v23.2.28", "v24.3.25", "v25.4.4", "v26.2.5")


@functools.cache
def template(text: str) -> Template:
    environment = NativeEnvironment()
    environment.filters["combine"] = lambda left, right: {**left, **right}
    return environment.from_string(text)


def filled(value: Any, variables: dict[str, Any]) -> Any:
    """A role's YAML with its Jinja expressions evaluated."""
    if isinstance(value, str):
        return template(value).render(variables) if "{{" in value else value
    if isinstance(value, dict):
        return {key: filled(item, variables) for key, item in value.items()}
    if isinstance(value, list):
        return [filled(item, variables) for item in value]
    return value


# What `cockroach` takes, by version, as the vendor documents it.
DOCUMENTED = {
    series: {command: set(words.split()) for command, words in tables.items()}
    for series, tables in yaml.safe_load((Path(__file__).parent / "cockroachdb_flags.yml").read_text()).items()
}


def documented(version: str) -> dict[str, set[str]]:
    return DOCUMENTED["v{}.{}".format(*parse_version(version).series)]


def role_with(**given: Any) -> dict[str, Any]:
    """The role's variables, with some that a user has set."""
    defaults = {**yaml.safe_load((ROLE / "defaults" / "main.yml").read_text()), **given}
    plain = {key: value for key, value in defaults.items() if key != "system_cockroachdb_spec"}
    plain = {key: filled(value, plain) for key, value in plain.items()}
    plain["system_cockroachdb_spec"] = filled(defaults["system_cockroachdb_spec"], plain)
    for key, value in yaml.safe_load((ROLE / "vars" / "main.yml").read_text()).items():
        plain[key] = filled(value, plain)
    return plain


@pytest.fixture(scope="module", name="role")
def role_fixture() -> dict[str, Any]:
    return role_with()


# Versions


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("v26.2.5", Version(26, 2, 5)),
        ("23.2", Version(23, 2)),
        ("v21.1.0-alpha.3", Version(21, 1, 0, -3, 3)),
        ("v21.1.0-beta.1", Version(21, 1, 0, -2, 1)),
        ("v24.3.0-rc.2", Version(24, 3, 0, -1, 2)),
        ("v21.1.0-alpha.3-2210-g0a1b2c3d4e", Version(21, 1, 0, -3, 3, 2210)),
        ("v23.1.11-77-g0a1b2c3-dirty", Version(23, 1, 11, 0, 0, 77)),
        ("v24.1.0-cloudonly.1", Version(24, 1)),
        ("v25.2.0-alpha.00000000-dev-0a1b2c3", Version(25, 2, 0, -3)),
        ("v23.2.4-fips", Version(23, 2, 4)),
    ],
)
def test_versions_are_read(text: str, version: Version) -> None:
    assert parse_version(text) == version


@pytest.mark.parametrize("text", ["", "latest", "v26", "sha256:0a1b", "26.2.5.1.2", "x26.2.5", "v26.2.5_1"])
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(CockroachError, match="is not a version of CockroachDB"):
        parse_version(text)


def test_versions_are_sorted_as_they_were_released() -> None:
    released = [
        "v21.1.0-alpha.3",
        "v21.1.0-alpha.3-5-gabc",
        "v21.1.0-beta.1",
        "v21.1.0-rc.1",
        "v21.1.0",
        "v21.1.0-2-gabc",
        "v21.1.1",
        "v21.2.0-rc.1",
    ]
    released += ["v21.2.0", "v22.1.10", "v25.4.0", "v26.2.5"]
    shuffled = released[::-1]
    assert sorted(shuffled, key=parse_version) == released


numbers = st.integers(0, 99)


@given(numbers, numbers, numbers, st.sampled_from(["", "alpha", "beta", "rc"]), numbers, numbers, st.booleans())
def test_any_version_that_is_written_is_read_back(year: int, minor: int, patch: int, word: str, number: int, commits: int, v: bool) -> None:
    text = f"{'v' * v}{year}.{minor}.{patch}" + (f"-{word}.{number}" if word else "") + (f"-{commits}-g0a1b2c3" if commits else "")
    found = parse_version(text)
    assert (found.series, found.patch, found.commits) == ((year, minor), patch, commits)
    assert (found < Version(year, minor, patch)) == bool(word)


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(CockroachError):
        assert parse_version(text).year < 1000


@pytest.mark.parametrize(
    ("image", "version", "expected"),
    [
        ("docker.io/cockroachdb/cockroach:v26.2.5", "", Version(26, 2, 5)),
        ("cockroach:v21.1.0-alpha.3", "", Version(21, 1, 0, -3, 3)),
        ("mirror.example:5000/db/cockroach:v24.3.1@sha256:0a1b", "", Version(24, 3, 1)),
        ("cockroachdb/cockroach:latest-v25.2", "", Version(25, 2)),
        ("cockroachdb/cockroach@sha256:0a1b", "v23.2.1", Version(23, 2, 1)),
        ("cockroachdb/cockroach:v26.2.5", "v21.2.3", Version(21, 2, 3)),
        ("cockroachdb/cockroach:v27.1.0", "", Version(27, 1)),
    ],
)
def test_the_version_of_an_image(image: str, version: str, expected: Version) -> None:
    assert image_version(image, version) == expected


@pytest.mark.parametrize("image", ["cockroach", "mirror.example:5000/cockroach", "cockroach:latest", "cockroach@sha256:0a1b"])
def test_an_image_without_a_version_asks_for_one(image: str) -> None:
    with pytest.raises(CockroachError, match="set system_cockroachdb_version"):
        image_version(image)


def test_versions_before_the_oldest_are_refused() -> None:
    with pytest.raises(CockroachError, match=r"v20\.2 is not supported: v21\.1 is the oldest"):
        image_version("cockroach:v20.2.19")


@pytest.mark.parametrize("text", TABLE)
def test_flags_of_each_version(text: str) -> None:
    version = parse_version(text)
    flags, env = version_flags(version)
    assert flags == (["--logtostderr=INFO"] if text == "v21.1.0-alpha.3" else ["--log=sinks: {stderr: {filter: INFO}}"])
    assert env == ({"COCKROACH_SKIP_KEY_PERMISSION_CHECK": "true"} if text.startswith("v21.1") else {})
    assert drain_flags(version) == ([] if text.startswith("v21.") else ["--self"])
    assert decommission_flags(version) == ([] if text.startswith(("v21.", "v22.")) else ["--checks=skip"])
    assert yaml.safe_load("{stderr: {filter: INFO}}") == {"stderr": {"filter": "INFO"}}


def test_a_log_configuration_is_passed_as_it_is_and_needs_a_release() -> None:
    log = {"sinks": {"stderr": {"filter": "WARNING", "redact": True}, "file-groups": {"ops": {"channels": ["OPS", "HEALTH"]}}}}
    spec = role_spec("v21.1.0", role_with(system_cockroachdb_log=log))
    for mode in ("node_name", "daemonset"):
        args = [pod.fill(word, {**HOSTNET, "placement": mode}, spec, ipv6=False) for word in spec["args"]]
        assert [yaml.safe_load(word.removeprefix("--log=")) for word in args if word.startswith("--log")] == [log]
    assert not made(image="cockroach:v21.1.0", log=log).get("failed")
    assert "needs v21.1.0 or later" in made(image="cockroach:v21.1.0-alpha.3", log=log)["msg"]


# The pod, as the plan renders it


HOSTNET: dict[str, Any] = {
    "name": "ledger",
    "system": "cockroachdb",
    "namespace": "ledger",
    "data_root": "/var/lib/hostnet",
    "pki_dir": "/pki",
    "kube_clusters": [{"name": "east"}],
    "tolerations": [],
    "probe_image": "example.test/busybox:1",
    "resources": {},
}


def binding(ordinal: int, address: str) -> dict[str, Any]:
    return {
        "member": f"east-{ordinal}",
        "kube_cluster": "east",
        "ordinal": ordinal,
        "node": f"vm-{ordinal}",
        "process": f"east-{ordinal}",
        "address": address,
        "region": "eu",
        "zone": f"eu-{ordinal}",
        "admission": "a1",
    }


def rendered(
    role: dict[str, Any], version: str, mode: str, addresses: list[str], locality: str = "region={region},zone={zone}"
) -> list[dict[str, Any]]:
    image = f"docker.io/cockroachdb/cockroach:{version}"
    spec = complete_spec(role["system_cockroachdb_spec"], image, locality=locality, extra_args=["--max-offset=250ms"])
    bindings = [binding(number, address) for number, address in enumerate(addresses)]
    certificates = [
        {"name": name, "file": wish["file"], "certificate": "c", "private_key": "k", "serial": "1", "not_after": "x"}
        for wish in spec["certificates"]
        for name in {layout.certificate_folder(wish, one) for one in bindings}
    ]
    objects = placement.render_objects(
        {**HOSTNET, "placement": mode, "image": image},
        spec,
        {"token": "10-5f0c9a71", "ca_fingerprint": "ff"},
        bindings,
        addresses[:2],
        "new",
        certificates,
    )
    return [one["definition"] for one in objects]


def container_of(objects: list[dict[str, Any]]) -> dict[str, Any]:
    workload = next(one for one in objects if one["kind"] in ("StatefulSet", "DaemonSet"))
    found: dict[str, Any] = workload["spec"]["template"]["spec"]["containers"][0]
    return found


def environment(objects: list[dict[str, Any]], node: str, address: str) -> dict[str, str]:
    """What Kubernetes makes of the container's env: literals, fields, keys of ConfigMaps, and $(NAME) of what came before."""
    maps = {one["metadata"]["name"]: one["data"] for one in objects if one["kind"] == "ConfigMap"}
    fields = {"status.hostIP": address, "spec.nodeName": node}
    env: dict[str, str] = {}
    for entry in container_of(objects)["env"]:
        source = entry.get("valueFrom", {})
        if "fieldRef" in source:
            env[entry["name"]] = fields[source["fieldRef"]["fieldPath"]]
        elif source:
            env[entry["name"]] = maps[source["configMapKeyRef"]["name"]][source["configMapKeyRef"]["key"]]
        else:
            env[entry["name"]] = expanded(entry["value"], env)
    return env


def expanded(text: str, env: dict[str, str]) -> str:
    return re.sub(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)", lambda match: env.get(match[1], match[0]), text)


@pytest.mark.parametrize("mode", ["node_name", "daemonset"])
@pytest.mark.parametrize("version", TABLE)
def test_the_command_line_that_starts_in_the_container(role: dict[str, Any], tmp_path: Path, version: str, mode: str) -> None:
    objects = rendered(role, version, mode, ["10.0.0.1", "10.0.0.12", "10.0.0.3"])
    container = container_of(objects)
    env = environment(objects, "vm-0", "10.0.0.1")
    argv = [expanded(word, env) for word in container["command"] + container["args"]]
    certs = "/etc/hostnet/certs" + ("/vm-0" if mode == "daemonset" else "")
    assert argv[:2] == ["/bin/sh", "-ec"]
    assert argv[3] == f"{certs}/locality"
    argv[3] = str(tmp_path / "locality")
    (tmp_path / "locality").write_text("region=eu,zone=eu-0")
    started = run_with_fake(argv, tmp_path, env)
    expected = [
        "start",
        f"--certs-dir={certs}",
        "--listen-addr=:26257",
        "--advertise-addr=10.0.0.1:26257",
        "--http-addr=127.0.0.1:8080",
        "--join=10.0.0.1:26257,10.0.0.12:26257",
        "--cluster-name=hostnet-10-5f0c9a71",
        "--store=path=/var/lib/hostnet/store",
        "--cache=25%",
        "--max-sql-memory=25%",
        "--logtostderr=INFO" if "alpha" in version else "--log=sinks: {stderr: {filter: INFO}}",
        "--max-offset=250ms",
        "--locality=region=eu,zone=eu-0",
    ]
    assert started == expected
    assert ("COCKROACH_SKIP_KEY_PERMISSION_CHECK" in env) == version.startswith("v21.1")
    # What pkg/base allows as the name of a cluster.
    assert re.fullmatch(r"[a-zA-Z](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?", env["HOSTNET_CLUSTER_NAME"])
    assert container["readinessProbe"]["httpGet"] == {"path": "/health?ready=1", "port": 8080, "scheme": "HTTPS", "host": "127.0.0.1"}
    assert "livenessProbe" not in container


@functools.cache
def tasks_of(name: str) -> list[Any]:
    tasks: list[Any] = yaml.safe_load((ROLE / "tasks" / f"{name}.yml").read_text())
    return tasks


def role_spec(version: str, role: dict[str, Any]) -> dict[str, Any]:
    """What tasks/spec.yml makes of the role's variables for an image of this version."""
    task = tasks_of("spec")[0]
    variables = {**role, "hostnet_image": f"docker.io/cockroachdb/cockroach:{version}"}
    variables |= {name: filled(text, variables) for name, text in task["vars"].items()}
    spec: dict[str, Any] = made(**filled(task["hostnet.multicluster.cockroachdb_spec"], variables))["spec"]
    return spec


def made(**options: Any) -> dict[str, Any]:
    return perform(cockroachdb_spec, {"spec": {"args": []}, **options})


# Every variable of the role that adds a flag or changes one, with and without a value of its own.
CHOICES: dict[str, list[Any]] = {
    "system_cockroachdb_rpc_port": [26257, 26258],
    "system_cockroachdb_http_address": ["127.0.0.1", "{host}", ""],
    "system_cockroachdb_store_options": ["", "attrs=ssd,size=90%"],
    "system_cockroachdb_max_offset": ["", "250ms"],
    "system_cockroachdb_log": [{}, {"sinks": {"stderr": {"filter": "WARNING", "format": "json"}}}],
    "system_cockroachdb_locality": ["", "region={region},zone={zone}"],
}


def test_every_flag_is_one_that_the_version_has() -> None:
    for values in itertools.product(*CHOICES.values()):
        role = role_with(**dict(zip(CHOICES, values, strict=True)))
        for version in TABLE:
            if "alpha" in version and role["system_cockroachdb_log"]:
                continue
            args = role_spec(version, role)["args"]
            flags = [word.partition("=")[0] for word in args if word.startswith("--")]
            scripts = " ".join(word for word in args[: args.index("start")])
            flags += re.findall(r"(?<!\S)--[a-z-]+", scripts)
            known = documented(version)
            assert set(flags) <= known["start"], (version, values)
            assert len(flags) == len(set(flags)), (version, values)
            (store,) = (word.removeprefix("--store=") for word in args if word.startswith("--store="))
            assert {field.partition("=")[0] for field in store.split(",")} <= known["store fields"], (version, values)


@pytest.mark.parametrize("version", TABLE)
def test_every_flag_of_a_command_is_one_that_the_version_has(role: dict[str, Any], version: str) -> None:
    own = parse_version(version)
    answered = {"east-0": {"drain_flags": drain_flags(own), "decommission_flags": decommission_flags(own)}}
    variables = {
        **role,
        "hostnet_member": {"member": "east-0"},
        "hostnet_forget": {"id": "9"},
        "system_cockroachdb_asked": {"inspection": answered},
        "system_cockroachdb_helper": "east-0",
    }
    drain = tasks_of("drain")[1]["hostnet.multicluster.member_exec"]["commands"]["drain"]
    forget = tasks_of("forget")[-1]
    variables |= {"system_cockroachdb_decommission": filled(forget["vars"]["system_cockroachdb_decommission"], variables)}
    begin, ask = forget["block"]
    settings = role["system_cockroachdb_operations"]["settings"]
    commands = {
        "init": [role["system_cockroachdb_init"]],
        "sql": [role["system_cockroachdb_inspect"]["node_id"], settings["read"], settings["write"]],
        "node status": [role["system_cockroachdb_inspect"]["status"]],
        "node drain": [filled(drain, variables)],
        "node decommission": [
            filled(begin["hostnet.multicluster.member_exec"]["commands"]["decommission"], variables),
            filled(ask["hostnet.multicluster.member_inspect"]["inspect"]["commands"]["decommission"], variables),
        ],
    }
    for command, lists in commands.items():
        for argv in lists:
            assert command in " ".join(argv)
            flags = {flag for word in argv for flag in re.findall(r"(?<!\S)--[a-z-]+", word)}
            assert {"--certs-dir", "--host"} <= flags <= documented(version)[command], (command, argv)


def two_ports(rpc_port: int, **given: Any) -> dict[str, Any]:
    """What tasks/spec.yml makes of the role's variables."""
    role = role_with(system_cockroachdb_rpc_port=rpc_port, **given)
    tasks = yaml.safe_load((ROLE / "tasks" / "spec.yml").read_text())
    more = filled(tasks[0]["vars"]["system_cockroachdb_own_sql"], role)
    return {
        **role,
        "system_cockroachdb_spec": {**role["system_cockroachdb_spec"], "args": [*role["system_cockroachdb_spec"]["args"], *more]},
    }


@pytest.mark.parametrize("mode", ["node_name", "daemonset"])
def test_sql_and_members_have_ports_of_their_own(mode: str) -> None:
    role = two_ports(26258)
    container = container_of(objects := rendered(role, "v26.2.5", mode, ["10.0.0.1", "10.0.0.2"]))
    env = environment(objects, "vm-0", "10.0.0.1")
    args = [expanded(word, env) for word in container["args"]]
    for flag in (
        "--listen-addr=:26258",
        "--advertise-addr=10.0.0.1:26258",
        "--sql-addr=:26257",
        "--advertise-sql-addr=10.0.0.1:26257",
        "--join=10.0.0.1:26258,10.0.0.2:26258",
    ):
        assert flag in args
    assert {port["name"]: port["hostPort"] for port in container["ports"]} == {"sql": 26257, "rpc": 26258}
    assert role["system_cockroachdb_sql"][-1] == "{host}:26257"
    assert role["system_cockroachdb_rpc"][-1] == role["system_cockroachdb_init"][-1] == "{host}:26258"
    answers = {
        "gossip": {"rc": 0, "stdout": f'"cluster-id": "{CLUSTER}"'},
        "node_id": {"rc": 0, "stdout": "node_id\n1\n"},
        "status": {
            "rc": 0,
            "stdout": "id,address,sql_address,is_available,is_live,membership,is_draining\n1,10.0.0.1:26258,10.0.0.1:26257,true,true,active,false\n",
        },
    }
    asked = inspection({"east-0": answers}, [{"member": "east-0", "variables": {"address": "10.0.0.1"}}], role["system_cockroachdb_spec"])
    assert asked["east-0"]["healthy"], asked


@pytest.mark.parametrize(
    ("given", "flag", "host", "declared"),
    [("127.0.0.1", "127.0.0.1:8080", "127.0.0.1", False), ("{host}", "10.0.0.1:8080", None, True), ("", ":8080", None, True)],
)
def test_the_console_is_on_the_host_alone_unless_somebody_says_otherwise(given: str, flag: str, host: str | None, declared: bool) -> None:
    objects = rendered(role_with(system_cockroachdb_http_address=given), "v26.2.5", "node_name", ["10.0.0.1", "10.0.0.2"])
    container = container_of(objects)
    assert f"--http-addr={flag}" in [expanded(word, environment(objects, "vm-0", "10.0.0.1")) for word in container["args"]]
    assert container["readinessProbe"]["httpGet"].get("host") == host
    assert container["readinessProbe"]["httpGet"]["port"] == 8080
    assert ("http" in {port["name"] for port in container["ports"]}) is declared


def test_every_member_gets_its_own_locality_and_its_certificates(role: dict[str, Any]) -> None:
    secret = next(one for one in rendered(role, "v26.2.5", "daemonset", ["10.0.0.1", "10.0.0.2"]) if one["kind"] == "Secret")
    assert set(secret["data"]) == {"vm-0.locality", "vm-1.locality"}
    items = next(
        volume["projected"]["sources"][0]["secret"]["items"]
        for one in rendered(role, "v26.2.5", "daemonset", ["10.0.0.1", "10.0.0.2"])
        if one["kind"] == "DaemonSet"
        for volume in one["spec"]["template"]["spec"]["volumes"]
        if "projected" in volume
    )
    names = {"ca.crt", "node.crt", "node.key", "client.root.crt", "client.root.key", "locality"}
    assert {item["path"] for item in items} == {f"{node}/{name}" for node in ("vm-0", "vm-1") for name in names}


def test_ipv6_has_brackets_where_a_port_follows(role: dict[str, Any]) -> None:
    objects = rendered(role, "v26.2.5", "node_name", ["fd00::1", "fd00::2", "fd00::3"])
    env = environment(objects, "vm-0", "fd00::1")
    args = [expanded(word, env) for word in container_of(objects)["args"]]
    assert "--advertise-addr=[fd00::1]:26257" in args
    assert "--join=[fd00::1]:26257,[fd00::2]:26257" in args


def test_without_a_locality_nothing_wraps_the_command(role: dict[str, Any]) -> None:
    container = container_of(rendered(role, "v26.2.5", "node_name", ["10.0.0.1", "10.0.0.2"], locality=""))
    assert container["command"] == ["/cockroach/cockroach"]
    assert container["args"][0] == "start"


def test_a_node_without_the_label_that_the_locality_needs_is_named(role: dict[str, Any]) -> None:
    spec = complete_spec(role["system_cockroachdb_spec"], "x:v26.2.5", locality="zone={zone}")
    with pytest.raises(join.JoinError, match="member east-0 has no 'zone'"):
        join.render([{**binding(0, "10.0.0.1"), "zone": ""}], spec["member_files"]["locality"], "", {})


# Scripts, as a shell runs them


def run_with_fake(argv: list[str], folder: Path, env: dict[str, str] | None = None, code: int = 0) -> list[str]:
    """Runs argv with a program in place of /cockroach/cockroach that writes its arguments down; returns them."""
    fake = folder / "cockroach"
    fake.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >"{folder}/arguments"\nexit {code}\n')
    fake.chmod(0o755)
    (folder / "arguments").unlink(missing_ok=True)
    argv = [word.replace("/cockroach/cockroach", str(fake)) for word in argv]
    result = subprocess.run(argv, env={"PATH": "/usr/bin:/bin", **(env or {})}, check=False, capture_output=True, text=True, timeout=300)
    assert result.returncode == code, result.stderr
    return (folder / "arguments").read_text().splitlines()


def filled_in(words: list[str], folder: Path, host: str = "10.0.0.1") -> list[str]:
    """The command of a member whose Secret volume is in `folder`, with a key that the group may read."""
    certs = folder / "certs"
    certs.mkdir(exist_ok=True)
    for name in ("ca.crt", "node.crt", "node.key", "client.root.crt", "client.root.key"):
        (certs / name).unlink(missing_ok=True)
        (certs / name).write_text(f"first {name}")
        (certs / name).chmod(0o440)
    return [word.replace("{certs}", str(certs)).replace("{host}", host) for word in words]


def own_folder(arguments: list[str]) -> str:
    """The folder of certificates that a command was run with; its name is another one each time."""
    (folder,) = (word.removeprefix("--certs-dir=") for word in arguments if word.startswith("--certs-dir="))
    return folder


@pytest.mark.parametrize("text", ["region=eu,zone=eu-1", "region=eu,zone=eu-1\n"])
def test_the_locality_is_read_with_and_without_a_newline(role: dict[str, Any], tmp_path: Path, text: str) -> None:
    (tmp_path / "locality").write_text(text)
    spec = complete_spec(role["system_cockroachdb_spec"], "x:v26.2.5", locality="zone={zone}")
    argv = [*spec["command"], spec["args"][0], str(tmp_path / "locality"), "start", "--flag=a b"]
    assert run_with_fake(argv, tmp_path) == ["start", "--flag=a b", "--locality=region=eu,zone=eu-1"]


def test_no_start_without_the_locality_file(role: dict[str, Any], tmp_path: Path) -> None:
    spec = complete_spec(role["system_cockroachdb_spec"], "x:v26.2.5", locality="zone={zone}")
    argv = [*spec["command"], spec["args"][0], str(tmp_path / "missing"), "start"]
    assert subprocess.run(argv, check=False, capture_output=True, timeout=300).returncode != 0


def test_commands_of_the_inspection(role: dict[str, Any], tmp_path: Path) -> None:
    env = {"HOSTNET_CLUSTER_NAME": "hostnet-x"}
    commands = role["system_cockroachdb_inspect"]

    def run(name: str) -> list[str]:
        said = run_with_fake(filled_in(commands[name], tmp_path, "[fd00::1]"), tmp_path, env)
        return [word for word in said if not word.startswith("--certs-dir=")]

    assert run("gossip") == ["debug", "gossip-values", "--host=[fd00::1]:26257", "--cluster-name=hostnet-x"]
    assert run("node_id") == ["sql", "--format=csv", "--execute=SHOW node_id", "--host=[fd00::1]:26257"]
    assert run("status") == ["node", "status", "--all", "--format=csv", "--host=[fd00::1]:26257"]
    assert run("version") == ["version"]


@pytest.mark.parametrize("name", ["system_cockroachdb_sql", "system_cockroachdb_rpc", "system_cockroachdb_init"])
@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])
@pytest.mark.parametrize("code", [0, 3])
def test_a_command_has_keys_of_its_own_and_leaves_none(role: dict[str, Any], tmp_path: Path, name: str, shell: str, code: int) -> None:
    """The client's key is the process's own, 0600 to the bit, in a folder for nobody else: what every version of the SQL client accepts."""
    memory = tmp_path / "memory"
    memory.mkdir()
    fake = tmp_path / "cockroach"
    fake.write_text(
        f'#!/bin/sh\nfor word; do case $word in --certs-dir=*) cd "${{word#*=}}";; esac; done\n'
        f'stat -c "%a %u %n" "$PWD" * >{tmp_path}/seen\ncat client.root.key >>{tmp_path}/seen\nexit {code}\n'
    )
    fake.chmod(0o755)
    argv = filled_in([*role[name], "30", "node", "status"], tmp_path)
    argv = [shell, *(word.replace("/cockroach/cockroach", str(fake)) for word in argv[1:])]
    env = {"PATH": "/usr/bin:/bin", "TMPDIR": str(memory), "HOSTNET_CLUSTER_NAME": "x", "HOSTNET_JOIN": "10.0.0.1:26257"}

    def run() -> list[str]:
        result = subprocess.run(argv, env=env, check=False, capture_output=True, text=True, timeout=300)
        assert (result.returncode, result.stderr, list(memory.iterdir())) == (code, "", [])
        return (tmp_path / "seen").read_text().splitlines()

    folder, authority, certificate, key, content = run()
    user = os.getuid()
    assert folder.startswith(f"700 {user} {memory}/")
    assert [authority, certificate, key] == [f"400 {user} ca.crt", f"400 {user} client.root.crt", f"600 {user} client.root.key"]
    assert content == "first client.root.key"
    # After a rotation: what is there when the command begins.
    (tmp_path / "certs" / "client.root.key").unlink()
    (tmp_path / "certs" / "client.root.key").write_text("second")
    assert run()[-1] == "second"
    # Without a key nothing is run.
    (tmp_path / "certs" / "client.root.key").unlink()
    (tmp_path / "seen").unlink()
    result = subprocess.run(argv, env=env, check=False, capture_output=True, text=True, timeout=300)
    assert result.returncode != 0
    assert "client.root.key" in result.stderr
    assert list(memory.iterdir()) == []
    assert not (tmp_path / "seen").exists()


@pytest.mark.parametrize("mode", ["node_name", "daemonset"])
def test_keys_are_for_the_group_alone_and_copies_in_memory(role: dict[str, Any], mode: str) -> None:
    (pod,) = (
        one["spec"]["template"]["spec"]
        for one in rendered(role, "v21.1.2", mode, ["10.0.0.1"])
        if one["kind"] in ("StatefulSet", "DaemonSet")
    )
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    secret = volumes["certificates"].get("secret") or volumes["certificates"]["projected"]
    assert secret["defaultMode"] == 0o440
    assert volumes["scratch-tmp"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "64Mi"}
    (container,) = pod["containers"]
    assert {"name": "scratch-tmp", "mountPath": "/tmp"} in container["volumeMounts"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["fsGroup"] == 10001


def test_a_command_that_hangs_is_ended(role: dict[str, Any], tmp_path: Path) -> None:
    fake = tmp_path / "cockroach"
    fake.write_text("#!/bin/sh\nexec sleep 300\n")
    fake.chmod(0o755)
    argv = [word.replace("/cockroach/cockroach", str(fake)) for word in filled_in([*role["system_cockroachdb_sql"], "1", "sql"], tmp_path)]
    assert subprocess.run(argv, check=False, timeout=300).returncode == 124


def test_a_failing_command_keeps_its_code(role: dict[str, Any], tmp_path: Path) -> None:
    run_with_fake(
        filled_in([*role["system_cockroachdb_rpc"], "300", "node", "drain"], tmp_path), tmp_path, {"HOSTNET_CLUSTER_NAME": "x"}, code=3
    )


@pytest.mark.parametrize(
    ("seeds", "host", "runs"),
    [
        ("10.0.0.1:26257,10.0.0.2:26257", "10.0.0.1", True),
        ("10.0.0.2:26257,10.0.0.1:26257", "10.0.0.1", True),
        ("10.0.0.12:26257,10.0.0.2:26257", "10.0.0.1", False),
        ("110.0.0.1:26257", "10.0.0.1", False),
        ("[fd00::1]:26257,[fd00::2]:26257", "[fd00::2]", True),
        ("[fd00::11]:26257", "[fd00::1]", False),
        ("", "10.0.0.1", False),
    ],
)
def test_init_runs_only_on_a_member_of_the_join_list(role: dict[str, Any], tmp_path: Path, seeds: str, host: str, runs: bool) -> None:
    argv = filled_in(role["system_cockroachdb_init"], tmp_path, host)
    env = {"HOSTNET_JOIN": seeds, "HOSTNET_CLUSTER_NAME": "hostnet-x"}
    if runs:
        arguments = run_with_fake(argv, tmp_path, env)
        assert arguments == ["init", f"--certs-dir={own_folder(arguments)}", f"--host={host}:26257", "--cluster-name=hostnet-x"]
        return
    result = subprocess.run(argv, env={"PATH": "/usr/bin:/bin", **env}, check=False, capture_output=True, text=True, timeout=300)
    assert result.returncode == 78
    assert "is not in the join list" in result.stderr


# Outputs


VERSION = """\
Build Tag:        v21.1.0-alpha.3-2210-g0a1b2c3d4e
Build Time:       2021/03/08 12:00:00
Distribution:     CCL
"""
GOSSIP = f'"cluster-id": {CLUSTER}\n"node:1": node_id:1 address:<network_field:"tcp" address_field:"10.0.0.1:26257" >\n'
BLANK = "Error: rpc error: code = Unavailable desc = node waiting for init; /cockroach.server.serverpb.Status/Gossip not available\n"
COLUMNS = (
    "id,address,sql_address,build,started_at,updated_at,locality,is_available,is_live,replicas_leaders,replicas_leaseholders,ranges,"
    "ranges_unavailable,ranges_underreplicated,live_bytes,key_bytes,value_bytes,intent_bytes,system_bytes,"
    "gossiped_replicas,is_decommissioning,membership,is_draining"
)


def row(
    number: int,
    address: str,
    live: str = "true",
    membership: str = "active",
    draining: str = "false",
    unavailable: int | str = 0,
    under: int | str = 0,
    available: str = "",
) -> str:
    start = f'{number},{address},{address},v21.1.0-alpha.3,2026-11-01 10:00:00+00:00,2026-11-01 10:00:00+00:00,"region=eu,zone=eu-1"'
    replicas = f"12,11,37,{unavailable},{under},1,2,3,4,5,37"
    return f"{start},{available or live},{live},{replicas},{str(membership != 'active').lower()},{membership},{draining}"


def table(*rows: str) -> str:
    return "\n".join([COLUMNS, *rows]) + "\n"


def ok(stdout: str) -> dict[str, Any]:
    return {"rc": 0, "stdout": stdout, "stderr": "", "error": ""}


def bad(stderr: str, rc: int = 1) -> dict[str, Any]:
    return {"rc": rc, "stdout": "", "stderr": stderr, "error": ""}


def answers(number: int = 1, status: str = "", **others: Any) -> dict[str, Any]:
    rows = status or table(row(1, "10.0.0.1:26257"), row(2, "10.0.0.12:26257"), row(3, "10.0.0.3:26257"))
    return {"gossip": ok(GOSSIP), "version": ok(VERSION), "node_id": ok(f"node_id\n{number}\n"), "status": ok(rows), **others}


def target(member: str, address: str) -> dict[str, Any]:
    return {"member": member, "pod": f"ledger-{member}-0", "variables": {"address": address}}


SPEC = {"ports": {"sql": 26257}}
TARGETS = [target("east-0", "10.0.0.1"), target("east-1", "10.0.0.12"), target("west-0", "10.0.0.3")]


def seen(results: dict[str, Any]) -> dict[str, Any]:
    return inspection({"east-0": results}, TARGETS, SPEC)["east-0"]


def test_a_healthy_cluster() -> None:
    views = inspection({one["member"]: answers(number) for number, one in enumerate(TARGETS, 1)}, TARGETS, SPEC)
    assert [view["healthy"] for view in views.values()] == [True, True, True], views
    view = views["east-1"]
    assert (view["reachable"], view["cluster_id"], view["id"], view["role"], view["leader"], view["reason"]) == (
        True,
        CLUSTER,
        "2",
        "node",
        False,
        "",
    )
    assert view["version"] == "v21.1.0-alpha.3-2210-g0a1b2c3d4e"
    assert view["drain_flags"] == []
    assert [(peer["id"], peer["name"]) for peer in view["peers"]] == [("1", "east-0"), ("2", "east-1"), ("3", "west-0")]
    assert (view["ranges_unavailable"], view["ranges_underreplicated"]) == (0, 0)


def test_a_blank_member_says_so_itself() -> None:
    view = seen({"gossip": bad(BLANK), "version": ok(VERSION), "node_id": bad("timeout", 124), "status": bad("timeout", 124)})
    assert (view["reachable"], view["healthy"], view["cluster_id"], view["role"]) == (True, False, "", "blank")


@pytest.mark.parametrize(
    "gossip",
    [
        {},
        {"error": "the pod does not exist"},
        bad("ERROR: cannot dial server.\nIs the server running?"),
        bad("", 124),
        bad('rpc error: local cluster name "other" does not match peer cluster name "crdb"'),
        ok(""),
        ok('"node:1": node_id:1\n'),
    ],
)
def test_what_is_not_understood_is_not_blank(gossip: dict[str, Any]) -> None:
    view = seen(answers(gossip=gossip))
    assert view["reachable"] is False
    assert view["healthy"] is False
    assert view["reason"]


def test_a_replaced_member_is_found_by_id_beside_its_dead_predecessor() -> None:
    rows = table(
        row(1, "10.0.0.1:26257"), row(2, "10.0.0.12:26257"), row(3, "10.0.0.3:26257", live="false", under=26), row(4, "10.0.0.3:26257")
    )
    view = inspection({"west-0": answers(4, rows)}, TARGETS, SPEC)["west-0"]
    assert (view["healthy"], view["id"]) == (True, "4")
    assert [(peer["id"], peer["name"], peer["live"]) for peer in view["peers"] if peer["address"] == "10.0.0.3:26257"] == [
        ("3", "", False),
        ("4", "west-0", True),
    ]


def test_decommissioned_ids_are_no_peers() -> None:
    view = seen(answers(1, table(row(1, "10.0.0.1:26257"), row(3, "10.0.0.3:26257", live="false", membership="decommissioned"))))
    assert [peer["id"] for peer in view["peers"]] == ["1"]


@pytest.mark.parametrize(
    ("own", "reason"),
    [
        (row(1, "10.0.0.1:26257", live="false"), "liveness record has expired"),
        (row(1, "10.0.0.1:26257", live="true", available="false"), "liveness record has expired"),
        (row(1, "10.0.0.1:26257", membership="decommissioning"), "it is decommissioning"),
        (row(1, "10.0.0.1:26257", draining="true"), "it is draining"),
        (row(1, "10.0.0.12:26257"), "it advertises 10.0.0.12:26257 instead of 10.0.0.1:26257"),
        (row(1, "10.0.0.1:26258"), "it advertises 10.0.0.1:26258"),
        (row(9, "10.0.0.1:26257"), "no row for its id 1"),
    ],
)
def test_why_a_member_is_not_healthy(own: str, reason: str) -> None:
    view = seen(answers(1, table(own)))
    assert (view["reachable"], view["healthy"], view["cluster_id"]) == (True, False, CLUSTER)
    assert reason in view["reason"]


def test_without_quorum_the_cluster_id_is_still_known() -> None:
    view = seen(answers(node_id=bad("", 124), status=bad("", 124)))
    assert (view["reachable"], view["cluster_id"], view["healthy"]) == (True, CLUSTER, False)
    assert "SQL does not answer" in view["reason"]
    view = seen(answers(status=bad("ERROR: liveness record not found in cache")))
    assert "liveness record not found" in view["reason"]


def test_counts_of_ranges_are_sums_over_live_nodes_or_unknown() -> None:
    rows = table(
        row(1, "10.0.0.1:26257", unavailable=2, under=3),
        row(2, "10.0.0.12:26257", under=4),
        row(3, "10.0.0.3:26257", live="false", under=90),
    )
    view = seen(answers(1, rows))
    assert (view["ranges_unavailable"], view["ranges_underreplicated"]) == (2, 7)
    view = seen(answers(1, table(row(1, "10.0.0.1:26257", under="NULL"))))
    assert view["ranges_underreplicated"] == -1


def test_tsv_and_csv_are_the_same_table_and_columns_may_move() -> None:
    text = table(row(1, "10.0.0.1:26257"), row(2, "[fd00::1]:26257"))
    expected = parse_status(text)
    assert expected[1]["locality"] == "region=eu,zone=eu-1"
    # A tab-separated text needs no quotes around commas.
    tsv = "\n".join("\t".join(line) for line in [list(expected[0]), *(list(one.values()) for one in expected)])
    assert parse_status("# a notice\n" + tsv) == expected
    columns = list(expected[0])[::-1]
    assert parse_status("\n".join(["\t".join(columns), *("\t".join(one[name] for name in columns) for one in expected)])) == expected


@pytest.mark.parametrize(
    ("text", "reason"), [("", "printed no table: nothing"), ("id,address\n1,x\n", "no column is_available"), ("ERROR", "ERROR")]
)
def test_a_table_that_cannot_be_read(text: str, reason: str) -> None:
    with pytest.raises(CockroachError, match=reason):
        parse_status(text)


@given(st.text(max_size=200))
def test_no_output_is_the_end_of_a_decommission(text: str) -> None:
    left, over = parse_decommission(text)
    assert left
    assert not over


@pytest.mark.parametrize(
    ("text", "left", "over"),
    [
        ("id,is_live,replicas,is_decommissioning,membership,is_draining\n1,false,44,true,decommissioning,false\n", "44", False),
        ("\nid\tis_live\treplicas\tis_decommissioning\tis_draining\n1\ttrue\t0\ttrue\tfalse\n", "0", False),
        ("id,is_live,replicas,membership,readiness,blocking_ranges\n1,true,7,decommissioning,ready,0\n", "7", False),
        ("id,is_live,replicas\n1,false,0\n\nNo more data reported on target nodes. Please verify cluster health.\n", "0", True),
        ("", "not known (node decommission printed no table: nothing)", False),
        ("id,is_live,replicas\n", "not known (id,is_live,replicas)", False),
        ("id,is_live,replicas\n1,true,4\n2,true,5\n", "not known (id,is_live,replicas 1,true,4 2,true,5)", False),
        (
            "ERROR: rpc error: code = DeadlineExceeded",
            "not known (node decommission printed no table: ERROR: rpc error: code = DeadlineExceeded)",
            False,
        ),
    ],
)
def test_what_a_decommission_says(text: str, left: str, over: bool) -> None:
    assert parse_decommission(text) == (left, over)


def test_a_decommission_is_asked_for_alone_and_silence_is_not_its_end() -> None:
    target = {"member": "east-0", "variables": {"address": "10.0.0.1"}}
    spec = {"ports": {"sql": 26257}}
    for results in ({}, {"east-0": {}}, {"east-0": {"decommission": {"error": "no answer"}}}, {"east-0": {"decommission": {"rc": 124}}}):
        view = inspection(results, [target], spec)["east-0"]
        assert view["replicas_left"].startswith("not known")
        assert view["decommissioned"] is False
    done = {"east-0": {"decommission": {"rc": 0, "stdout": "No more data reported on target nodes. Please"}}}
    assert inspection(done, [target], spec)["east-0"]["decommissioned"] is True


@given(st.text(max_size=200))
def test_no_output_breaks_the_inspection(text: str) -> None:
    for command, code in itertools.product(("gossip", "version", "node_id", "status"), (0, 1)):
        view = seen(answers(**{command: {"rc": code, "stdout": text, "stderr": text, "error": ""}}))
        assert isinstance(view["healthy"], bool)
        if command == "gossip" and not is_blank(text) and not parse_cluster_id(text):
            assert not view["reachable"]


def test_small_outputs() -> None:
    assert parse_build_tag(VERSION) == "v21.1.0-alpha.3-2210-g0a1b2c3d4e"
    assert parse_build_tag("no tag") == ""
    assert parse_cluster_id(GOSSIP) == CLUSTER
    assert parse_cluster_id(f'"cluster-id": "{CLUSTER.upper()}"') == CLUSTER
    assert parse_cluster_id('"cluster-id": 1234') == ""
    assert parse_node_id("node_id\n3\n") == "3"
    assert parse_node_id("SET\nnode_id\r\n12\r\n") == "12"
    assert parse_node_id("ERROR: node_id\nx") == ""
    assert is_blank('{"error": "node is waiting for cluster initialization", "code": 14}')
    assert not is_blank("node is shutting down")
    assert shorten("a\n b", 10) == "a b"
    assert shorten("x" * 20, 10) == "xxxxxxx..."


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("10.0.0.1:26257", "10.0.0.1:26257", True),
        ("10.0.0.1:26257", "10.0.0.12:26257", False),
        ("10.0.0.1:26257", "10.0.0.1:26258", False),
        ("[FD00:0::1]:26257", "[fd00::1]:26257", True),
        ("Host.example:1", "host.example:1", True),
        ("", "", False),
        ("10.0.0.1", "10.0.0.1", False),
        ("10.0.0.1:x", "10.0.0.1:x", False),
    ],
)
def test_addresses_are_compared_whole(left: str, right: str, same: bool) -> None:
    for first, second in ((left, right), (right, left)):
        assert same_address(first, second) is same


# init, gate


@pytest.mark.parametrize(
    ("result", "outcome"),
    [
        (ok("Cluster successfully initialized\n"), "initialized"),
        (bad("Error: cluster has already been initialized\n"), "already"),
        (bad("Error: unable to bootstrap due to internal error\n"), "failed: Error: unable to bootstrap due to internal error"),
        (bad("10.0.0.1:26257 is not in the join list", 78), "failed: 10.0.0.1:26257 is not in the join list"),
        (bad("Cluster successfully initialized"), "failed: Cluster successfully initialized"),
        (ok(""), "failed: init printed nothing"),
        ({}, "failed: init printed nothing"),
        ({"rc": 0, "stdout": "Cluster successfully initialized", "stderr": "", "error": "connection lost"}, "failed: connection lost"),
    ],
)
def test_what_came_of_init(result: dict[str, Any], outcome: str) -> None:
    assert init_outcome(result) == outcome


MEMBERS = [
    {"member": f"{kube}-{number}", "kube_cluster": kube, "zone": zone, "address": f"10.{index}.0.{number + 1}"}
    for index, (kube, zones) in enumerate((("west", "ab"), ("east", "cba")))
    for number, zone in enumerate(zones)
]


@given(st.permutations(MEMBERS), st.integers(1, 3))
def test_init_has_one_member_whatever_the_order_and_it_is_in_the_join_list(members: list[dict[str, Any]], per_cluster: int) -> None:
    first = init_member(members)
    assert first["member"] == "east-2"
    assert first["address"] in join.join_list([{**member, "live": True} for member in members], [], per_cluster)


def test_init_is_for_claimed_members() -> None:
    assert init_member(MEMBERS, ["west-0", " west-1 ", ""])["member"] == "west-0"
    assert init_member(MEMBERS, [""])["member"] == "east-2"
    with pytest.raises(CockroachError, match="none of the claimed members north-0 exists"):
        init_member(MEMBERS, ["north-0"])
    with pytest.raises(CockroachError, match="none of the claimed members"):
        init_member([])


def views(**changes: dict[str, Any]) -> dict[str, Any]:
    found = inspection({one["member"]: answers(number) for number, one in enumerate(TARGETS, 1)}, TARGETS, SPEC)
    return {name: {**view, **changes.get(name.replace("-", "_"), {})} for name, view in found.items()}


def closed(kind: str, member: str, seen: dict[str, Any]) -> list[str]:
    operations = yaml.safe_load((CHECKOUT / "roles/system_cockroachdb/vars/main.yml").read_text())["system_cockroachdb_operations"]
    gates = [*gate.GENERIC[kind], *operations["gates"].get(kind, [])]
    return gate.evaluate(gates, gate.document(seen, member, [str(one["member"]) for one in TARGETS]))


def test_a_member_of_a_healthy_cluster_may_stop() -> None:
    for kind in gate.GENERIC:
        assert closed(kind, "east-0", views()) == []
    # It is the one under repair, so its own health does not count.
    sick = views(east_0={"healthy": False, "reason": "x", "ranges_unavailable": -1, "ranges_underreplicated": -1})
    assert closed("stop", "east-0", sick) == []
    assert len(closed("settled", "east-0", sick)) == 3


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"east_1": {"healthy": False, "reason": "it is draining"}}, "members that are not healthy: east-1: it is draining"),
        ({"east_1": {"draining": True}}, "members that are draining: east-1"),
        ({"east_1": {"cluster_id": OTHER}}, f"the members report different cluster ids: {', '.join(sorted([CLUSTER, OTHER]))}"),
        ({"east_1": {"ranges_unavailable": 1}}, "ranges that are unavailable (-1 when not known): east-1: 1"),
        ({"west_0": {"ranges_underreplicated": 26}}, "ranges that are under-replicated (-1 when not known): west-0: 26"),
        ({"west_0": {"ranges_underreplicated": -1}}, "ranges that are under-replicated (-1 when not known): west-0: -1"),
        ({"west_0": {"peers": [{"id": "7", "membership": "decommissioning"}]}}, "nodes that are being decommissioned: 7"),
    ],
)
def test_why_a_member_may_not_stop(changes: dict[str, Any], problem: str) -> None:
    assert problem in closed("stop", "east-0", views(**changes))
    assert problem in closed("settled", "east-0", views(**changes))


def test_the_first_member_that_is_repaired_may_find_ranges_without_a_replica() -> None:
    assert closed("admit", "east-0", views(west_0={"ranges_underreplicated": 26})) == []
    assert closed("admit", "east-0", views(west_0={"ranges_unavailable": 2})) == [
        "ranges that are unavailable (-1 when not known): west-0: 2"
    ]


def test_the_spec_is_refused_in_one_line() -> None:
    refused = made(image="x")
    assert (refused["failed"], refused["requests"]) == (True, 0)
    assert refused["msg"].startswith("the tag of image 'x' is no version of CockroachDB")
    settings = {"enterprise.license": "crl-0-hidden"}
    refused = made(image="cockroach:v26.2.5", settings=settings)
    assert "enterprise.license: this is a secret" in refused["msg"]
    assert "must have the name of each setting" in made(image="cockroach:v26.2.5", settings=["x"])["msg"]


def test_a_setting_that_is_refused_is_in_no_invocation() -> None:
    call = _call.Call(
        {"spec": {"args": []}, "image": "x", "version": "", "locality": "", "log": {}, "extra_args": [], "settings": {"a.b": "hidden"}}
    )
    with pytest.raises(_call.Failure):
        cockroachdb_spec.run(call)
    assert "hidden" not in str(call.params)


def test_init_is_refused_where_it_might_make_a_second_cluster() -> None:
    members = [{"member": "east-0"}, {"member": "west-0"}]
    blank = {name: {"reachable": True, "cluster_id": ""} for name in ("east-0", "west-0")}
    refuse_init(blank, members, list(blank))
    refuse_init({**blank, "west-0": {"reachable": True, "cluster_id": CLUSTER}}, members, list(blank))
    for inspected, asked, why in (
        ({name: {"reachable": True, "cluster_id": name} for name in blank}, list(blank), "Cluster ids found: east-0, west-0."),
        ({**blank, "west-0": {"reachable": False, "cluster_id": ""}}, list(blank), "Members that do not answer: west-0."),
        ({"east-0": blank["east-0"]}, ["east-0"], "Members without a running container: west-0."),
    ):
        with pytest.raises(CockroachError) as refused:
            refuse_init(inspected, members, asked)
        assert why in str(refused.value)


def test_the_filter_reports_input_in_one_line() -> None:
    filters = FilterModule().filters()
    assert set(filters) == {path.stem for path in (CHECKOUT / "plugins" / "filter").glob("cockroachdb_*.yml")}
    with pytest.raises(AnsibleFilterError, match="cockroachdb_inspection: invalid literal"):
        filters["cockroachdb_inspection"]({}, [], {"ports": {"sql": "x"}})

# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looking at nodes: what is asked of them, what they say, and what of that speaks against starting members. Pure functions."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from .layout import all_ports

Json = dict[str, Any]


def probe_env(hostnet: Mapping[str, Any]) -> dict[str, str]:
    """The environment of PROBE_SCRIPT."""
    return {"DEPLOYMENT": str(hostnet["name"]), "ROOT": str(hostnet["data_root"])}


def probe_nodes(hostnet: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]]) -> list[Json]:
    """`nodes` of node_run with PROBE_SCRIPT."""
    return [{"kube_cluster": node["kube_cluster"], "name": node["name"], "env": probe_env(hostnet)} for node in nodes]


def parse_probe(text: str) -> Json:
    """Facts from a script's output: {clock: seconds since the epoch, root (whether the data root is there), disk: {mounted, mount, filesystem, id}, folders:
    [deployment/admission], content: {admission: empty, marker, data or unreadable}, markers: {admission: {key: value}}, ports: [listening]}."""
    facts: Json = {"clock": 0.0, "root": False, "disk": {}, "folders": [], "content": {}, "markers": {}, "ports": []}
    for line in text.splitlines():
        word, _space, rest = line.partition(" ")
        if word == "clock":
            facts["clock"] = float(rest)
        elif word == "root":
            facts["root"] = True
        elif word == "disk":
            said = dict(field.partition("=")[::2] for field in rest.split())
            facts["disk"] = {
                "mounted": said.get("mounted") == "true",
                **{key: said.get(key, "") for key in ("mount", "filesystem", "id")},
            }
        elif word == "folder":
            facts["folders"].append(rest)
        elif word == "content":
            name, _space, state = rest.rpartition(" ")
            facts["content"][name] = state
        elif word == "marker":
            name, _space, field = rest.partition(" ")
            key, _equals, value = field.partition("=")
            facts["markers"].setdefault(name, {})[key] = value
        elif word == "port":
            facts["ports"].append(int(rest))
    facts["ports"] = sorted(set(facts["ports"]))
    return facts


def probe_errors(
    hostnet: Mapping[str, Any],
    spec: Mapping[str, Any],
    plan: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    certificates: Sequence[Mapping[str, Any]],
    now: float,
) -> list[str]:
    """What the nodes themselves say against starting members: leftover data, ports in use, clocks.

    `results` come from node_run with PROBE_SCRIPT, `now` is the controller's clock in seconds since the epoch.
    """
    errors: list[str] = []
    ports = {number: name for name, number in all_ports(spec).items()}
    newest = max((_epoch(str(entry["not_before"])) for entry in certificates), default=0.0)
    planned = {(binding["kube_cluster"], binding["node"]) for binding in plan["new"]}
    for result in results:
        where = f"kube cluster {result['kube_cluster']}: node {result['node']}"
        facts = parse_probe(str(result["stdout"]))
        own = [folder for folder in facts["folders"] if folder.split("/", 1)[0] == hostnet["name"]]
        if plan["mode"] == "first" and own:
            errors.append(
                f"{where} has data of a deployment named {hostnet['name']} ({hostnet['data_root']}/{own[0]}): nothing is initialised beside data that may be "
                f"the only copy. If it is not needed, move it away; if it is, docs/recovery.md says how to bring the deployment back"
            )
        if (result["kube_cluster"], result["node"]) not in planned:
            continue
        if hostnet.get("data_mount") and not facts["disk"].get("mounted"):
            errors.append(
                f"{where}: hostnet_data_mount wants {hostnet['data_root']} to be a mount point, and it is {'' if facts['root'] else 'not there, '}"
                f"on {facts['disk'].get('mount') or 'an unknown mount'}: mount the data disk there, or narrow hostnet_node_selector"
            )
        errors += _taken_folder(hostnet, plan, result, facts)
        for port in sorted(set(facts["ports"]) & set(ports)):
            errors.append(
                f"{where}: port {port} ({ports[port]} of {hostnet['system']}) is already taken on the host; free it or narrow hostnet_node_selector"
            )
        if facts["clock"] and newest and facts["clock"] < newest:
            errors.append(
                f"{where}: its clock is {int(now - facts['clock'])} seconds behind the controller's, so its certificate would not be valid yet there; "
                f"synchronise its clock"
            )
    return errors


def _taken_folder(hostnet: Mapping[str, Any], plan: Mapping[str, Any], result: Mapping[str, Any], facts: Mapping[str, Any]) -> list[str]:
    """A DaemonSet's members all have a folder of the same name, so a node that has a former member's takes no other member."""
    token = str((plan.get("identity") or {}).get("token", ""))
    state = facts["content"].get(token, "empty")
    if hostnet["placement"] != "daemonset" or plan["mode"] != "existing" or state == "empty":
        return []
    new = [
        str(binding["member"])
        for binding in plan["new"]
        if (binding["kube_cluster"], binding["node"]) == (result["kube_cluster"], result["node"])
    ]
    whose = str(facts["markers"].get(token, {}).get("member", ""))
    if state == "marker" and whose in new:
        # A run that was killed between folder and binding. The admission takes it away.
        return []
    return [
        (
            f"kube cluster {result['kube_cluster']}: node {result['node']} has the folder of a former member{' ' + whose if whose else ''} "
            f"({hostnet['data_root']}/{hostnet['name']}/{token}), and with placement daemonset all members have a folder of that name, so the node takes no "
            f"other member: move or delete that folder there once you are sure that you do not need it, or narrow hostnet_node_selector"
        )
    ]


def _epoch(timestamp: str) -> float:

    return datetime.datetime.fromisoformat(timestamp.replace("Z", "+00:00")).timestamp()

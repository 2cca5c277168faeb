# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What nodes themselves say against starting members. Pure functions."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from .disk import parse_probe
from .layout import all_ports


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


def _epoch(timestamp: str) -> float:

    return datetime.datetime.fromisoformat(timestamp.replace("Z", "+00:00")).timestamp()

# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a deployment has done on nodes, and what the answers mean: pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import admission, adopt, claim, probe, removal
from .node_scripts import SCRIPTS
from .rollout import drain_nodes
from .state import Deployment
from .workloads import images

Json = dict[str, Any]

# What every pod of a job is, beside what all have. `name` is the end of its name, `data` says that it has the data root.
JOBS: dict[str, Json] = {
    # What is mounted where only the whole tree tells. Nothing is made by looking.
    "probe": {"script": "probe", "look_path": "/", "capabilities": ["DAC_READ_SEARCH"], "host_network": True},
    "look": {"script": "probe", "look_path": "/", "capabilities": ["DAC_READ_SEARCH"]},
    # The ports that it looks at are the host's.
    "admit": {
        "script": "admit",
        "look_path": "/",
        "capabilities": ["CHOWN", "DAC_OVERRIDE", "FOWNER"],
        "host_network": True,
        "changes": True,
        "data": True,
    },
    "mark": {"script": "mark", "look_path": "/", "capabilities": ["DAC_OVERRIDE"], "changes": True, "data": True},
    "remove": {"script": "remove", "capabilities": ["DAC_OVERRIDE", "FOWNER"], "data": True},
    # As the member itself: it needs no address of the pods' network.
    "pull": {"host_network": True},
}
# What a job cannot do without.
NEEDS = {"probe": ("spec", "issued"), "admit": ("spec", "token"), "mark": ("spec", "token"), "pull": ("spec",)}


def lacking(params: Mapping[str, Any]) -> str:
    """What a job is not given and cannot do without, or ``."""
    missing = [option for option in NEEDS.get(str(params["job"]), ()) if params[option] is None]
    return f"job {params['job']} needs {' and '.join(missing)}" if missing else ""


def members_of(params: Mapping[str, Any], nonce: str) -> list[Json]:
    """The bindings that a job is about. Whoever is admitted has an admission from now on, made of the `nonce`."""
    members = [dict(entry) for entry in params["members"]]
    if params["job"] != "admit":
        return members
    return admission.admitted(members, params["token"], str(params["hostnet"]["placement"]), nonce)


def nodes_of(params: Mapping[str, Any], members: Sequence[Mapping[str, Any]], seen: Deployment, now: float) -> list[Json]:
    """`nodes` of node_run. `now` is the controller's clock in seconds since the epoch."""
    hostnet, spec, token = params["hostnet"], params["spec"], params["token"] or ""
    names = {options["name"] for options in params["kube_clusters"]}
    job = params["job"]
    if job == "probe":
        return probe.probe_nodes(hostnet, seen["plan"]["probe"])
    if job == "look":
        return claim.look_nodes(hostnet, seen["plan"], seen["nodes"])
    if job == "admit":
        fresh = members if params["fresh"] is None else params["fresh"]
        return admission.admit_nodes(hostnet, spec, members, fresh, token, params["former"], now)
    if job == "mark":
        return admission.mark_nodes(hostnet, spec, members, seen["nodes"], seen["kube_clusters"], token)
    if job == "pull":
        return [{"kube_cluster": entry["kube_cluster"], "name": entry["node"]} for entry in members]
    if params["all_nodes"]:
        there: Sequence[Mapping[str, Any]] = [node for node in seen["nodes"] if node["ready"] and node["kube_cluster"] in names]
    else:
        there = drain_nodes(members, seen["nodes"])
    return removal.remove_nodes(hostnet, there, members, token)


def run_of(params: Mapping[str, Any], members: Sequence[Mapping[str, Any]]) -> Json:
    """The options of node_run, but `nodes`."""
    hostnet, job = params["hostnet"], params["job"]
    what = dict(JOBS[job])
    script, data = what.pop("script", ""), what.pop("data", False)
    folder: Json = {"host_path": hostnet["data_root"]} if data else {}
    if job == "mark" or (job == "admit" and hostnet["data_mount"]):
        folder["host_path_type"] = "Directory"
    return {
        **what,
        **folder,
        "namespace": hostnet["namespace"],
        "name": f"{hostnet['name']}-{job}",
        "image": hostnet["probe_image"],
        "pull_secrets": hostnet["pull_secrets"],
        # A registry that refuses this node is found out before anybody hears of the member.
        "pull": [{"policy": None, **entry} for entry in images(hostnet, params["spec"], members)] if job in ("admit", "pull") else [],
        "script": SCRIPTS[script] if script else "true",
        "timeout": params["timeout"] or hostnet["timeout"],
    }


def meaning(
    params: Mapping[str, Any], members: Sequence[Mapping[str, Any]], seen: Deployment, results: Sequence[Mapping[str, Any]], now: float
) -> Json:
    """What the results of node_run say."""
    hostnet, spec, plan, job = params["hostnet"], params["spec"], seen["plan"], params["job"]
    if job == "probe":
        certificates = params["issued"]["certificates"]
        return {
            "errors": probe.probe_errors(hostnet, spec, plan, results, certificates, now),
            "former": adopt.former_data(hostnet, plan, results),
        }
    if job == "look":
        outcome = claim.judge(hostnet, plan, seen["nodes"], seen["kube_clusters"], params["inspection"], results)
        return {"deployment": {**seen, "plan": {**plan, **outcome}}}
    if job in ("admit", "mark"):
        return {"members": admission.with_disks(members, results, seen["nodes"] if job == "mark" else ())}
    if job == "remove":
        return dict(removal.removal(hostnet, members, seen["nodes"], results))
    return {}

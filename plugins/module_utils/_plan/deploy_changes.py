# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a deploy would do, for whoever reads it before: pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .listed import some

Json = dict[str, Any]

SCHEMA_VERSION = 1
# Of names in one line. The JSON has all of them.
_MOST = 12
_WORKLOADS = ("StatefulSet ", "DaemonSet ")
_ACTIONS = {"created": "create", "changed": "change", "deleted": "delete"}


def deploy_changes(
    hostnet: Mapping[str, Any],
    plan: Mapping[str, Any],
    issued: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
) -> Json:
    """The JSON that `hostnet_plan_file` gets (docs/status.md is its schema), and `lines` for people.

    `issued` is what host_certificates returned in check mode, `results` are those of manifests (`objects`), of node_labels (`nodes`) and of tasks that
    were skipped. Several may tell of one object or node, because members are admitted in batches.
    """
    actions: dict[tuple[str, str, str, str], str] = {}
    for result in results:
        for entry in result.get("objects", []):
            key = (str(entry["kube_cluster"]), str(entry["kind"]), str(entry["namespace"]), str(entry["name"]))
            # What does not exist in check mode is created by each batch; what one batch changes is not undone by the next.
            if actions.get(key, "unchanged") in ("unchanged", "kept"):
                actions[key] = str(entry["action"])
    labels = sorted({(str(node["kube_cluster"]), str(node["name"])) for result in results for node in result.get("nodes", [])})
    kube_clusters = {}
    for name in sorted(str(entry["name"]) for entry in hostnet["kube_clusters"]):
        mine = {key: action for key, action in actions.items() if key[0] == name}
        kube_clusters[name] = {
            **{verb: sorted(_object(key) for key, action in mine.items() if action == said) for said, verb in _ACTIONS.items()},
            "unchanged": sum(action not in _ACTIONS for action in mine.values()),
            "label": [node for kube_cluster, node in labels if kube_cluster == name],
        }
    due = [entry for entry in issued["certificates"] if entry["reissued"]]
    found: Json = {
        "schema": SCHEMA_VERSION,
        "deployment": hostnet["name"],
        "namespace": hostnet["namespace"],
        "system": hostnet["system"],
        "placement": hostnet["placement"],
        "first": plan["mode"] == "first",
        "initialise": plan["mode"] in ("first", "unfinished"),
        "admit": [{key: binding[key] for key in ("member", "kube_cluster", "node", "address", "zone")} for binding in plan["new"]],
        "batches": list(plan["batches"]),
        "keep": [str(binding["member"]) for binding in plan["members"]],
        "certificates": {
            "create_ca": bool(issued["ca"]["created"]),
            "issue": [{key: entry[key] for key in ("name", "file", "reason")} for entry in due],
            "keep": len(issued["certificates"]) - len(due),
        },
        "kube_clusters": kube_clusters,
    }
    found["changes"] = bool(
        found["admit"] or due or found["certificates"]["create_ca"] or any(_counted(entry) for entry in kube_clusters.values())
    )
    return {**found, "lines": _lines(found)}


def _object(key: tuple[str, str, str, str]) -> str:
    _kube_cluster, kind, namespace, name = key
    return f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}"


def _counted(entry: Mapping[str, Any]) -> int:
    return sum(len(entry[key]) for key in ("create", "change", "delete", "label"))


def _lines(found: Mapping[str, Any]) -> list[str]:
    what = f"{found['deployment']} ({found['system']}, {found['placement']}, namespace {found['namespace']})"
    if not found["changes"]:
        return [f"Plan for {what}: no changes."]
    lines = [f"Plan for {what}{': first deployment' if found['first'] else ''}"]
    lines += [
        f"+ member {entry['member']}: node {entry['node']} ({entry['address']}{', zone ' + str(entry['zone']) if entry['zone'] else ''}), "
        f"kube cluster {entry['kube_cluster']}"
        for entry in found["admit"]
    ]
    if len(found["batches"]) > 1:
        lines.append(f"  started one batch at a time: {' | '.join(', '.join(batch) for batch in found['batches'])}")
    if found["initialise"]:
        lines.append("+ cluster: initialised once, its id is recorded in every kube cluster")
    certificates = found["certificates"]
    if certificates["create_ca"]:
        lines.append("+ CA: created on the controller; back up its folder")
    if certificates["issue"]:
        lines.append(f"+ certificates: {_few(_certificates(certificates['issue']))}; {certificates['keep']} kept")
    for name, entry in found["kube_clusters"].items():
        if not _counted(entry):
            lines.append(f"  kube cluster {name}: no changes ({entry['unchanged']} objects)")
            continue
        lines.append(
            f"  kube cluster {name}: {len(entry['create'])} to create, {len(entry['change'])} to change, {len(entry['delete'])} to delete, "
            f"{entry['unchanged']} unchanged"
        )
        lines += [f"    {sign} {_few(entry[verb])}" for sign, verb in (("+", "create"), ("~", "change"), ("-", "delete")) if entry[verb]]
        if entry["label"]:
            lines.append(f"    ~ labels of nodes {_few(entry['label'])}")
    if found["keep"]:
        # The workloads' update strategy is OnDelete.
        lines.append(f"No member is restarted: {_few(found['keep'])}")
    workloads = [
        f"{name}: {text}" for name, entry in found["kube_clusters"].items() for text in entry["change"] if text.startswith(_WORKLOADS)
    ]
    if workloads:
        lines.append(f"Pods keep what they were started with until upgrade.yml -e hostnet_work=restart: {_few(workloads)}")
    return lines


def _certificates(issue: Iterable[Mapping[str, Any]]) -> list[str]:
    return [f"{entry['name']}/{entry['file']} ({entry['reason']})" for entry in issue]


def _few(names: Sequence[str]) -> str:
    return some(names, _MOST)

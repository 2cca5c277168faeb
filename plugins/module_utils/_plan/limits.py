# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the objects of a deployment fit into Kubernetes: pure functions.

Asked before the first change: an object that is refused later is a deployment that stands in the middle. The figures are those of objects that
are rendered for it, with the longest that is not known yet.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from . import join, names
from .disk import admitted
from .layout import certificate_folder
from .placement import render_objects
from .sizes import too_large, variable_too_long

Json = dict[str, Any]

# What the pods of one kube cluster may have its etcd hold before a plan warns: etcd's default quota is 2 GiB.
_PODS_BYTES = 256 << 20
# Files that a pod may name before a plan warns: for each pod, the API server compares every one with every other.
_PODS_FILES = 1000
_REMEDY = "narrow hostnet_node_selector, or make several deployments of them"
_REMEDIES = {
    "Secret": "give the certificates shorter keys (hostnet_certificate), or the CA a shorter chain",
    "DaemonSet": "use hostnet_placement=node_name, or narrow hostnet_node_selector",
}


def deployment_limits(
    hostnet: Mapping[str, Any],
    spec: Mapping[str, Any],
    identity: Mapping[str, Any] | None,
    members: Sequence[Mapping[str, Any]],
    new: Sequence[Mapping[str, Any]],
) -> tuple[list[str], list[str]]:
    """(errors, warnings) about the objects that the deployment will have with its `new` members, a line each; nothing where nobody is new.

    Also a join list that cannot be made: what a spec asks of members is told before the first change.
    """
    if not new:
        return [], []
    known = {"token": f"{hostnet['name']}-{'0' * 8}", "ca_fingerprint": "0" * 64, **(identity or {})}
    bindings = [
        _longest(hostnet, binding) for binding in admitted([*members, *new], str(known["token"]), str(hostnet["placement"]), "0" * 16)
    ]
    # Keys that are made later.
    settings = {**hostnet, "nkeys": dict.fromkeys(spec.get("nkeys", []), "U" * 56)}
    seeds = join.join_list([{**binding, "live": True} for binding in bindings], [], int(hostnet["join_per_cluster"]))
    try:
        objects = render_objects(settings, spec, known, bindings, seeds, "existing", _issued(spec, bindings))
    except join.JoinError as error:
        return [str(error)], []
    first = str(objects[0]["kube_cluster"])
    claim = {"kind": "ConfigMap", "metadata": {**objects[0]["definition"]["metadata"], "name": names.identity(str(hostnet["name"]))}}
    claim["data"] = {"members": ",".join(str(binding["member"]) for binding in bindings)}
    problems = [too_large(first, claim, (), _REMEDY)]
    warnings = []
    fewer = f"{len(bindings)} members are more than it has room for; {_REMEDY}"
    for entry in objects:
        kube_cluster, definition, files = str(entry["kube_cluster"]), entry["definition"], sorted(entry.get("files") or {})
        if definition["kind"] == "ConfigMap" and kube_cluster != first:
            continue  # the same in every kube cluster
        problems.append(too_large(kube_cluster, definition, files, _REMEDIES.get(definition["kind"], fewer)))
        if definition["metadata"]["name"] == names.join(str(hostnet["name"])):
            problems.append(variable_too_long(definition, fewer))
        if definition["kind"] == "DaemonSet":
            warnings.append(_many_pods(kube_cluster, definition, bindings))
    return [line for line in problems if line], [line for line in warnings if line]


def _longest(hostnet: Mapping[str, Any], binding: Mapping[str, Any]) -> Json:
    """The binding with everything that is noted of a member in the course of time, where it lacks it."""
    later = {
        "stopped": True,
        "boot_id": "0" * 36,
        "machine_id": "0" * 32,
        "disk": {"mounted": False, "mount": str(hostnet["data_root"]), "filesystem": "0" * 8, "id": "0" * 41},
        "progress": {"applied_index": 10**15, "revision": 10**15, "term": 10**9},
    }
    return {**later, **{key: value for key, value in binding.items() if value or key not in later}}


def _issued(spec: Mapping[str, Any], bindings: Sequence[Mapping[str, Any]]) -> list[Json]:
    """What host_certificates will return, with serial numbers and dates of the longest kind."""
    shape = {"certificate": "", "private_key": "", "serial": "0" * 40, "not_after": "2000-01-01T00:00:00Z"}
    pairs = {(certificate_folder(wish, binding), str(wish["file"])) for binding in bindings for wish in spec["certificates"]}
    return [{"name": folder, "file": file, **shape} for folder, file in sorted(pairs)]


def _many_pods(kube_cluster: str, daemon_set: Mapping[str, Any], bindings: Sequence[Mapping[str, Any]]) -> str:
    """Each pod of a DaemonSet names the certificates of all its hosts, so together they grow by the square, and so does the work with each of them."""
    pods = len([binding for binding in bindings if binding["kube_cluster"] == kube_cluster])
    template = daemon_set["spec"]["template"]
    size = pods * len(json.dumps(template, separators=(",", ":")))
    sources = next(volume for volume in template["spec"]["volumes"] if volume["name"] == "certificates")["projected"]["sources"]
    files = sum(len(source["secret"]["items"]) for source in sources)
    if size <= _PODS_BYTES and files <= _PODS_FILES:
        return ""
    return (
        f"kube cluster {kube_cluster}: each of its {pods} pods names the certificates of all of them, {files} files, which the API server compares with each "
        f"other for every pod, and of which etcd would hold {size >> 20} MiB: with so many members use hostnet_placement=node_name"
    )

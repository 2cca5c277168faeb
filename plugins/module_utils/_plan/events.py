# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an event source tells of the members of deployments: the problems that there are, and one event when each of them begins and ends. Pure functions.

A problem is whatever somebody may want to act on: a VM that is about to go is one, and so is a new node for a member that has lost its own. Of a kube
cluster that does not answer nothing is concluded: its problems neither begin nor end.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from . import bindings, expiry, follow, signs, successor
from .classify import pod_of
from .listed import some

Json: TypeAlias = dict[str, Any]
# Whose namespace and name.
Deployment: TypeAlias = tuple[str, str]
# Type of the event, and what it is about. The same problem has the same key for as long as it lasts.
Key: TypeAlias = tuple[str, ...]

# What tells that a problem of a type is over. Nothing does where nobody would act on it.
ENDS: Final[dict[str, str]] = {
    "gone": "repaired",
    "back": "",
    "marked": "unmarked",
    "not_ready": "ready",
    "member_not_ready": "member_ready",
    "certificate_about_to_expire": "certificate_renewed",
    "unreachable": "reachable",
    "unreadable": "readable",
    "not_found": "found",
}
# They come and go by themselves for a moment: a Node object that is made anew, a kubelet or a process that starts again.
LASTING: Final = ("gone", "back", "not_ready", "member_not_ready")
# Of a kube cluster that has lost its records, or has none yet.
_NOTHING: Final[Json] = {"members": [], "members_found": False, "ordinals": {}}


@dataclass
class View:
    """What one kube cluster said last. Nothing of it counts before it was `read`, and while it does not answer (`error` says why).

    `pods` are summaries, `records` is what its ConfigMaps say, with `identity`, and `unreadable` why they do not; `dates` are of the certificates of
    each member: {file: {serial, not_after}}.
    """

    read: bool = False
    error: str = ""
    nodes: list[Any] = field(default_factory=list)
    pods: dict[Deployment, list[Json]] = field(default_factory=dict)
    records: dict[Deployment, Json] = field(default_factory=dict)
    unreadable: dict[Deployment, str] = field(default_factory=dict)
    dates: dict[Deployment, dict[str, Json]] = field(default_factory=dict)


def event(kind: str, text: str, **known: Any) -> Json:
    """An event with all of its fields: a condition on one that is missing would be silently false."""
    nothing = dict.fromkeys(
        ("deployment", "namespace", "system", "placement", "kube_cluster", "node", "member", "sign", "level", "work", "not_after"), ""
    )
    return {"type": kind, **nothing, "stopped": False, "again": False, **known, "text": text}


def away(views: Mapping[str, View]) -> set[str]:
    """The kube clusters of which nothing can be concluded."""
    return {name for name, view in views.items() if view.error or not view.read}


def problems(views: Mapping[str, View], wanted: Deployment | None, at: str, certificate_days: int) -> dict[Key, Json]:
    """All problems of the deployment that is `wanted`, or of all that are recorded, as the events that tell them; `at` is now (RFC 3339).

    Those of kube clusters that do not answer are not among them, but for `unreachable`.
    """
    found: dict[Key, Json] = {}
    silent = away(views)
    for name, view in sorted(views.items()):
        if view.error:
            found["unreachable", name] = event("unreachable", view.error, kube_cluster=name)
    present = {name: view for name, view in views.items() if name not in silent}
    for name, view in sorted(present.items()):
        for (namespace, deployment), why in sorted(view.unreadable.items()):
            about = {"kube_cluster": name, "namespace": namespace, "deployment": deployment}
            found["unreadable", name, namespace, deployment] = event("unreadable", why, **about)
    known = {key for view in present.values() for key in (*view.records, *view.unreadable)}
    if wanted and wanted not in known and not silent:
        text = f"no kube cluster has a record of deployment {wanted[1]} in namespace {wanted[0]}: deploy it, or correct name and namespace"
        found["not_found", *wanted] = event("not_found", text, namespace=wanted[0], deployment=wanted[1])
    for key in sorted(known if wanted is None else known & {wanted}):
        found.update(_of_deployment(key, present, set(views), at, certificate_days))
    return found


def _of_deployment(key: Deployment, present: Mapping[str, View], named: set[str], at: str, certificate_days: int) -> dict[Key, Json]:
    namespace, name = key
    nodes = [node for view in present.values() for node in view.nodes]
    observed = {kube: view.records.get(key, _NOTHING) for kube, view in present.items() if key not in view.unreadable}
    merged = bindings.merge({"name": name, "namespace": namespace}, nodes, observed)
    members = merged.members
    identity = next((found["identity"] for _kube, found in sorted(observed.items()) if found.get("identity")), None) or {}
    about = {"namespace": namespace, "deployment": name, "system": identity.get("system", ""), "placement": identity.get("placement", "")}
    at_home = signs.homes(members, nodes)
    found: dict[Key, Json] = {}
    if merged.errors:
        found["unreadable", "", namespace, name] = event("unreadable", some(merged.errors, 3, "; ", "; and "), **about)

    def tell(kind: str, entry: Mapping[str, Any], text: str, *more: str, **known: Any) -> None:
        place = {"kube_cluster": str(entry["kube_cluster"]), "node": str(entry["node"]), "member": str(entry["member"])}
        known = {**about, **place, "stopped": bool(entry.get("stopped")), **known}
        found[kind, namespace, name, str(entry["member"]), *more] = event(kind, text, **known)

    for entry in members:
        member, kube = str(entry["member"]), str(entry["kube_cluster"])
        if kube not in named:
            text = f"deployment {name} has members in kube cluster {kube}, which kube_clusters of the event source does not name: add it"
            found["unreachable", kube, namespace, name] = event("unreachable", text, **about, kube_cluster=kube)
        if kube not in present:
            continue
        view, node = present[kube], at_home[member]
        where = f"{kube}: node {entry['node']} of member {member}"
        lost = follow.lost(entry, node)
        if lost:
            tell("gone", entry, f"{where} is gone", str(entry["node_uid"]))
            free = successor.free_nodes(entry, nodes, members)
            if free:
                tell("back", entry, f"{where} is gone, and node {free[0]['name']} could take its place", str(entry["node_uid"]))
        elif node is not None:
            for sign in node["signs"]:
                known = {"sign": sign["sign"], "level": sign["level"], "work": work_of(sign)}
                tell("marked", entry, f"{where}: {sign['text']}", str(node["uid"]), str(sign["sign"]), **known)
            if not node["ready"]:
                tell("not_ready", entry, f"{where} is not Ready", str(node["uid"]))
        pod = pod_of(view.pods.get(key, []), member, str(entry["node"]))
        if not lost and (pod is None or pod["terminating"] or not pod["ready"]):
            why = "has no pod" if pod is None else f"has a pod that is {'ending' if pod['terminating'] else 'not Ready'}"
            stopped = ": a rollout has stopped it" if entry.get("stopped") else ""
            tell("member_not_ready", entry, f"{kube}: member {member} on node {entry['node']} {why}{stopped}")
        ends = sorted(str(one["not_after"]) for one in view.dates.get(key, {}).get(member, {}).values())
        left = expiry.days_left(ends[0], at) if ends else None
        if left is not None and left < certificate_days:
            text = f"{kube}: the certificate of member {member} {'has expired' if left < 0 else f'expires in {left} days'} ({ends[0]})"
            tell("certificate_about_to_expire", entry, text, ends[0], not_after=ends[0])
    return found


def work_of(sign: Mapping[str, Any]) -> str:
    """What a playbook would have to follow: VMs that are replaced, or rebooted. "" where the VM is off: nothing is left to follow."""
    if sign["level"] == signs.OFF:
        return ""
    return "reboot" if sign["sign"] in signs.REBOOTS else "replace"


@dataclass
class _Known:
    """A problem as it was found last: `since` when, when it was `told` (None: not yet), and whether it was `there` at the last look."""

    problem: Json
    since: float
    told: float | None = None
    there: bool = True


@dataclass
class Teller:
    """What was told, so that each change is told once. `lasting`: seconds that a problem of LASTING has to last before it is an event; after `remind`
    seconds one that is still there is told again (0: never). Times are time.monotonic()'s."""

    lasting: float
    remind: float
    _known: dict[Key, _Known] = field(default_factory=dict)

    def tell(self, found: Mapping[Key, Json], away: Collection[str], now: float) -> list[Json]:
        """The events that are due `now`, where these problems were found; kube clusters `away` do not answer."""
        said: list[Json] = []
        for key, known in list(self._known.items()):
            known.there = key in found
            if known.there or _is_frozen(key, known.problem, away):
                continue
            del self._known[key]
            if known.told is not None and ENDS[key[0]]:
                said.append({**known.problem, "type": ENDS[key[0]], "again": False, "text": f"over: {known.problem['text']}"})
        for key, problem in sorted(found.items(), key=lambda item: item[0]):
            known = self._known.setdefault(key, _Known(problem, now))
            known.problem = problem
            if now >= self._next(key, known):
                said.append({**problem, "again": known.told is not None})
                known.told = now
        return said

    def due(self) -> float | None:
        """When the next event is due if nothing changes; None where none will be."""
        first = min((self._next(key, known) for key, known in self._known.items() if known.there), default=math.inf)
        return None if first == math.inf else first

    def _next(self, key: Key, known: _Known) -> float:
        if known.told is None:
            return known.since + (self.lasting if key[0] in LASTING else 0.0)
        return known.told + self.remind if self.remind else math.inf


def _is_frozen(key: Key, problem: Mapping[str, Any], away: Collection[str]) -> bool:
    """Whether nobody knows if this problem is over. Those of no kube cluster that is asked are told by all of them."""
    if not away or key[0] == "unreachable":
        # A kube cluster that is not named is known from the records of the others.
        return bool(away) and len(key) > 2
    return not problem["kube_cluster"] or problem["kube_cluster"] in away

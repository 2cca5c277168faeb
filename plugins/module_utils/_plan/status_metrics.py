# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A deployment's status as metrics for Prometheus, in its text format, as node_exporter's textfile collector reads it.

https://prometheus.io/docs/instrumenting/exposition_formats/. Pure functions of the status (docs/status.md). What changes while a member lives is in
`hostnet_member_info` alone: a series with such a label would end with each change, and with it an alert that waits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from . import classify, signs
from .rollout_words import text
from .status_page import join_lists_equal
from .timeline import moment

Labels = dict[str, Any]
Sample: TypeAlias = "tuple[Labels, float | None]"

_LEVELS = (signs.OFF, signs.GOING, signs.MARKED)


class Metric(NamedTuple):
    """One metric. A sample without a value is one that nobody knows, and is left out."""

    name: str
    kind: str
    help: str
    samples: Sequence[Sample]


def metrics(status: Mapping[str, Any]) -> str:
    """The content of the file."""
    own = {"deployment": status["deployment"], "deployment_namespace": status["namespace"]}
    lines = []
    for metric in _all(status):
        samples = [f"{metric.name}{_labels({**own, **labels})} {_value(value)}" for labels, value in metric.samples if value is not None]
        if samples:
            lines += [f"# HELP {metric.name} {_escaped(metric.help)}", f"# TYPE {metric.name} {metric.kind}", *samples]
    return "\n".join(lines) + "\n"


def _all(status: Mapping[str, Any]) -> list[Metric]:
    members: Sequence[Mapping[str, Any]] = status["members"]
    rollout = status["rollout"]
    answers = {str(entry["name"]): not entry["absent"] for entry in status["kube_clusters"]}

    def gauge(name: str, said: str, samples: Iterable[Sample], kind: str = "gauge") -> Metric:
        return Metric(f"hostnet_{name}", kind, said, list(samples))

    def known(entry: Mapping[str, Any], value: float | None) -> float | None:
        """Nobody knows what becomes of members in a kube cluster that does not answer."""
        return value if answers.get(str(entry["kube_cluster"])) else None

    def of_members(name: str, said: str, key: str) -> Metric:
        return gauge(f"member_{name}", said, ((_member(entry), known(entry, float(bool(entry[key])))) for entry in members))

    def of_kube_clusters(name: str, said: str, value: Mapping[str, float | None]) -> Metric:
        return gauge(name, said, (({"kube_cluster": kube_cluster}, number) for kube_cluster, number in value.items()))

    held: Mapping[str, Mapping[str, Any]] = status["lock"]
    return [
        gauge("status_timestamp_seconds", "When the status was read.", [({}, moment(status["observed_at"]))]),
        gauge(
            "deployment_info",
            "What the deployment is.",
            [({key: status[key] for key in ("system", "placement", "cluster_id")}, 1)],
        ),
        gauge("deployment_healthy", "Whether every member is well and there is no problem.", [({}, float(bool(status["healthy"])))]),
        gauge("deployment_problems", "Problems that the status names.", [({}, len(status["problems"]))]),
        gauge(
            "deployment_warnings",
            "Warnings of the status, of certificates that end soon and of a CA that is lost.",
            [({}, len(status["warnings"]))],
        ),
        of_kube_clusters(
            "kube_cluster_up", "Whether the kube cluster's API server answered.", {name: float(up) for name, up in answers.items()}
        ),
        gauge(
            "member_info",
            "Where a member is, and what it is.",
            ((_member(entry) | _info(entry), 1) for entry in members),
        ),
        of_members("healthy", "Whether a member is well.", "healthy"),
        of_members("leader", "Whether a member leads.", "leader"),
        of_members("outdated", "Whether a member runs with another image or configuration than the last deploy has written.", "outdated"),
        of_members("guarded", "Whether guard pods hold a drain of a member's node.", "guarded"),
        gauge(
            "member_start_time_seconds",
            "When a member's container was started.",
            ((_member(entry), moment(entry["started_at"])) for entry in members),
        ),
        gauge(
            "member_restarts_total",
            "Restarts of a member's container, in its pod.",
            ((_member(entry), known(entry, float(entry["restarts"]))) for entry in members),
            "counter",
        ),
        gauge(
            "certificate_not_after_timestamp_seconds",
            "When the certificate of a member ends that ends first, of those that its kube cluster has.",
            ((_member(entry), moment(entry["certificate"]["not_after"])) for entry in members),
        ),
        gauge(
            "certificate_served_not_after_timestamp_seconds",
            "When the certificate ends that a member serves on a port; with hostnet_status_served.",
            (
                (_member(entry) | {"port": port["port"]}, moment(port["not_after"]))
                for entry in members
                for port in entry.get("served") or []
            ),
        ),
        gauge(
            "certificate_served_current",
            "Whether a member serves the stored certificate on a port; with hostnet_status_served.",
            (
                (_member(entry) | {"port": port["port"]}, float(port["current"]))
                for entry in members
                for port in entry.get("served") or []
                if not port["error"]
            ),
        ),
        gauge(
            "vm_marked",
            "Whether a member's VM is off, is about to go, or is marked and may go; by the surest of its signs.",
            ((_member(entry) | {"level": level}, float(signs.level(entry["signs"]) == level)) for entry in members for level in _LEVELS),
        ),
        gauge(
            "join_lists_equal", "Whether the kube clusters that answer have the same join list.", [({}, float(join_lists_equal(status)))]
        ),
        of_kube_clusters(
            "join_list_entries",
            "Entries of a kube cluster's join list.",
            {name: len(found) for name, found in status["join_lists"].items()},
        ),
        of_kube_clusters(
            "lock_held",
            "Whether somebody holds the lock in a kube cluster where that was read.",
            {str(entry["name"]): float(entry["name"] in held) for entry in status["kube_clusters"] if entry["lock_read"]},
        ),
        of_kube_clusters(
            "lock_renewed_timestamp_seconds",
            "When the holder of the lock has renewed it.",
            {name: moment(holder["renewed_at"]) for name, holder in held.items()},
        ),
        gauge("rollout_in_progress", "Whether a rollout was begun and has not ended.", [({}, float(bool(rollout)))]),
        gauge(
            "rollout_start_time_seconds",
            "When the rollout in progress was begun.",
            [({}, moment(rollout["started_at"]))] if rollout else [],
        ),
        gauge(
            "rollout_members_done", "Members that the rollout in progress is done with.", [({}, len(rollout["done"]))] if rollout else []
        ),
    ]


def _member(entry: Mapping[str, Any]) -> Labels:
    return {"member": entry["member"], "kube_cluster": entry["kube_cluster"]}


def _info(entry: Mapping[str, Any]) -> Labels:
    keys = ("node", "address", "region", "zone", "role", "version", "image")
    return {"class": classify.health(entry)} | {key: entry[key] for key in keys}


def _labels(labels: Mapping[str, Any]) -> str:
    inner = ",".join(f'{name}="{_escaped(text(value), quotes=True)}"' for name, value in labels.items())
    return f"{{{inner}}}"


def _escaped(value: str, quotes: bool = False) -> str:
    value = value.replace("\\", "\\\\").replace("\n", "\\n")
    return value.replace('"', '\\"') if quotes else value


def _value(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))

# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What amtool prints, as docs/systems.md wants an inspection."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Answers = Mapping[str, Mapping[str, Any]]


def inspection(
    results: Mapping[str, Answers], targets: Sequence[Mapping[str, Any]] = (), spec: Mapping[str, Any] | None = None
) -> dict[str, dict[str, Any]]:
    del targets, spec
    return {member: _one(answers) for member, answers in results.items()}


def _one(answers: Answers) -> dict[str, Any]:
    shape: dict[str, Any] = {
        "reachable": False,
        "healthy": False,
        "reason": "",
        "cluster_id": "",
        "id": "",
        "version": "",
        "leader": False,
        "role": "",
        "peers": [],
    }
    cluster, flags = answers.get("cluster", {}), answers.get("flags", {})
    if cluster.get("rc") != 0 or flags.get("rc") != 0:
        problems = [str(one.get("error") or one.get("stderr") or "").strip() for one in (cluster, flags)]
        shape["reason"] = " ".join(" ".join(problems).split()) or "it does not answer"
        return shape
    try:
        said = json.loads(cluster["stdout"])
        words = str(flags["stdout"]).split("\0")
        label = next(word.removeprefix("--cluster.label=") for word in words if word.startswith("--cluster.label="))
        peers = [{"id": peer["name"], "name": peer["name"], "address": _host(str(peer["address"]))} for peer in said["peers"]]
        shape.update(reachable=True, cluster_id=label, id=said["name"], role="node", peers=peers, healthy=said["status"] == "ready")
    except (ValueError, KeyError, TypeError, StopIteration) as error:
        shape["reason"] = f"its answer cannot be read ({error!r})"
        return shape
    shape["reason"] = "" if shape["healthy"] else f"its cluster is {said['status']}"
    return shape


def _host(address_and_port: str) -> str:
    return address_and_port.rpartition(":")[0].strip("[]")


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"system_alertmanager_inspection": inspection}

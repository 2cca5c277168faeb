# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The proof that members are one cluster. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .gate import quorum

Json = dict[str, Any]


def verdict(plan: Mapping[str, Any], bindings: Sequence[Mapping[str, Any]], inspection: Mapping[str, Any]) -> Json:
    """Whether the members are one cluster: {`errors`, `cluster_id`}.

    Before the cluster id is recorded, every first member must report the same one; where a lost record is restored, a
    majority of all members must, and nobody another one. Afterwards a member that does not answer is no error here
    (unreachable is not dead), one that reports another cluster id always is.
    """
    reported: dict[str, list[str]] = {}
    silent: list[str] = []
    for binding in bindings:
        said = inspection.get(binding["member"], {})
        if said.get("reachable") and said.get("cluster_id"):
            reported.setdefault(str(said["cluster_id"]), []).append(str(binding["member"]))
        else:
            silent.append(f"{binding['member']} ({said.get('reason') or 'it does not answer'})")
    errors: list[str] = []
    recorded = str(plan["cluster_id"])
    if recorded:
        errors += [
            f"members {', '.join(who)} report cluster id {found}, the record says {recorded}: this is a second cluster. "
            f"Change nothing by hand; see docs/recovery.md"
            for found, who in sorted(reported.items())
            if found != recorded
        ]
        return {"errors": errors, "cluster_id": recorded}
    if len(reported) > 1:
        errors.append(
            "members report different cluster ids: " + "; ".join(f"{found}: {', '.join(who)}" for found, who in sorted(reported.items()))
        )
    answered = len(bindings) - len(silent)
    needed = quorum(len(bindings)) if plan["mode"] == "lost_record" else len(bindings)
    if answered < needed:
        errors.append(f"{answered} of {len(bindings)} members report a cluster id, {needed} must; no answer from {', '.join(silent)}")
    return {"errors": errors, "cluster_id": next(iter(reported)) if len(reported) == 1 and not errors else ""}

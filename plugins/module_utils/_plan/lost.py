# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes the members of a kube cluster out that is gone for good: what is done, and what forbids it. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import dead, gate, names, roster
from .before import old_id
from .steps import leave

Json = dict[str, Any]


def lost_plan(
    hostnet: Mapping[str, Any],
    spec: Mapping[str, Any],
    plan: Mapping[str, Any],
    status: Mapping[str, Any],
    inspection: Mapping[str, Mapping[str, Any]],
    name: str,
) -> Json:
    """What is to be done for the members of the lost kube cluster `name`: {errors, prove, forget, roster, members, lines}.

    `plan` is deployment_plan's without that kube cluster, `status` deployment_status's. `forget` are those whom the system still has to forget, as
    `hostnet_forget` of the system roles; `members` the bindings that are left; `roster` the record that is to be in force (null: it is).
    Nothing of it is a guess about who is dead: the survivors have to prove it of the processes in `prove` (dead.verdicts) before the first change.
    """
    recorded: roster.Roster = plan["roster"]
    gone = [dict(entry) for entry in plan["members"] if entry["kube_cluster"] == name]
    left = [dict(entry) for entry in plan["members"] if entry["kube_cluster"] != name]
    named = [str(cluster["name"]) for cluster in hostnet["kube_clusters"]]
    known = name in recorded["kube_clusters"]
    # Nobody gets a node here, so what forbids a deploy to grow is none of its business.
    errors = [str(error) for error in [*plan["open"], *plan["conflicts"]]]
    errors += [str(entry["error"]) for entry in plan["strangers"]]
    if plan["mode"] != "existing":
        records = f"{names.identity(str(hostnet['name']))} and {names.cluster_record(str(hostnet['name']))}"
        errors.append(
            f"{hostnet['name']} has no complete identity record in the kube clusters at hand, so nothing says which system its members are, and nobody is "
            f"taken out: restore the ConfigMaps {records} from a backup (docs/recovery.md). While all kube clusters answer, playbooks/deploy.yml restores "
            f"them; run it first"
        )
    if not name:
        errors.append(
            "hostnet_lost_kube_cluster is empty: name the kube cluster that is gone for good, as in -e hostnet_lost_kube_cluster=west"
        )
    else:
        errors += roster.not_lost(str(hostnet["name"]), recorded, name, named, [str(entry["kube_cluster"]) for entry in gone])
    result: Json = {"errors": errors, "prove": [], "forget": [], "roster": None, "members": left, "lines": []}
    if errors or not (known or gone):
        result["lines"] = [] if errors else [f"kube cluster {name} is taken out already: nothing to do"]
        return result
    if gone:
        errors += _unsafe(hostnet, spec, status, inspection, name, [str(entry["member"]) for entry in left])
    why = f"kube cluster {name} is said to be gone for good"
    result["prove"] = [dead.process_of(entry, old_id(inspection, entry), why) for entry in gone]
    result["forget"] = [
        {key: process[key] for key in ("id", "address", "process", "member")} for process in result["prove"] if process["id"]
    ]
    result["roster"] = roster.without(recorded, name) if known else None
    result["lines"] = [
        f"kube cluster {name} is gone for good: its members {', '.join(str(entry['member']) for entry in gone) or '(none)'} are taken out"
    ]
    result["lines"] += [f"the system forgets {entry['member']} (id {entry['id']}, {entry['address']})" for entry in result["forget"]]
    result["lines"].append(f"members that are left: {', '.join(str(entry['member']) for entry in left)}")
    return result


def _unsafe(
    hostnet: Mapping[str, Any],
    spec: Mapping[str, Any],
    status: Mapping[str, Any],
    inspection: Mapping[str, Mapping[str, Any]],
    name: str,
    left: Sequence[str],
) -> list[str]:
    """Why the survivors cannot go on by themselves."""
    errors = []
    entries = [entry for entry in status["members"] if entry["member"] in left]
    ill = [entry for entry in entries if not entry["healthy"]]
    errors += [
        f"member {entry['member']} is {entry['class']} ({entry['reason']}): mend it first with playbooks/repair.yml" for entry in ill
    ]
    total = len(status["members"])
    if len(entries) - len(ill) < gate.quorum(total):
        errors.append(
            f"{len(entries) - len(ill)} of {total} members are healthy without kube cluster {name}, {gate.quorum(total)} are needed: the majority was "
            f"lost with it. Bring it back; or go by docs/recovery.md (The majority is lost), run playbooks/adopt.yml with "
            f"-e hostnet_lost_kube_cluster={name}, and then this playbook once more"
        )
    minimum = int(spec.get("minimum_members", 1))
    if len(left) < minimum:
        errors.append(
            f"{len(left)} members would be left, {hostnet['system']} needs at least {minimum} to survive the loss of one: grow first, with more nodes in the "
            f"other kube clusters"
        )
    if leave(spec) == "never":
        errors.append(
            f"{hostnet['system']}: a member cannot be taken out for good, because its peers would count it for ever; see docs/systems.md"
        )
    survivors = {member: said for member, said in inspection.items() if member in left}
    seen = {**gate.document(survivors, "", left), "left": len(left)}
    errors += [f"{hostnet['system']}: {text}" for text in gate.evaluate((spec.get("gates") or {}).get("leave", []), seen)]
    errors += [f"{hostnet['system']}: {text}" for text in gate.evaluate(gate.GENERIC["admit"], seen)]
    return errors

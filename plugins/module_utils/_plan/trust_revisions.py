# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which CAs the members of a deployment trust, and which one issues their certificates: pure functions.

The identity record names the CA that a deployment began with, and is never changed: that is revision 1. Each later one is an immutable ConfigMap
`<name>-trust-<revision>` of its own in every kube cluster. The last one is what is wanted. A CA is exchanged by three revisions, and each is written
only when every member was proven to live by the one before:

    trust   the new CA is trusted beside the old one, which still issues
    issue   the new one issues
    drop    the old one is trusted no more

    abandon the way back from `trust`, where nothing was issued by the new CA yet: the old one alone again

So a member is never more than one revision behind. Whoever trusts one CA meets certificates of that one alone, and whoever may meet certificates of
two CAs trusts both: nobody ever refuses anybody.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from . import journal
from .listed import some
from .state import Deployment

Json = dict[str, Any]

TRUST, ISSUE, DROP = "trust", "issue", "drop"
PHASES = (TRUST, ISSUE, DROP)
ABANDON = "abandon"
# Digits of a fingerprint in names of files and in texts.
SHORT = 16
# Of a client's certificate that is there to be shown to members: below the pki folder.
PROBES = "trust"


class Trust(TypedDict):
    """`trusted`: fingerprints (SHA-256) of CAs, the older one first; `issuer` is one of them. `dropped` were trusted by the revision before."""

    revision: int
    trusted: list[str]
    issuer: str
    dropped: list[str]


def make(revision: int, trusted: Sequence[str], issuer: str, dropped: Sequence[str] = ()) -> Trust:
    return {"revision": revision, "trusted": list(trusted), "issuer": issuer, "dropped": list(dropped)}


def first(fingerprint: str) -> Trust:
    """Revision 1, which is the identity record's."""
    return make(1, [fingerprint], fingerprint)


def short(fingerprint: str) -> str:
    return fingerprint[:SHORT]


def dump(trust: Trust) -> dict[str, str]:
    """A revision as the data of a ConfigMap."""
    return {
        "revision": str(trust["revision"]),
        "trusted": json.dumps(trust["trusted"]),
        "issuer": trust["issuer"],
        "dropped": json.dumps(trust["dropped"]),
    }


def parse(data: Mapping[str, Any]) -> Trust | None:
    """The revision in a ConfigMap's data; None where it cannot be read, or makes no sense."""
    try:
        revision = int(str(data["revision"]))
        trusted, dropped = json.loads(str(data["trusted"])), json.loads(str(data.get("dropped", "[]")))
        issuer = str(data["issuer"])
    except (KeyError, ValueError):
        return None
    for found in (trusted, dropped):
        if not isinstance(found, list) or not all(isinstance(entry, str) and entry for entry in found):
            return None
    if revision < 2 or len(trusted) not in (1, 2) or len(set(trusted + dropped)) != len(trusted + dropped) or issuer not in trusted:
        return None
    return make(revision, trusted, issuer, dropped)


def phase(trust: Trust) -> str:
    """The phase that this revision is of; "" for the first one."""
    if len(trust["trusted"]) > 1:
        return TRUST if trust["issuer"] == trust["trusted"][0] else ISSUE
    return DROP if trust["revision"] > 1 else ""


def newest(identity: Mapping[str, Any] | None, observed: Mapping[str, Mapping[str, Any]]) -> tuple[Trust | None, list[str]]:
    """The revision in force, None where nothing is recorded, and what is wrong with those that were found.

    A run that is killed while it writes leaves the newest revision in some kube clusters only. It was written under the lock, and only after what it
    builds on was proven, so it counts everywhere. Workloads carry the one that they were made with: where all records were deleted, nobody is to
    take the first CA for the one in force.
    """
    fingerprint = str((identity or {}).get("ca_fingerprint", ""))
    if not fingerprint:
        return None, []
    found: dict[int, tuple[str, Trust]] = {}
    errors: list[str] = []
    for name in sorted(observed):
        workloads = [str(entry.get("trust") or "") for entry in observed[name].get("workloads") or []]
        for data in [*(observed[name].get("trusts") or []), *_annotations(workloads)]:
            trust = parse(data)
            if trust is None:
                errors.append(
                    f"kube cluster {name}: a record of the CAs that members trust cannot be read ({json.dumps(dict(data), sort_keys=True)[:300]}): it was "
                    f"edited, or a newer version of the collection wrote it. Use that version, or restore the ConfigMap from another kube cluster"
                )
                continue
            holder, recorded = found.setdefault(trust["revision"], (name, trust))
            if recorded != trust:
                errors.append(
                    f"kube clusters {holder} and {name} disagree on revision {trust['revision']} of the CAs that members trust: two deployments share the "
                    f"name, or a record was edited. Nothing is changed before they agree: restore the one that was edited (docs/recovery.md)"
                )
    return (found[max(found)][1] if found else first(fingerprint)), errors


def _annotations(texts: Sequence[str]) -> list[Json]:
    found: list[Json] = []
    for text in sorted(set(filter(None, texts))):
        try:
            data = json.loads(text)
        except ValueError:
            data = None
        found.append(data if isinstance(data, dict) else {"annotation": text})
    return found


def annotation(trust: Trust | None) -> str:
    """What a workload carries; "" for the first revision, so that deployments without an exchange are as they were."""
    return json.dumps(dump(trust), sort_keys=True) if trust and trust["revision"] > 1 else ""


def missing_copies(trust: Trust | None, observed: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Kube clusters that do not have the revision in force, as those that a killed run did not reach, and those that the deployment grows into."""
    if trust is None or trust["revision"] == 1:
        return []
    return [
        name
        for name in sorted(observed)
        if not observed[name].get("absent") and not any(parse(data) == trust for data in observed[name].get("trusts") or [])
    ]


def restarted_for(trust: Trust | None, spec: Mapping[str, Any]) -> str:
    """What a process has to be started anew for, of a system that reads its CA file only then; "" where there is nothing."""
    if spec.get("reload_ca") != "restart" or trust is None or trust["revision"] == 1:
        return ""
    return ",".join(sorted(trust["trusted"]))


def expected(trust: Trust) -> dict[str, bool]:
    """Of which CAs a client's certificate has to be accepted, and of which it must not, by a member that lives by this revision."""
    return {**dict.fromkeys(trust["trusted"], True), **dict.fromkeys(trust["dropped"], False)}


def outgoing(trusted: Sequence[str], issuer: str, fingerprint: str) -> bool:
    """Whether this CA is on its way out, or gone. What it has issued is shown for as long as that can be done, and nothing waits for it.

    Its key is put aside in the end, and it may have expired. Who relies on it relies on its certificates only, and all members have others by then.
    """
    return fingerprint not in trusted or (fingerprint == trusted[0] and fingerprint != issuer)


def probes(trust: Trust | None) -> list[Json]:
    """`certificates` of host_certificates: one client's certificate of each CA, to be shown to members.

    That of a CA which is to be dropped is issued while it still is a CA of the deployment. host_certificates leaves it out once it can be shown no more.
    """
    if trust is None:
        return []
    return [
        {
            "name": PROBES,
            "file": short(fingerprint),
            "common_name": "hostnet trust probe",
            "usages": ["client"],
            "ca_fingerprint": fingerprint,
        }
        for fingerprint in [*trust["trusted"], *trust["dropped"]]
    ]


def shown(trust: Trust, issued: Sequence[Mapping[str, Any]]) -> list[Json]:
    """`trust` of certificates_served: which client's certificates members have to accept, and which not. `issued` is what host_certificates returned.

    It may lack that of a CA on its way out, and no other one.
    """
    by_file = {str(entry["file"]): entry for entry in issued if entry["name"] == PROBES}
    return [
        {
            "ca": fingerprint,
            "accepted": accepted,
            "certificate": by_file[short(fingerprint)]["certificate"],
            "private_key": by_file[short(fingerprint)]["private_key"],
        }
        for fingerprint, accepted in expected(trust).items()
        if short(fingerprint) in by_file or not outgoing(trust["trusted"], trust["issuer"], fingerprint)
    ]


def order_problem(trust: Trust, wanted: str) -> str:
    """Why this phase can neither be begun nor gone on with from here; "" where it can."""
    now = phase(trust)
    # What is left to do after an abandoned exchange is what is left after a finished one.
    if wanted == now or _begins(now, wanted) or (wanted, now) == (ABANDON, DROP):
        return ""
    if (wanted, now) == (ABANDON, ISSUE):
        return f"hostnet_ca_phase is {wanted}, and the new CA issues certificates already, so there is no way back: hostnet_ca_phase={DROP} comes next"
    if now in ("", DROP):
        return f"hostnet_ca_phase is {wanted}, and no CA is being exchanged: begin with hostnet_ca_phase={TRUST}"
    return f"hostnet_ca_phase is {wanted}, and the exchange of the CA is in phase {now}: hostnet_ca_phase={_next(now)} comes next"


def _next(now: str) -> str:
    return {"": TRUST, TRUST: ISSUE, ISSUE: DROP, DROP: TRUST}[now]


def _begins(now: str, wanted: str) -> bool:
    """Whether this phase is one that may begin after `now`."""
    return wanted == _next(now) or (wanted, now) == (ABANDON, TRUST)


def following(trust: Trust, wanted: str, fresh: str) -> Trust:
    """The revision after this one, for the phase `wanted`. `fresh` is the fingerprint of the new CA, needed for TRUST alone.

    Raises ValueError where that phase is not the next one, or the new CA is none.
    """
    if not _begins(phase(trust), wanted):
        raise ValueError(order_problem(trust, wanted) or f"revision {trust['revision']} is of phase {wanted} already")
    number = trust["revision"] + 1
    if wanted == TRUST:
        if not fresh or fresh in [*trust["trusted"], *trust["dropped"]]:
            raise ValueError(_no_new_one(fresh))
        return make(number, [*trust["trusted"], fresh], trust["issuer"])
    old, new = trust["trusted"]
    if wanted == ABANDON:
        return make(number, [old], old, [new])
    return make(number, [old, new], new) if wanted == ISSUE else make(number, [new], new, [old])


def _no_new_one(fresh: str) -> str:
    return f"the CA with the fingerprint {fresh!r} is no new one"


def fresh(hostnet: Mapping[str, Any], trust: Trust) -> str:
    """Fingerprint of the new CA where the user has brought one; "" where one is to be made."""
    own = (hostnet.get("ca") or {}).get("certificate")
    given = str((hostnet.get("pki") or {}).get("fingerprint") or "")
    return given if own and given not in trust["trusted"] else ""


def plan(hostnet: Mapping[str, Any], spec: Mapping[str, Any], seen: Deployment, wanted: str, targets: Sequence[Mapping[str, Any]]) -> Json:
    """What a run for the phase `wanted` does: {errors, lines, begins, resumes}.

    `targets`: the members that run. `begins`: its revision is yet to be written. `resumes`: a run was killed while members were started anew, one after
    another, and that goes on first.
    """
    resumes = _restarting(seen["kube_clusters"])
    known = seen["plan"]
    errors = [*([] if resumes else known["open"]), *known["conflicts"]]
    trust: Trust | None = known["trust"]
    if known["mode"] != "existing" or trust is None:
        errors.append(f"deployment {hostnet['name']} is not deployed, or its first deploy is not finished: run playbooks/deploy.yml")
        return {"errors": errors, "lines": [], "begins": False, "resumes": resumes}
    begins = _begins(phase(trust), wanted)
    if wanted == ABANDON and _has_key(hostnet, trust["issuer"]):
        # What is lost of the new CA is why it is abandoned.
        errors = [error for error in errors if error not in known["lost_ca"]]
    errors += list(filter(None, [order_problem(trust, wanted)]))
    if not any(wish.get("ports") for wish in spec["certificates"]):
        errors.append(
            f"no certificate in the spec of {hostnet['system']} has ports (docs/systems.md), and nothing else proves which CAs a member trusts: with the next "
            f"phase members could refuse each other"
        )
    # A member that is down in the middle of its restart is what goes on first. A phase that begins needs everybody all the same.
    if not resumes or begins:
        errors += _not_running(hostnet, known["members"], targets)
    if not resumes:
        errors += _other_images(hostnet, seen["kube_clusters"])
    if begins and wanted == ISSUE and not (hostnet.get("pki") or {}).get("problem"):
        errors += _cannot_issue(hostnet, trust["trusted"][-1])
    own = (hostnet.get("ca") or {}).get("certificate")
    if begins and wanted == TRUST and own and not fresh(hostnet, trust):
        errors.append(
            f"hostnet_ca.certificate is {own}, the CA that members trust already: give the new one there, with its key as private_key, and the old one as "
            f"old_certificate and old_private_key"
        )
    if begins and wanted == TRUST and fresh(hostnet, trust) in trust["dropped"]:
        errors.append(f"hostnet_ca.certificate is {own}: {_no_new_one(fresh(hostnet, trust))}, it was trusted before, and dropped")
    lines = _lines(hostnet, spec, trust, wanted, len(known["members"]))
    if resumes:
        lines.append("first the restart of members goes on that was begun and not finished")
    return {"errors": errors, "lines": lines, "begins": begins, "resumes": resumes}


def _authority(hostnet: Mapping[str, Any], fingerprint: str) -> Mapping[str, Any]:
    here = (hostnet.get("pki") or {}).get("authorities") or []
    return next((entry for entry in here if entry["fingerprint"] == fingerprint), {})


def _has_key(hostnet: Mapping[str, Any], fingerprint: str) -> bool:
    return bool(_authority(hostnet, fingerprint).get("has_key")) and not (hostnet.get("pki") or {}).get("problem")


def _cannot_issue(hostnet: Mapping[str, Any], fingerprint: str) -> list[str]:
    """Once it is recorded that a CA issues, nothing goes on without its key, and nothing goes back."""
    if _has_key(hostnet, fingerprint):
        return []
    pki = hostnet.get("pki") or {}
    key = _authority(hostnet, fingerprint).get("private_key") or f"{pki.get('path', '')}/ca-{short(fingerprint)}.key"
    return [
        (
            f"the new CA {short(fingerprint)} is to issue certificates, and its private key {key} does not exist on this controller: restore it from a backup "
            f"or from the controller that made it. Where it is gone for good, hostnet_ca_phase={ABANDON} goes back to the old CA"
        )
    ]


def _restarting(observed: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether a rollout is in flight that starts processes anew, as the exchange of a CA does."""
    found = journal.newest({name: observed[name].get("rollout") for name in observed})
    return bool(found and journal.in_flight(found) and found.get("work") == "restart")


def _not_running(hostnet: Mapping[str, Any], bindings: Sequence[Mapping[str, Any]], targets: Sequence[Mapping[str, Any]]) -> list[str]:
    running = {str(target["member"]) for target in targets}
    away = [str(binding["member"]) for binding in bindings if str(binding["member"]) not in running]
    if not away:
        return []
    return [
        (
            f"members of {hostnet['name']} that do not run: {some(away, 5)}. Only one that runs proves which CAs it trusts, and the next phase needs all of "
            f"them: repair them (playbooks/repair.yml), then run again"
        )
    ]


def _other_images(hostnet: Mapping[str, Any], observed: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Workloads are written, and members may be started from them: that must be no upgrade that nobody has asked for."""
    found = sorted({str(entry["image"]) for there in observed.values() for entry in there["workloads"]} - {str(hostnet["image"])})
    if not found:
        return []
    return [
        (
            f"{hostnet['name']} runs {' and '.join(found)}, and hostnet_image is {hostnet['image']}: an exchange of the CA brings no other version. Set "
            f"hostnet_image to what runs, or bring the new one first (playbooks/upgrade.yml with hostnet_work=version)"
        )
    ]


def _lines(hostnet: Mapping[str, Any], spec: Mapping[str, Any], trust: Trust, wanted: str, members: int) -> list[str]:
    """Where the exchange of the CA is, and what this phase and the later ones do, for people."""
    now = phase(trust)
    begun = now in (TRUST, ISSUE)
    brought = f"{members} members read their file of CAs one after another, and nobody is restarted"
    if spec.get("reload_ca") == "restart":
        brought = f"all {members} members are started anew, one after another, because {hostnet['system']} reads CAs at its start alone"
    new = trust["trusted"][-1] if begun else fresh(hostnet, trust)
    does = {
        TRUST: f"{f'the CA {short(new)}' if new else 'a new CA, which is made,'} is trusted beside {short(trust['trusted'][0])}; {brought}",
        ISSUE: f"the new CA issues certificates of members and clients, and {members} members get theirs one after another; nobody is restarted",
        DROP: f"the old CA is trusted no more, and its key is put aside; {brought}",
        ABANDON: f"the new CA, which has issued nothing, is trusted no more, and its key is put aside; {brought}",
    }
    found = [
        (
            f"trust revision {trust['revision']}{f' (phase {now})' if now else ''}: members trust {' and '.join(map(short, trust['trusted']))}, and "
            f"{short(trust['issuer'])} issues"
        )
    ]
    if wanted == ABANDON and begun:
        return [*found, f"{wanted}, this run: {does[wanted]}"]
    if wanted == now or (wanted, now) == (ABANDON, DROP):
        found.append(f"{wanted}, this run: it is recorded, and what is left of it is done and proven")
    later = PHASES[PHASES.index(now) + 1 :] if begun else PHASES if wanted not in (DROP, ABANDON) else ()
    return found + [f"{name}, {'this run' if name == wanted else 'later'}: {does[name]}" for name in later]


def warning(hostnet: Mapping[str, Any], trust: Trust | None) -> list[str]:
    """That the CA of a deployment is being exchanged: whoever looks on wants to know why two are trusted."""
    now = phase(trust) if trust else ""
    if trust is None or now not in (TRUST, ISSUE):
        return []
    return [
        (
            f"the CA of {hostnet['name']} is being exchanged: members trust {' and '.join(map(short, trust['trusted']))}, and {short(trust['issuer'])} "
            f"issues. playbooks/rotate_ca.yml goes on with hostnet_ca_phase={_next(now)} (docs/certificates.md)"
        )
    ]

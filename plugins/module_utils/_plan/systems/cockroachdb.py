# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What differs between versions of CockroachDB, and what its command line prints: pure functions.

Supported are v21.1 to v26.x. Everything here is about text: nothing is run and nothing is connected to. What cannot be
understood is reported as unknown, never as healthy and never as a blank node: on a blank node `init` makes a new cluster.
"""

from __future__ import annotations

import csv
import ipaddress
import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .. import join

OLDEST = (21, 1)
# Of the role's variables: least values, and those that are times of hours, minutes and seconds.
LEAST = {
    "system_cockroachdb_grace_seconds": 1,
    "system_cockroachdb_drain_seconds": 1,
    "system_cockroachdb_decommission_seconds": 1,
}
TIMES = ("system_cockroachdb_away",)

# Ranks of what follows the patch number; a word that is not listed (cloudonly, fips) is no pre-release.
_PRERELEASES = {"alpha": -3, "beta": -2, "rc": -1}
_VERSION = re.compile(
    r"v?(?P<year>[0-9]{1,3})\.(?P<minor>[0-9]{1,3})(?:\.(?P<patch>[0-9]{1,4}))?"
    r"(?:-(?P<word>[A-Za-z]+)\.?(?P<number>[0-9]+)?)?(?:-(?P<commits>[0-9]+)-g[0-9a-f]+)?(?:[-+][-+.A-Za-z0-9]*)?"
)
_CLUSTER_ID = re.compile(r'"cluster-id": "?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\b', re.IGNORECASE)
# The gRPC interceptor of a node without a cluster, and /health?ready=1 of the same node (docs/cockroachdb.md).
_BLANK = re.compile(r"node waiting for init\b|node is waiting for cluster initialization")
_BUILD_TAG = re.compile(r"^Build Tag:\s*(\S+)", re.MULTILINE)
# Reads the locality from a file: a DaemonSet has one template, but every node its own locality. `read` fails at the end of a
# file without newline although it has read the text. `exec` keeps cockroach at process id 1, where signals arrive.
LOCALITY_SCRIPT = 'read -r locality <"$0" || [ -n "$locality" ]; exec /cockroach/cockroach "$@" --locality="$locality"'


class CockroachError(ValueError):
    """Input or output that cannot be understood. The text says what, and what to do."""


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """A version of CockroachDB; sorted as released: v21.1.0-alpha.3 < v21.1.0-rc.1 < v21.1.0 < v21.1.0-12-gabc < v21.1.1."""

    year: int
    minor: int
    patch: int = 0
    rank: int = 0
    number: int = 0
    commits: int = 0

    @property
    def series(self) -> tuple[int, int]:
        """The major version as CockroachDB names it: (21, 1) for v21.1."""
        return self.year, self.minor


def parse_version(text: str) -> Version:
    """The version in a tag or build tag: `v26.2.5`, `23.2`, `v21.1.0-alpha.3`, `v21.1.0-alpha.3-2210-g0a1b2c3`.

    A missing patch number is 0. Raises CockroachError where the text is no version.
    """
    match = _VERSION.fullmatch(str(text).strip())
    if match is None:
        raise CockroachError(f"{str(text)!r} is not a version of CockroachDB such as v26.2.5 or v21.1.0-alpha.3")
    rank = _PRERELEASES.get((match["word"] or "").lower(), 0)
    return Version(
        int(match["year"]),
        int(match["minor"]),
        int(match["patch"] or 0),
        rank,
        int(match["number"] or 0) if rank else 0,
        int(match["commits"] or 0),
    )


def image_version(image: str, version: str = "") -> Version:
    """Version of an image by its tag, or `version` where that is given. Raises CockroachError for any outside v21.1 and later."""
    if version:
        found = parse_version(version)
    else:
        name = image.split("@", 1)[0]
        tag = name.rpartition("/")[2].partition(":")[2]
        try:
            found = parse_version(tag.removeprefix("latest-"))
        except CockroachError:
            raise CockroachError(
                f"the tag of image {image!r} is no version of CockroachDB: set system_cockroachdb_version to the version it has"
            ) from None
    if found.series < OLDEST:
        raise CockroachError(f"CockroachDB v{found.year}.{found.minor} is not supported: v21.1 is the oldest")
    return found


def version_flags(version: Version, log: Mapping[str, Any] | None = None) -> tuple[list[str], dict[str, str]]:
    """Flags and environment of `cockroach start` that depend on the version. `log` is the log configuration, empty for this role's own."""
    # v21.1 brought --log; pre-releases of v21.1 may lack it, and the older flag does the same there.
    if log:
        if version < Version(*OLDEST):
            raise CockroachError("system_cockroachdb_log needs v21.1.0 or later: its pre-releases may not have the flag --log")
        # JSON is YAML, which is what the flag takes. https://www.cockroachlabs.com/docs/stable/configure-logs
        flags = [f"--log={json.dumps(log, ensure_ascii=False)}"]
    else:
        flags = ["--log=sinks: {stderr: {filter: INFO}}"] if version >= Version(*OLDEST) else ["--logtostderr=INFO"]
    # Up to v21.1 a key must be readable by its owner alone. A Secret volume that another user than root reads is owned by root
    # and readable by the group, which v21.2 accepts (cockroachdb/cockroach#68182). The SQL client has a check of its own: the role's
    # commands have keys of their own (system_cockroachdb_own_keys).
    env = {"COCKROACH_SKIP_KEY_PERMISSION_CHECK": "true"} if version < Version(21, 2) else {}
    return flags, env


def drain_flags(version: Version) -> list[str]:
    """Flags of `cockroach node drain` that name the node it runs on.

    Up to v21.2 the command knows no node but the one it connects to and refuses --self (cockroachdb/docs#14033).
    """
    return ["--self"] if version.series >= (22, 1) else []


def decommission_flags(version: Version) -> list[str]:
    """Flags of a `cockroach node decommission` that only asks how far one has come.

    From v23.1 on each call first looks whether every replica has somewhere to go, which the call that began it has done.
    https://www.cockroachlabs.com/docs/v23.1/cockroach-node
    """
    return ["--checks=skip"] if version.series >= (23, 1) else []


def complete_spec(
    spec: Mapping[str, Any],
    image: str,
    version: str = "",
    locality: str = "",
    extra_args: Sequence[str] = (),
    log: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The system spec for one version: `spec` with the flags of that version, `extra_args` and, where it is not empty, the locality.

    `locality` is a template such as "region={region},zone={zone}"; the plan fills it in for each member and puts the
    text as the file `locality` beside the member's certificates.
    """
    found = image_version(image, version)
    flags, env = version_flags(found, log)
    args = [*spec["args"], *flags, *extra_args]
    complete = {**spec, "args": args, "env": {**env, **spec.get("env", {})}}
    if locality:
        complete["command"] = ["/bin/sh", "-ec"]
        complete["args"] = [LOCALITY_SCRIPT, "{certs}/locality", *args]
        complete["member_files"] = {**spec.get("member_files", {}), "locality": locality}
    return complete


def parse_build_tag(output: str) -> str:
    """The build tag in what `cockroach version` prints, or an empty text."""
    match = _BUILD_TAG.search(output)
    return match[1] if match else ""


def parse_cluster_id(output: str) -> str:
    """The cluster id in what `cockroach debug gossip-values` prints, in lower case, or an empty text."""
    match = _CLUSTER_ID.search(output)
    return match[1].lower() if match else ""


def is_blank(output: str) -> bool:
    """Whether a command failed because the node has no cluster: it waits for `init` or for a member that answers."""
    return bool(_BLANK.search(output))


def parse_node_id(output: str) -> str:
    """The id in what `SHOW node_id` prints as csv, or an empty text."""
    for header, value in itertools.pairwise(line.strip() for line in output.splitlines() if line.strip()):
        if header == "node_id" and value.isdigit():
            return value
    return ""


def parse_status(output: str) -> list[dict[str, str]]:
    """The rows of `cockroach node status --all`, csv or tsv, each by the names of its columns; NULL is an empty text.

    Columns come and go between versions, so they are never counted. Raises CockroachError without the needed ones.
    """
    return _table(output, "node status", ("id", "address", "is_available", "is_live", "membership", "is_draining"))


def parse_decommission(output: str) -> tuple[str, bool]:
    """(replicas that are left, or why that is not known; whether it is over), of `cockroach node decommission ID --wait=none`.

    That is the command for whoever polls: it asks for the same again, and once no replica is left it marks the node decommissioned and says so. The
    column `gossiped_replicas` of `node status` would be what a dead node has told at last. A node without replicas that is not marked is not gone yet.
    """
    if "No more data reported on target nodes" in output:
        return "0", True
    try:
        rows = _table(output, "node decommission", ("id", "replicas"))
    except CockroachError as error:
        return f"not known ({error})", False
    counts = [row["replicas"] for row in rows]
    return (counts[0], False) if len(counts) == 1 and counts[0].isdigit() else (f"not known ({shorten(output)})", False)


def same_address(left: str, right: str) -> bool:
    """Whether two texts `host:port` are the same address, compared whole: as IP addresses where both are, and by port."""
    first = _host_port(left)
    return first is not None and first == _host_port(right)


def inspection(results: Mapping[str, Any], targets: Sequence[Mapping[str, Any]], spec: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What each member says of itself and of the cluster, from the commands in the spec's `inspect`.

    `results` is what member_exec returned for the commands `gossip`, `version`, `node_id` and `status`; `targets` are the members that
    were asked, with their `variables.address`; the spec tells the port that they advertise. Of each member:

    * `reachable`: the process answered; `healthy`, or else `reason` why not
    * `cluster_id`, empty when blank; `id`; `version`; `role`: `node`, `blank` or `unknown`
    * `leader`: always false, because every range has a leader of its own
    * `peers`: every id that is not decommissioned, with address, membership, live, and the name of the live member there
    * `draining`, `membership`, and the sums over all live nodes `ranges_unavailable` and `ranges_underreplicated`, -1 when not known
    * `drain_flags` and `decommission_flags` of its version
    * where it was asked for a decommission, the command `decommission`: `replicas_left`, a text, and `decommissioned`

    A member that is reachable and has no cluster id is blank. Output that cannot be understood makes a member unreachable,
    because unknown must block what a blank node would allow.
    """
    # What a node tells the others, and `node status` shows as its address; where SQL has another port, that is in a column of its own.
    port = int(spec["ports"].get("rpc") or spec["ports"]["sql"])
    return {str(target["member"]): _inspect_one(results.get(str(target["member"])) or {}, target, targets, port) for target in targets}


def init_member(members: Sequence[Mapping[str, Any]], claimed: Iterable[str] = ()) -> Mapping[str, Any]:
    """The one member that `init` runs on: the first in canonical order of those that the identity record claims.

    Canonical order is the join list's, whose fresh choice always has the first member of the first kube cluster: `init` must run on
    a member of the join list, or the others never find it. Raises CockroachError without members.
    """
    names = {name.strip() for name in claimed} - {""}
    candidates = [member for member in members if not names or member["member"] in names]
    if not candidates:
        raise CockroachError(f"none of the claimed members {', '.join(sorted(names)) or '(none)'} exists: deploy them before init")
    return min(candidates, key=join.canonical_key)


def refuse_init(inspected: Mapping[str, Mapping[str, Any]], members: Sequence[Mapping[str, Any]], asked: Sequence[str]) -> None:
    """Raises CockroachError where `init` must not run: it succeeds on every blank node, also beside a running cluster with the same cluster name.

    So every one of the `members` must be among those that were `asked`, answer, and be blank or of one cluster.
    """
    ids = sorted({str(view["cluster_id"]) for view in inspected.values() if view["cluster_id"]})
    silent = [name for name, view in inspected.items() if not view["reachable"]]
    absent = [str(member["member"]) for member in members if member["member"] not in asked]
    if len(ids) > 1 or silent or absent:
        raise CockroachError(
            f"CockroachDB was not initialised. Cluster ids found: {', '.join(ids) or 'none'}. Members that do not answer: {', '.join(silent) or 'none'}. "
            f"Members without a running container: {', '.join(absent) or 'none'}. Start every member, then deploy again; with two cluster ids, keep the "
            f"cluster that holds your data and remove the other members' data."
        )


def init_outcome(result: Mapping[str, Any]) -> str:
    """`initialized`, `already` or, for anything else, the reason for failure.

    "unable to bootstrap due to internal error" is a failure: the node refuses every later init until it is started again.
    """
    output = f"{result.get('stdout') or ''}\n{result.get('stderr') or ''}"
    if result.get("error"):
        return f"failed: {shorten(str(result['error']))}"
    if result.get("rc") == 0 and "Cluster successfully initialized" in output:
        return "initialized"
    if "cluster has already been initialized" in output:
        return "already"
    return f"failed: {shorten(output) or 'init printed nothing'}"


def shorten(text: str, limit: int = 300) -> str:
    """The text in one line of at most `limit` characters, for messages."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 3] + "..."


def _inspect_one(results: Mapping[str, Any], target: Mapping[str, Any], targets: Sequence[Mapping[str, Any]], port: int) -> dict[str, Any]:
    view: dict[str, Any] = {
        "reachable": False,
        "healthy": False,
        "reason": "",
        "cluster_id": "",
        "id": "",
        "version": "",
        "leader": False,
        "role": "unknown",
        "peers": [],
        "draining": False,
        "membership": "",
        "ranges_unavailable": -1,
        "ranges_underreplicated": -1,
        "drain_flags": [],
        "decommission_flags": [],
        "replicas_left": "not known",
        "decommissioned": False,
    }
    # Asked alone, by the member that the decommission runs through. Whatever went wrong is no end of it.
    if "decommission" in results:
        left, over = parse_decommission(_output(results, "decommission"))
        view.update(replicas_left=left, decommissioned=over)
    view["version"] = parse_build_tag(_output(results, "version"))
    try:
        version = parse_version(view["version"])
        view.update(drain_flags=drain_flags(version), decommission_flags=decommission_flags(version))
    except CockroachError:
        # A build without a version tag is a recent one. What an old one does not know it refuses, and that is seen.
        view.update(drain_flags=["--self"], decommission_flags=[])
    gossip = results.get("gossip") or {}
    if gossip.get("error") or not gossip:
        return {**view, "reason": f"its pod cannot be asked: {shorten(str(gossip.get('error') or 'no answer'))}"}
    answer = _output(results, "gossip")
    if gossip.get("rc") != 0:
        if is_blank(answer):
            return {**view, "reachable": True, "role": "blank", "reason": "it waits for init or for a member that it can join"}
        return {**view, "reason": f"the process does not answer: {shorten(answer) or 'no output'}"}
    view["cluster_id"] = parse_cluster_id(answer)
    if not view["cluster_id"]:
        return {**view, "reason": "the process answered without a cluster id"}
    view.update(reachable=True, role="node", id=parse_node_id(_output(results, "node_id")))
    if not view["id"]:
        return {**view, "reason": f"SQL does not answer: {shorten(_output(results, 'node_id')) or 'no output'}"}
    try:
        rows = parse_status(_output(results, "status", stdout_only=True))
    except CockroachError as error:
        return {**view, "reason": f"{error}; {shorten(_output(results, 'status'))}"}
    view["peers"] = [_peer(row, targets, port) for row in rows if row["membership"] != "decommissioned"]
    for count in ("ranges_unavailable", "ranges_underreplicated"):
        view[count] = _sum(row.get(count, "") for row in rows if row["is_live"] == "true")
    own = next((row for row in rows if row["id"] == view["id"]), None)
    if own is None:
        return {**view, "reason": f"node status has no row for its id {view['id']}"}
    view.update(membership=own["membership"], draining=own["is_draining"] == "true")
    advertised = _advertised(target, port)
    reason = ""
    if own["is_available"] != "true" or own["is_live"] != "true":
        reason = "its liveness record has expired"
    elif own["membership"] != "active":
        reason = f"it is {own['membership']}"
    elif view["draining"]:
        reason = "it is draining"
    elif not same_address(own["address"], advertised):
        reason = f"it advertises {own['address']} instead of {advertised}"
    return {**view, "healthy": not reason, "reason": reason}


def _table(output: str, command: str, needed: Sequence[str]) -> list[dict[str, str]]:
    lines = iter(output.splitlines())
    for line in lines:
        delimiter = "\t" if "\t" in line else ","
        header = next(csv.reader([line], delimiter=delimiter), [])
        if set(needed[:2]) <= set(header):
            break
    else:
        raise CockroachError(f"{command} printed no table: " + (shorten(output) or "nothing"))
    missing = set(needed) - set(header)
    if missing:
        raise CockroachError(f"{command} printed no column {', '.join(sorted(missing))}")
    rows = []
    for values in csv.reader(lines, delimiter=delimiter):
        if len(values) == len(header) and values[header.index("id")].isdigit():
            rows.append({name: "" if value == "NULL" else value for name, value in zip(header, values, strict=True)})
    return rows


def _output(results: Mapping[str, Any], command: str, stdout_only: bool = False) -> str:
    result = results.get(command) or {}
    parts = [result.get("stdout")] if stdout_only else [result.get("stdout"), result.get("stderr"), result.get("error")]
    return "\n".join(str(part) for part in parts if part)


def _peer(row: Mapping[str, str], targets: Sequence[Mapping[str, Any]], port: int) -> dict[str, Any]:
    """A row as a peer. Only a live row has a member's name: after a disk was lost, the dead id has the same address as the new one."""
    live = row["is_available"] == "true" and row["is_live"] == "true"
    name = ""
    if live:
        own = (target for target in targets if same_address(row["address"], _advertised(target, port)))
        name = str(next(own, {}).get("member", ""))
    return {"id": row["id"], "name": name, "address": row["address"], "live": live, "membership": row["membership"]}


def _sum(values: Iterable[str]) -> int:
    """Sum of counts; -1 where one is missing, because an unknown count must not look like none."""
    total = 0
    known = False
    for value in values:
        if not value.lstrip("-").isdigit():
            return -1
        total += int(value)
        known = True
    return total if known else -1


def _advertised(target: Mapping[str, Any], port: int) -> str:
    address = str((target.get("variables") or {}).get("address") or "")
    try:
        return f"{join.bracketed(address)}:{port}"
    except ValueError:
        return ""


def _host_port(text: str) -> tuple[str, int] | None:
    host, separator, port = text.strip().rpartition(":")
    if not separator or not host or not port.isdigit():
        return None
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        return str(ipaddress.ip_address(bare)), int(port)
    except ValueError:
        return bare.lower(), int(port)

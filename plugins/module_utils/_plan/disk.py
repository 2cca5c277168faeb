# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose disk a data folder is on: admissions and their markers, what a node says about its disk, and what may be deleted. Pure functions.

The scripts run in short-lived pods (node_run). `/look` is the node's root file system, read-only, which tells what is mounted where.
`/host` is the data root, and only those that make or delete have it. Nothing is made by looking.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from . import names
from .certificates import BACKDATE
from .layout import all_ports, data_folder

Json = dict[str, Any]

# Less than certificates are issued in advance, so that the clock of a new VM may also be read a while later.
_CLOCK_MARGIN_SECONDS = 600

MARKER = ".hostnet-admission"
# What a node is looked at through.
LOOK_PATH = "/"

# Folders that are the node's own, with everything in them.
_SYSTEM_TREES = (
    *("/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/lost+found", "/proc", "/run", "/sbin", "/sys"),
    *("/tmp", "/usr", "/var/log", "/var/run", "/var/tmp", "/var/spool/cron"),  # noqa: S108 - refused, not used
    *(
        f"/var/lib/{name}"
        for name in ("apt", "cni", "containerd", "containers", "crio", "docker", "dpkg", "etcd", "kubelet", "rpm", "systemd")
    ),
)
# Folders that hold other folders of the node: a folder of one's own in them is fine.
_SYSTEM_FOLDERS = ("/", "/home", "/opt", "/root", "/var", "/var/cache", "/var/lib", "/var/spool")
# What a path may have that is written into scripts' facts, line by line and word by word.
_PLAIN = re.compile(r"/[A-Za-z0-9._/+@:-]*")


# -- the data root ---------------------------------------------------------------------------------------------------


def normal_root(path: str) -> str:
    """An absolute path with single slashes and none at its end. `..` stays, to be refused."""
    path = str(path)
    if not path.startswith("/"):
        return path
    return "/" + "/".join(part for part in path.split("/") if part not in ("", "."))


def root_errors(hostnet: Mapping[str, Any]) -> list[str]:
    """What is wrong with hostnet_data_root, and with the deployment's folder in it."""
    given = str(hostnet["data_root"])
    root = normal_root(given)
    if not root.startswith("/") or ".." in root.split("/"):
        return [f"hostnet_data_root is {given!r}: it must be an absolute path on the nodes"]
    if not _PLAIN.fullmatch(root):
        return [f"hostnet_data_root is {given!r}: use letters, digits and ._-+@: in its folders' names"]
    if root == "/":
        return ["hostnet_data_root is the root of the nodes' file system: give members a folder of their own"]
    own = f"{root}/{hostnet['name']}"
    for path, title in ((root, "hostnet_data_root"), (own, "the folder of the deployment below hostnet_data_root")):
        if _is_system(path):
            return [f"{title} is {path}, which is the nodes' own: give members a folder of their own, such as /var/lib/hostnet"]
    return []


def _is_system(path: str) -> bool:
    return path in _SYSTEM_FOLDERS or any(path == tree or path.startswith(f"{tree}/") for tree in _SYSTEM_TREES)


def mount_errors(hostnet: Mapping[str, Any], bindings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Members whose data is recorded to be on no mount of its own, where hostnet_data_mount asks for one."""
    if not hostnet.get("data_mount"):
        return []
    return [
        f"kube cluster {binding['kube_cluster']}: member {binding['member']} has its data on node {binding['node']} in a folder of "
        f"{binding['disk']['mount']}, and hostnet_data_mount wants {hostnet['data_root']} to be a mount point: replace the VM by one with a data disk first "
        f"(playbooks/upgrade.yml -e hostnet_work=replace with hostnet_data_mount=false), or leave hostnet_data_mount out"
        for binding in bindings
        if binding.get("disk") and not binding["disk"].get("mounted")
    ]


# -- admission -------------------------------------------------------------------------------------------------------


def admitted(bindings: Sequence[Mapping[str, Any]], token: str, placement: str, nonce: str) -> list[Json]:
    """The bindings with their admissions filled in; one once given is kept.

    An admission is made of the token, the member, the node's UID and a random `nonce`: an empty folder that somebody made by looking, an old
    copy of the disk or a former member's folder is never the folder of a new admission. `admission` names the folder. A DaemonSet has one
    template, so there the token is the folder's name, and the admission of the member's own is `admission_id`, which the marker has.
    """
    if not nonce:
        raise ValueError("an admission needs a random nonce")
    result = []
    for binding in bindings:
        entry = dict(binding)
        if not entry["admission"]:
            digest = hashlib.sha256(f"{token}/{entry['member']}/{entry['node_uid']}/{nonce}".encode()).hexdigest()
            own = f"{entry['member']}-{digest[:12]}"
            entry["admission"] = token if placement == "daemonset" else own
            if placement == "daemonset":
                entry["admission_id"] = own
        result.append(entry)
    return result


def admission_id(binding: Mapping[str, Any]) -> str:
    """What the marker in the member's folder says."""
    return str(binding.get("admission_id") or binding["admission"])


def admitted_vm(binding: Mapping[str, Any], node: Mapping[str, Any]) -> bool:
    """Whether the node is still the VM that the member was admitted to. A re-imaged VM may keep its Node object, and has another machine id."""
    return node["uid"] == binding["node_uid"] and all(
        not binding.get(key) or not node.get(key) or binding[key] == node[key] for key in ("provider_id", "machine_id")
    )


def admit_nodes(
    hostnet: Mapping[str, Any],
    spec: Mapping[str, Any],
    batch: Sequence[Mapping[str, Any]],
    new: Sequence[Mapping[str, Any]],
    token: str,
    former: Mapping[str, Any] | None = None,
    now: float = 0,
) -> list[Json]:
    """`nodes` of node_run with ADMIT_SCRIPT: the members of the batch that were never admitted before.

    Where a port of the system is taken on the host, or its clock is so far behind `now` (the controller's, seconds since the epoch) that certificates
    would not be valid there, it makes nothing: no old process is forgotten for a VM that cannot carry the member.

    A folder is made before its binding is written, so a member with a binding has one; where it is gone, the disk was
    emptied, and the member must wait for a repair. `former` is the member's binding before a repair: where its disk was mounted, the
    same VM's has to be so now too.
    """
    fresh = {binding["member"] for binding in new}
    found = [_marked(hostnet, spec, binding, token, former) for binding in batch if binding["member"] in fresh]
    host = {
        # As /proc/net/tcp has them.
        "PORTS": " ".join(f"{number:04X}={name}" for name, number in sorted(all_ports(spec).items())),
        "NOT_BEFORE": str(int(now - BACKDATE.total_seconds() + _CLOCK_MARGIN_SECONDS)) if now else "0",
    }
    return [{**entry, "env": {**entry["env"], **host}} for entry in found]


def mark_nodes(
    hostnet: Mapping[str, Any],
    spec: Mapping[str, Any],
    bindings: Sequence[Mapping[str, Any]],
    nodes: Sequence[Mapping[str, Any]],
    observed: Mapping[str, Any],
    token: str,
) -> list[Json]:
    """`nodes` of node_run with MARK_SCRIPT: members that run and of whose disk nothing is recorded, as versions before 0.3.0 left them."""
    uids = {(node["kube_cluster"], node["name"]): node["uid"] for node in nodes if node["ready"]}
    return [
        _marked(hostnet, spec, with_machine(binding, nodes), token, None)
        for binding in bindings
        if not binding.get("disk")
        and not binding.get("stopped")
        and uids.get((binding["kube_cluster"], binding["node"])) == binding["node_uid"]
        and any(
            pod["running"] and not pod["terminating"] and pod["node"] == binding["node"]
            for pod in observed.get(binding["kube_cluster"], {}).get("pods", [])
        )
    ]


def _marked(
    hostnet: Mapping[str, Any], spec: Mapping[str, Any], binding: Mapping[str, Any], token: str, former: Mapping[str, Any] | None
) -> Json:
    was_mounted = bool(former and (former.get("disk") or {}).get("mounted") and former["node_uid"] == binding["node_uid"])
    return {
        "kube_cluster": binding["kube_cluster"],
        "name": binding["node"],
        "env": {
            "DEPLOYMENT": str(hostnet["name"]),
            "ROOT": str(hostnet["data_root"]),
            "ADMISSION": str(binding["admission"]),
            "ADMISSION_ID": admission_id(binding),
            "TOKEN": token,
            "MEMBER": str(binding["member"]),
            "NODE_UID": str(binding["node_uid"]),
            "MACHINE": str(binding.get("machine_id") or ""),
            "OWNER": str(spec["user"]),
            "MUST_MOUNT": "true" if hostnet.get("data_mount") or was_mounted else "false",
        },
    }


def with_machine(binding: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]]) -> Json:
    """The binding with its VM's machine id, which versions before 0.3.0 did not record."""
    found = next((node.get("machine_id") for node in nodes if node["uid"] == binding["node_uid"]), "")
    return {**binding, "machine_id": found} if found and not binding.get("machine_id") else dict(binding)


def with_disks(
    bindings: Sequence[Mapping[str, Any]], results: Sequence[Mapping[str, Any]], nodes: Sequence[Mapping[str, Any]] = ()
) -> list[Json]:
    """The bindings with `disk` as the scripts found it on their nodes: {mounted, mount, filesystem, id}, and the machine id of the VM."""
    found = {(result["kube_cluster"], result["node"]): parse_probe(str(result["stdout"]))["disk"] for result in results}
    return [
        {**with_machine(binding, nodes), "disk": found[binding["kube_cluster"], binding["node"]]}
        if found.get((binding["kube_cluster"], binding["node"]))
        else dict(binding)
        for binding in bindings
    ]


def confirmed(bindings: Sequence[Mapping[str, Any]], nodes: Sequence[Mapping[str, Any]]) -> list[Json]:
    """The bindings of members whose end can be awaited: the kubelet of a node that is not Ready confirms nothing."""
    silent = {(node["kube_cluster"], node["name"]) for node in nodes if not node["ready"]}
    return [dict(binding) for binding in bindings if (binding["kube_cluster"], binding["node"]) not in silent]


# -- what became of a disk -------------------------------------------------------------------------------------------


def look_nodes(hostnet: Mapping[str, Any], status: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]]) -> list[Json]:
    """`nodes` of node_run with PROBE_SCRIPT: those of members whose folder is not there, and nobody knows why."""
    ready = {(node["kube_cluster"], node["name"]) for node in nodes if node["ready"]}
    return [
        {"kube_cluster": entry["kube_cluster"], "name": entry["node"], "env": probe_env(hostnet)}
        for entry in status["members"]
        if entry["class"] == "no_folder" and (entry["kube_cluster"], entry["node"]) in ready
    ]


def probe_env(hostnet: Mapping[str, Any]) -> dict[str, str]:
    """The environment of PROBE_SCRIPT."""
    return {"DEPLOYMENT": str(hostnet["name"]), "ROOT": str(hostnet["data_root"])}


def probe_nodes(hostnet: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]]) -> list[Json]:
    """`nodes` of node_run with PROBE_SCRIPT."""
    return [{"kube_cluster": node["kube_cluster"], "name": node["name"], "env": probe_env(hostnet)} for node in nodes]


def facts_of(bindings: Sequence[Mapping[str, Any]], results: Sequence[Mapping[str, Any]], lost: Sequence[str] = ()) -> dict[str, Json]:
    """Member -> facts of parse_probe about its node, of those that were looked at; and `lost` where a human says that its disk is gone for good."""
    found = {(result["kube_cluster"], result["node"]): str(result["stdout"]) for result in results if result.get("rc", 0) == 0}
    return {
        str(binding["member"]): {
            **parse_probe(found.get((binding["kube_cluster"], binding["node"]), "")),
            "lost": binding["member"] in lost,
        }
        for binding in bindings
        if (binding["kube_cluster"], binding["node"]) in found or binding["member"] in lost
    }


def without_folder(hostnet: Mapping[str, Any], binding: Mapping[str, Any], facts: Mapping[str, Any] | None) -> tuple[str, str]:
    """Class and reason of a member whose VM is the one it was admitted to, and whose folder is not there, as its kubelet says.

    `facts` are parse_probe's about that node, None where nobody has looked. Only an empty disk that is proven to be the recorded one is
    `reimaged`, which a repair mends by itself.
    """
    folder = data_folder(hostnet, binding)
    here = f"node {binding['node']} is the same VM, and {folder} is not there"
    # A disk that comes back under a new admission would be a second, older copy of the member.
    gone = (
        f'Only where that disk is gone for good, say so: playbooks/repair.yml -e \'{{"hostnet_lost_disks": ["{binding["member"]}"]}}\' takes the disk that is '
        f"there now. Or replace the VM"
    )
    recorded, seen = binding.get("disk") or {}, (facts or {}).get("disk") or {}
    if facts and facts.get("lost") and binding["admission"] not in facts["content"]:
        return "reimaged", f"{here}: hostnet_lost_disks says that its disk is gone for good"
    if not facts or not seen:
        return (
            "no_folder",
            f"{here}: its disk may be empty, another one, or not mounted. The member waits; playbooks/repair.yml looks at the disk",
        )
    content = facts["content"]
    marker = facts["markers"].get(binding["admission"], {})
    if binding["admission"] in content:
        if marker and marker.get("admission") != admission_id(binding):
            return (
                "older_copy",
                (
                    f"{folder} on node {binding['node']} has the marker of admission {marker.get('admission')}, and {admission_id(binding)} is recorded: "
                    f"it is an older copy of the disk, from a snapshot for example. Bring the present disk back. {gone}"
                ),
            )
        return "unknown", f"{folder} is on node {binding['node']} again; its kubelet has not tried again yet"
    if (hostnet.get("data_mount") or recorded.get("mounted")) and not seen["mounted"]:
        return (
            "not_mounted",
            (
                f"{here}: no disk is mounted at {hostnet['data_root']}, which is a folder of {seen['mount']} now. Mount the data disk, and the member "
                f"starts by itself. {gone}"
            ),
        )
    if not recorded:
        return (
            "no_folder",
            (
                f"{here}. Nothing was recorded about its disk, as versions before 0.3.0 did, so nobody can tell whether it is empty, another one, or not "
                f"mounted. If it is there, mount it. {gone}"
            ),
        )
    if recorded["mount"] != seen["mount"]:
        shorter = recorded["mount"].startswith(f"{seen['mount'].rstrip('/')}/")
        return (
            "not_mounted" if shorter else "other_disk",
            (
                f"{here}: its data was on what is mounted at {recorded['mount']}, and {hostnet['data_root']} is on {seen['mount']} now. Mount the disks as "
                f"they were, and the member starts by itself. {gone}"
            ),
        )
    if recorded["filesystem"] != seen["filesystem"] or _differ(recorded["id"], seen["id"]):
        return (
            "other_disk",
            (
                f"{here}: another disk is mounted at {seen['mount']} ({_disk(seen)}, recorded is {_disk(recorded)}). Bring the recorded disk back, and the "
                f"member starts by itself. {gone}"
            ),
        )
    older = sorted(
        name
        for name, said in facts["markers"].items()
        if said.get("member") == binding["member"] and said.get("deployment") == hostnet["name"] and content.get(name) == "data"
    )
    if older:
        return (
            "older_copy",
            (
                f"{here}, but {older[0]}, an earlier admission of the member, is: the disk is an older copy, from a snapshot for example. Bring the present "
                f"disk back. {gone}"
            ),
        )
    if not recorded["id"] or recorded["id"] != seen["id"]:
        return (
            "no_folder",
            (
                f"{here}. The file system at {seen['mount']} ({seen['filesystem']}) has no identity that could be compared, so nobody can "
                f"tell whether it is the same disk. {gone}"
            ),
        )
    return (
        "reimaged",
        f"{here}: its recorded disk ({_disk(seen)}) is mounted at {seen['mount']} and has no data of the member, so it does not start",
    )


# What a system's own log has reached, as its inspection tells it. None of it ever goes back on one disk.
_PROGRESS = ("applied_index", "revision", "term")


def with_progress(bindings: Sequence[Mapping[str, Any]], inspection: Mapping[str, Mapping[str, Any]]) -> list[Json]:
    """The bindings with how far each healthy member's log has come (`progress`), where its system tells that. What is recorded never goes back."""
    result = []
    for binding in bindings:
        said = inspection.get(str(binding["member"]), {})
        now = {key: int(said[key]) for key in _PROGRESS if said.get(key)}
        if not said.get("healthy") or not said.get("cluster_id") or not now:
            result.append(dict(binding))
            continue
        before = binding.get("progress") or {}
        known = before if before.get("cluster_id") == said["cluster_id"] else {}
        reached = {key: max(value, int(known.get(key, 0))) for key, value in now.items()}
        result.append({**binding, "progress": {"cluster_id": said["cluster_id"], **reached}})
    return result


def went_back(binding: Mapping[str, Any], said: Mapping[str, Any]) -> str:
    """Why a member that takes part runs on an older copy of its disk, or "". One that has just started may not have replayed its log, and has no leader yet."""
    before = binding.get("progress") or {}
    if not said.get("healthy") or before.get("cluster_id") != said.get("cluster_id"):
        return ""
    back = [
        f"{key} {said[key]} after {before[key]}"
        for key in _PROGRESS
        if before.get(key) and said.get(key) and int(said[key]) < int(before[key])
    ]
    if not back:
        return ""
    return (
        f"it runs on an older copy of its disk, from a snapshot for example: {', '.join(back)}. What it acknowledged since may be lost where a majority was "
        f"restored like that; see docs/recovery.md"
    )


def _differ(recorded: str, seen: str) -> bool:
    """Whether two identities of one kind (`fsid:`, `uuid:`) are different. What cannot be compared does not differ, and proves nothing."""
    return bool(recorded and seen) and recorded.partition(":")[0] == seen.partition(":")[0] and recorded != seen


def _disk(disk: Mapping[str, Any]) -> str:
    return f"{disk['filesystem']} {disk['id'] or 'without identity'}"


# -- deletion --------------------------------------------------------------------------------------------------------


def remove_nodes(
    hostnet: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]], bindings: Sequence[Mapping[str, Any]], token: str
) -> list[Json]:
    """`nodes` of node_run with REMOVE_SCRIPT: each with the admission of the member that is recorded there, if any.

    Those that match the selector too: an admission that was cut short leaves a folder and nothing else. Nodes that neither match nor hold a
    member, by binding or by label, are left alone.
    """
    owners = {(binding["kube_cluster"], binding["node"]): binding for binding in bindings}
    labels = {names.node_label(str(hostnet["name"])), names.namespace_label(str(hostnet["name"]))}
    result = []
    for node in nodes:
        owner = owners.get((node["kube_cluster"], node["name"]), {})
        if not owner and not node.get("selected", True) and not labels & set(node.get("labels") or {}):
            continue
        result.append(
            {
                "kube_cluster": node["kube_cluster"],
                "name": node["name"],
                "env": {
                    "DEPLOYMENT": str(hostnet["name"]),
                    "TOKEN": token,
                    "ADMISSION": str(owner.get("admission", "")),
                    "ADMISSION_ID": admission_id(owner) if owner else "",
                    "MEMBER": str(owner.get("member", "")),
                },
            }
        )
    return result


def removal(
    hostnet: Mapping[str, Any],
    bindings: Sequence[Mapping[str, Any]],
    nodes: Sequence[Mapping[str, Any]],
    results: Sequence[Mapping[str, Any]],
) -> Json:
    """What a removal has done on the nodes: {removed, left (lines about folders that nobody has recorded), unfinished (lines: the records stay)}.

    `nodes` are all that are known, `results` what node_run gave on those that are Ready.
    """
    done: Json = {"removed": [], "left": [], "unfinished": []}
    base = f"{hostnet['data_root']}/{hostnet['name']}"
    cleaned = {(result["kube_cluster"], result["node"]) for result in results}
    for result in results:
        where = f"kube cluster {result['kube_cluster']}: node {result['node']}"
        for line in str(result["stdout"]).splitlines():
            word, _space, rest = line.partition(" ")
            if word == "removed":
                done["removed"].append(f"{where}: {base}/{rest}")
            elif word == "left":
                done["left"].append(
                    f"{where}: {base}/{rest} is left: it is no recorded folder of a member. Look at it, and delete it by hand"
                )
            elif word == "unproven":
                done["unfinished"].append(
                    f"{where}: {base}/{rest} is left: it has no marker that says it is this member's. Run playbooks/deploy.yml once, which writes the markers "
                    f"of members that run, or delete it by hand"
                )
    known = {(node["kube_cluster"], node["name"]): node["ready"] for node in nodes}
    for binding in bindings:
        key = (binding["kube_cluster"], binding["node"])
        if key in cleaned:
            continue
        where = f"kube cluster {key[0]}: node {key[1]}"
        folder = data_folder(hostnet, binding)
        if known.get(key) is False:
            done["unfinished"].append(
                f"{where} is not Ready, so {folder} of member {binding['member']} is still there. Run this again when it is Ready"
            )
        elif key in known:
            done["left"].append(
                f"{where}: {folder} of member {binding['member']} is left: nothing of the deployment but that is in this kube cluster"
            )
        else:
            done["left"].append(f"{where} does not exist any more; {folder} of member {binding['member']} went with it, or is on its disk")
    return done


# -- scripts ---------------------------------------------------------------------------------------------------------

# Sets `real` (the data root without symbolic links, whose absolute targets lead elsewhere inside of a pod), `mounted` (whether that is a mount point),
# `point` (the mount that it is on), `filesystem` and `id`. Says them in one line.
_DISK = """
real= rest=${ROOT#/}/ hops=0
while [ -n "$rest" ]; do
  part=${rest%%/*}
  rest=${rest#*/}
  case "$part" in
    "" | .) ;;
    ..) real=${real%/*} ;;
    *)
      if [ -L "/look$real/$part" ] && [ "$hops" -lt 40 ]; then
        hops=$((hops + 1))
        target=$(readlink "/look$real/$part")
        case "$target" in
          /*) real= rest=${target#/}/$rest ;;
          *) rest=$target/$rest ;;
        esac
      else
        real=$real/$part
      fi
      ;;
  esac
done
point= device= filesystem=
while read -r _ _ number _ where fields; do
  case "$where" in
    /look | /look/*) where=${where#/look} ;;
    *) continue ;;
  esac
  case "$real/" in
    "$where"/*) ;;
    *) continue ;;
  esac
  # A later mount at the same place covers the one before.
  [ "${#where}" -ge "${#point}" ] || continue
  fields=${fields#* - }
  point=$where device=$number filesystem=${fields%% *}
done </proc/self/mountinfo
mounted=false
[ "$point" != "$real" ] || mounted=true
there=/look$real
while [ ! -e "$there" ]; do there=${there%/*}; done
id=
case "$filesystem" in
  # Their file system id comes from the UUID. That of others is the number of a device, which another boot may give to another disk.
  ext2 | ext3 | ext4 | btrfs) id=fsid:$(stat -f -c %i "$there") ;;
  *)
    for link in /look/dev/disk/by-uuid/*; do
      numbers=$(stat -L -c '%t %T' "$link" 2>/dev/null) || continue
      if [ "$((0x${numbers% *})):$((0x${numbers#* }))" = "$device" ]; then id=uuid:${link##*/}; fi
    done
    ;;
esac
echo "disk mounted=$mounted mount=${point:-/} filesystem=$filesystem id=$id"
"""

_MARKER = """
marker=.hostnet-admission
write_marker() {
  cat >"$1" <<END
format=1
deployment=$DEPLOYMENT
token=$TOKEN
member=$MEMBER
admission=$ADMISSION_ID
node_uid=$NODE_UID
machine_id=$MACHINE
mounted=$mounted
mount=${point:-/}
filesystem=$filesystem
filesystem_id=$id
END
}
ours() {
  [ -f "$1" ] && [ ! -L "$1" ] && grep -qxF "token=$TOKEN" "$1" && grep -qxF "member=$MEMBER" "$1"
}
"""

# Looks at a node, on the host's network. Prints one fact a line.
PROBE_SCRIPT = f"""
set -u
echo "clock $(date +%s)"
{_DISK}
if [ -d "/look$real" ]; then echo "root $real"; fi
for folder in "/look$real"/*/*; do
  if [ -d "$folder" ]; then echo "folder ${{folder#"/look$real/"}}"; fi
done
for folder in "/look$real/$DEPLOYMENT"/*; do
  [ -d "$folder" ] || continue
  name=${{folder##*/}}
  if ! inside=$(ls -A "$folder"); then
    state=unreadable
  elif [ -z "$inside" ]; then
    state=empty
  elif [ "$inside" = {MARKER} ]; then
    state=marker
  else
    state=data
  fi
  echo "content $name $state"
  if [ -f "$folder/{MARKER}" ]; then
    while read -r line; do echo "marker $name $line"; done <"$folder/{MARKER}"
  fi
done
cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | while read -r _ local _ state _; do
  [ "$state" = 0A ] && echo "port $((0x${{local##*:}}))"
done
exit 0
"""

# Admission: makes the folder without which the member's pod does not start, complete with its marker or not at all. Data that is there already is never
# touched. What an admission of the same member that was cut short has left is only a marker, and goes.
ADMIT_SCRIPT = f"""
set -eu
base="/host/${{DEPLOYMENT:?}}"
folder="$base/${{ADMISSION:?}}"
: "${{TOKEN:?}}" "${{MEMBER:?}}" "${{ADMISSION_ID:?}}"
{_DISK}
{_MARKER}
if [ "$MUST_MOUNT" = true ] && [ "$mounted" = false ]; then
  echo "no disk is mounted at $ROOT, which is a folder of ${{point:-/}}: mount the data disk there"
  exit 4
fi
for wanted in ${{PORTS:-}}; do
  if cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -q "^ *[0-9]*: [0-9A-F]*:${{wanted%%=*}} [0-9A-F:]* 0A "; then
    echo "port $((0x${{wanted%%=*}})) (${{wanted##*=}}) is already taken on the host: free it"
    exit 5
  fi
done
clock=$(date +%s)
if [ "$clock" -lt "${{NOT_BEFORE:-0}}" ]; then
  echo "its clock is at least $((NOT_BEFORE - clock)) seconds too far behind for a certificate to be valid there: synchronise its clock"
  exit 6
fi
for other in "$base"/* "$base"/.new-*; do
  case "${{other##*/}}" in
    .new-*)
      if [ -d "$other" ] && [ ! -L "$other" ]; then rm -f "$other/$marker" && rmdir "$other"; else rm -f "$other"; fi
      ;;
    *)
      if [ -d "$other" ] && [ ! -L "$other" ] && [ "$(ls -A "$other")" = "$marker" ] && ours "$other/$marker"; then
        rm "$other/$marker"
        rmdir "$other"
      fi
      ;;
  esac
done
if [ -L "$base" ] || [ -L "$folder" ] || {{ [ -e "$folder" ] && [ ! -d "$folder" ]; }}; then
  echo "$folder is no folder"
  exit 3
fi
if [ -d "$folder" ]; then
  if [ -n "$(ls -A "$folder")" ]; then
    echo "$folder has content, although no member was ever admitted to it"
    exit 3
  fi
  rmdir "$folder"
fi
[ -d "$base" ] || mkdir -m 0711 "$base"
mkdir -m 0700 "$base/.new-$ADMISSION_ID"
write_marker "$base/.new-$ADMISSION_ID/$marker"
chown "$OWNER:$OWNER" "$base/.new-$ADMISSION_ID"
mv "$base/.new-$ADMISSION_ID" "$folder"
echo admitted
"""

# The marker of a member that an older version has admitted. Its folder's name has the token in it, or is made of it: nobody else has such a one.
MARK_SCRIPT = f"""
set -eu
base="/host/${{DEPLOYMENT:?}}"
folder="$base/${{ADMISSION:?}}"
: "${{TOKEN:?}}" "${{MEMBER:?}}" "${{ADMISSION_ID:?}}"
{_DISK}
{_MARKER}
if [ -L "$folder" ] || [ ! -d "$folder" ]; then
  echo "$folder is no folder, although member $MEMBER runs in it"
  exit 3
fi
if [ -e "$folder/$marker" ] || [ -L "$folder/$marker" ]; then
  if ! ours "$folder/$marker" || ! grep -qxF "admission=$ADMISSION_ID" "$folder/$marker"; then
    echo "$folder has the marker of another member or admission"
    exit 3
  fi
  exit 0
fi
write_marker "$base/.new-$ADMISSION_ID"
mv "$base/.new-$ADMISSION_ID" "$folder/$marker"
echo marked
"""

# Deletes the recorded folder of one member where its marker says so, its marker last, and what has nothing but a marker of this deployment. Everything else is
# left and named. Only ever run when the user has asked for it by name.
REMOVE_SCRIPT = f"""
set -eu
base="/host/${{DEPLOYMENT:?}}"
marker={MARKER}
proven() {{
  [ -d "$1" ] && [ ! -L "$1" ] && [ -f "$1/$marker" ] && [ ! -L "$1/$marker" ] && [ -n "$TOKEN" ] && grep -qxF "token=$TOKEN" "$1/$marker"
}}
if [ -L "$base" ] || [ ! -d "$base" ]; then exit 0; fi
case "$ADMISSION" in
  */* | . | ..) echo "the admission $ADMISSION is no name of a folder"; exit 3 ;;
esac
for folder in "$base"/* "$base"/.[!.]*; do
  name=${{folder##*/}}
  if [ ! -e "$folder" ] && [ ! -L "$folder" ]; then continue; fi
  if [ -n "$ADMISSION" ] && [ "$name" = "$ADMISSION" ]; then
    if proven "$folder" && grep -qxF "member=$MEMBER" "$folder/$marker" && grep -qxF "admission=$ADMISSION_ID" "$folder/$marker"; then
      find "$folder" -mindepth 1 -maxdepth 1 ! -name "$marker" -exec rm -rf {{}} +
      rm "$folder/$marker"
      rmdir "$folder"
      echo "removed $name"
    else
      echo "unproven $name"
    fi
  elif proven "$folder" && [ "$(ls -A "$folder")" = "$marker" ]; then
    rm "$folder/$marker"
    rmdir "$folder"
  elif [ "${{name#.new-}}" != "$name" ] && [ -f "$folder" ]; then
    rm "$folder"
  else
    echo "left $name"
  fi
done
rmdir "$base" 2>/dev/null || true
"""

SCRIPTS = {"probe": PROBE_SCRIPT, "admit": ADMIT_SCRIPT, "mark": MARK_SCRIPT, "remove": REMOVE_SCRIPT}


def parse_probe(text: str) -> Json:
    """Facts from a script's output: {clock: seconds since the epoch, root (whether the data root is there), disk: {mounted, mount, filesystem, id}, folders:
    [deployment/admission], content: {admission: empty, marker, data or unreadable}, markers: {admission: {key: value}}, ports: [listening]}."""
    facts: Json = {"clock": 0.0, "root": False, "disk": {}, "folders": [], "content": {}, "markers": {}, "ports": []}
    for line in text.splitlines():
        word, _space, rest = line.partition(" ")
        if word == "clock":
            facts["clock"] = float(rest)
        elif word == "root":
            facts["root"] = True
        elif word == "disk":
            said = dict(field.partition("=")[::2] for field in rest.split())
            facts["disk"] = {
                "mounted": said.get("mounted") == "true",
                **{key: said.get(key, "") for key in ("mount", "filesystem", "id")},
            }
        elif word == "folder":
            facts["folders"].append(rest)
        elif word == "content":
            name, _space, state = rest.rpartition(" ")
            facts["content"][name] = state
        elif word == "marker":
            name, _space, field = rest.partition(" ")
            key, _equals, value = field.partition("=")
            facts["markers"].setdefault(name, {})[key] = value
        elif word == "port":
            facts["ports"].append(int(rest))
    facts["ports"] = sorted(set(facts["ports"]))
    return facts

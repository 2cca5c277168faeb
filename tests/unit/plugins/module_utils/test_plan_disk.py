# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks prove themselves: markers, what a node says about its disk, what became of it, and what may be deleted. The scripts run for real."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import (
    admission,
    classify,
    data_root,
    disk,
    layout,
    node_scripts,
    probe,
    progress,
    removal,
)
from support import plans
from support.plans import Json

SPEC = plans.spec_of("etcd")
HOSTNET = plans.settings()
NODES = plans.five_nodes()
RECORDED = {"mounted": True, "mount": "/var/lib/hostnet", "filesystem": "ext4", "id": "fsid:abc"}
BINDING = {**plans.admitted(HOSTNET, SPEC, NODES)[0], "disk": RECORDED}
ROOT = "/var/lib/hostnet"


class Machine:
    """A node's file system in a folder, and the scripts on it. `mounts` are (mount point, file system) besides ext4 at the root."""

    def __init__(self, folder: Path) -> None:
        self.look = folder / "node"
        self.root = self.look / ROOT[1:]
        self.root.mkdir(parents=True)
        self.base = self.root / "ledger"
        self.mounts: list[tuple[str, str]] = []
        self.mountinfo = folder / "mountinfo"
        # Local address, state.
        self.sockets: list[tuple[str, str]] = []
        self.tcp = folder / "tcp"

    def run(self, name: str, **changes: str) -> subprocess.CompletedProcess[str]:
        lines = [f"21 1 8:1 / {self.look} rw,relatime shared:1 - ext4 /dev/sda1 rw", "22 1 0:5 / /proc rw - proc proc rw"]
        lines += [f"{30 + n} 21 8:{n + 2} / {self.look}{at} rw - {kind} /dev/x rw" for n, (at, kind) in enumerate(self.mounts)]
        self.mountinfo.write_text("\n".join(lines) + "\n")
        rows = [f"{n:4}: {at} 00000000:0000 {state} 00000000:00000000 00:00000000" for n, (at, state) in enumerate(self.sockets)]
        self.tcp.write_text("\n".join(["  sl  local_address rem_address   st tx_queue", *rows]) + "\n")
        script = node_scripts.SCRIPTS[name].replace("/proc/self/mountinfo", str(self.mountinfo))
        if name == "admit":
            script = script.replace("/proc/net/tcp6", "/dev/null").replace("/proc/net/tcp", str(self.tcp))
        script = script.replace("/look", str(self.look)).replace("/host/", f"{self.root}/")
        env = {
            **admission.admit_nodes(HOSTNET, SPEC, [BINDING], [BINDING], plans.TOKEN)[0]["env"],
            "OWNER": str(os.getuid()),
            "PATH": os.environ["PATH"],
            **changes,
        }
        return subprocess.run(["sh", "-c", script], env=env, capture_output=True, text=True, check=False)

    def facts(self, **changes: str) -> Json:
        done = self.run("probe", **changes)
        assert (done.returncode, done.stderr) == (0, "")
        return probe.parse_probe(done.stdout)

    @property
    def folder(self) -> Path:
        return self.base / str(BINDING["admission"])

    def marker(self) -> Json:
        return dict(line.split("=", 1) for line in (self.folder / node_scripts.MARKER).read_text().splitlines())


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


# -- a VM that cannot carry the member ---------------------------------------------------------------------------------


def test_nothing_is_made_where_a_port_is_taken(machine: Machine) -> None:
    # Connections from and to such a port take nobody's place, nor does another port with these digits.
    machine.sockets = [("0100007F:094B", "01"), ("00000000:194B", "0A")]
    assert machine.run("admit").returncode == 0
    machine.folder.rename(machine.base.parent / "elsewhere")
    machine.sockets += [("00000000:094B", "0A")]
    done = machine.run("admit")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (5, "port 2379 (client) is already taken on the host: free it")
    assert not machine.folder.exists()


def test_nothing_is_made_where_the_clock_is_far_behind(machine: Machine) -> None:
    now = time.time()
    (entry,) = admission.admit_nodes(HOSTNET, SPEC, [BINDING], [BINDING], plans.TOKEN, now=now + 7200)
    done = machine.run("admit", NOT_BEFORE=entry["env"]["NOT_BEFORE"])
    assert done.returncode == 6
    assert "seconds further behind the clock of the controller than 50 minutes: synchronise it" in done.stdout
    assert not machine.folder.exists()
    (entry,) = admission.admit_nodes(HOSTNET, SPEC, [BINDING], [BINDING], plans.TOKEN, now=now + 2400)
    assert machine.run("admit", NOT_BEFORE=entry["env"]["NOT_BEFORE"]).returncode == 0


# -- the data root ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("root", "name"),
    [
        *((root, "ledger") for root in ("/", "//", "/etc", "/etc/x", "/usr/", "/var", "/var/lib", "/var//lib/", "/boot", "/proc/1", "/sys", "/dev/shm")),
        *((root, "ledger") for root in ("/root", "/home", "/opt", "/var/lib/kubelet", "/var/lib/kubelet/x", "/var/lib/docker", "/var/lib/etcd", "/tmp")),
        *((root, "ledger") for root in ("var/lib", "", "/var/../etc", "/a b", "/a\nb", "/a\\b")),
        ("/var/lib", "kubelet"),
        ("/etc", "kubernetes"),
        ("/var/./lib/", "containerd"),
    ],
)  # fmt: skip
def test_folders_of_the_system_are_refused(root: str, name: str) -> None:
    (error,) = data_root.root_errors({"data_root": root, "name": name})
    assert "hostnet_data_root" in error


def test_a_system_folder_is_refused_also_as_the_deployments_own() -> None:
    (error,) = (
        data_root.root_errors({"data_root": "/srv/../var", "name": "lib"})
        + data_root.root_errors({"data_root": "/var/spool", "name": "x"})[1:]
    )
    assert "absolute path" in error
    assert data_root.root_errors({"data_root": "/", "name": "etc"}) != []


@pytest.mark.parametrize("root", [ROOT, "/mnt", "/data/", "/mnt/disks/ssd0", "/srv/hostnet", "/opt/hostnet", "/var/lib/kubelets"])
def test_other_folders_are_fine(root: str) -> None:
    assert data_root.root_errors({"data_root": root, "name": "ledger"}) == []


@given(st.lists(st.sampled_from(["", ".", "a", "etc", "b.c"]), max_size=6))
def test_a_root_has_one_spelling(parts: list[str]) -> None:
    found = data_root.normal_root("/" + "/".join(parts))
    assert found == "/" + "/".join(part for part in parts if part not in ("", "."))
    assert data_root.normal_root(found) == found


def test_a_mount_that_is_wanted_of_a_member_that_has_none() -> None:
    bindings = [BINDING, {**BINDING, "member": "east-1", "disk": {**RECORDED, "mounted": False, "mount": "/"}}, {"member": "old"}]
    assert data_root.mount_errors(HOSTNET, bindings) == []
    (error,) = data_root.mount_errors({**HOSTNET, "data_mount": True}, bindings)
    assert "member east-1 has its data on node east-worker in a folder of /" in error


# -- looking ---------------------------------------------------------------------------------------------------------


def test_a_probe_tells_folders_ports_clock_and_disk_and_makes_nothing(machine: Machine) -> None:
    (machine.base / "east-0-abc").mkdir(parents=True)
    (machine.base / "a-file").write_text("")
    (machine.root / "lonely").mkdir()
    before = sorted(machine.look.rglob("*"))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        facts = machine.facts()
        assert listener.getsockname()[1] in facts["ports"]
    assert (facts["folders"], facts["content"], facts["markers"]) == (["ledger/east-0-abc"], {"east-0-abc": "empty"}, {})
    assert facts["clock"] > 0
    assert facts["root"] is True
    assert (facts["disk"]["mounted"], facts["disk"]["mount"], facts["disk"]["filesystem"]) == (False, "/", "ext4")
    assert facts["disk"]["id"].startswith("fsid:")
    assert sorted(machine.look.rglob("*")) == before


@pytest.mark.parametrize(
    ("mounts", "mount", "kind"),
    [
        ([(ROOT, "xfs")], ROOT, "xfs"),
        ([("/var", "ext4"), (ROOT, "tmpfs"), ("/var/lib/hostnet2", "xfs")], ROOT, "tmpfs"),
        ([("/var/lib", "xfs"), (f"{ROOT}/ledger", "ext4")], "/var/lib", "xfs"),
        ([(ROOT, "xfs"), (ROOT, "btrfs")], ROOT, "btrfs"),
        ([("/var/lib/host", "xfs")], "/", "ext4"),
    ],
)
def test_the_mount_of_the_data_root(machine: Machine, mounts: list[tuple[str, str]], mount: str, kind: str) -> None:
    machine.mounts = mounts
    seen = machine.facts()["disk"]
    assert (seen["mount"], seen["filesystem"], seen["mounted"]) == (mount, kind, mount == ROOT)
    assert bool(seen["id"]) is (kind in ("ext4", "btrfs"))


def test_a_data_root_that_is_a_symbolic_link_is_followed_on_the_node(machine: Machine) -> None:
    (machine.look / "mnt/ssd/data").mkdir(parents=True)
    machine.root.rmdir()
    machine.root.symlink_to("/mnt/ssd/../ssd/data")
    machine.mounts = [("/mnt/ssd/data", "xfs")]
    facts = machine.facts()
    assert (facts["root"], facts["disk"]["mounted"], facts["disk"]["mount"]) == (True, True, "/mnt/ssd/data")


def test_links_that_go_in_a_circle_end(machine: Machine) -> None:
    machine.root.rmdir()
    machine.root.symlink_to(ROOT)
    assert machine.facts()["root"] is False


def test_a_data_root_that_is_not_there_is_on_the_disk_that_would_have_it(machine: Machine) -> None:
    machine.root.rmdir()
    facts = machine.facts()
    assert (facts["root"], facts["disk"]["mount"], facts["disk"]["mounted"]) == (False, "/", False)


def test_a_uuid_is_found_by_the_numbers_of_its_device(machine: Machine) -> None:
    links = machine.look / "dev/disk/by-uuid"
    links.mkdir(parents=True)
    machine.mounts = [(ROOT, "xfs")]
    (links / "not-ours").symlink_to("/dev/null")
    assert machine.facts()["disk"]["id"] == ""
    numbers = os.stat("/dev/null").st_rdev
    machine.run("probe")
    text = machine.mountinfo.read_text().replace(" 8:2 ", f" {os.major(numbers)}:{os.minor(numbers)} ")
    script = node_scripts.PROBE_SCRIPT.replace("/proc/self/mountinfo", str(machine.mountinfo)).replace("/look", str(machine.look))
    machine.mountinfo.write_text(text)
    done = subprocess.run(
        ["sh", "-c", script], env={**probe.probe_env(HOSTNET), "PATH": os.environ["PATH"]}, capture_output=True, text=True, check=True
    )
    assert probe.parse_probe(done.stdout)["disk"]["id"] == "uuid:not-ours"


def test_probe_output_is_parsed() -> None:
    text = (
        "clock 1795000000\nfolder ledger/east-0-abc\nport 2379\nfolder other/x y\nport 22\nport 2379\nnoise\n\nroot /d\n"
        "disk mounted=true mount=/d filesystem=xfs id=uuid:1\ncontent a b data\nmarker a token=t=1\nmarker a member=m\n"
    )
    assert probe.parse_probe(text) == {
        "clock": 1_795_000_000.0,
        "root": True,
        "disk": {"mounted": True, "mount": "/d", "filesystem": "xfs", "id": "uuid:1"},
        "folders": ["ledger/east-0-abc", "other/x y"],
        "content": {"a b": "data"},
        "markers": {"a": {"token": "t=1", "member": "m"}},
        "ports": [22, 2379],
    }
    assert probe.parse_probe("") == {"clock": 0.0, "root": False, "disk": {}, "folders": [], "content": {}, "markers": {}, "ports": []}


@given(st.lists(st.integers(1, 65535)), st.lists(st.from_regex(r"[a-z0-9-]{1,10}/[a-z0-9-]{1,20}", fullmatch=True)))
def test_probe_parsing_loses_nothing(ports: list[int], folders: list[str]) -> None:
    lines = [f"port {port}" for port in ports] + [f"folder {folder}" for folder in folders]
    facts = probe.parse_probe("\n".join(lines))
    assert facts["ports"] == sorted(set(ports))
    assert facts["folders"] == folders


# -- admission -------------------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(
    st.lists(st.integers(0, 30), unique=True, min_size=1),
    st.sampled_from(["node_name", "daemonset"]),
    st.text("0123456789abcdef", min_size=1),
)
def test_an_admission_has_a_random_part_and_is_kept(ordinals: list[int], where: str, nonce: str) -> None:
    new = [{"member": f"east-{n}", "node_uid": f"uid-{n}", "admission": ""} for n in ordinals]
    once = admission.admitted(new, "token-a", where, nonce)
    assert admission.admitted(once, "token-b", where, "other") == once, "one that was given is kept"
    assert all(entry["admission"] == "" for entry in new), "the input is not changed"
    ids = {admission.admission_id(entry) for entry in once}
    assert len(ids) == len(new)
    assert not ids & {admission.admission_id(entry) for entry in admission.admitted(new, "token-a", where, nonce + "0")}
    assert not ids & {admission.admission_id(entry) for entry in admission.admitted(new, "token-b", where, nonce)}
    assert all(admission.admission_id(entry).startswith(entry["member"] + "-") for entry in once)
    folders = {layout.data_folder(HOSTNET, entry) for entry in once}
    assert folders == ({f"{ROOT}/ledger/token-a"} if where == "daemonset" else {f"{ROOT}/ledger/{one}" for one in ids})


def test_invariant_8_another_vm_never_gets_the_folder_of_the_one_before() -> None:
    new = {**BINDING, "admission": ""}
    ids = {admission.admitted([{**new, "node_uid": uid}], plans.TOKEN, "node_name", plans.NONCE)[0]["admission"] for uid in ("one", "two")}
    assert len(ids) == 2


def test_an_admission_without_a_random_part_is_none() -> None:
    with pytest.raises(ValueError, match="random"):
        admission.admitted([{**BINDING, "admission": ""}], plans.TOKEN, "node_name", "")


def test_admission_makes_a_private_folder_with_its_marker_and_may_be_repeated(machine: Machine) -> None:
    machine.mounts = [(ROOT, "xfs")]
    for _again in range(2):
        done = machine.run("admit", MACHINE="m1")
        assert (done.returncode, done.stdout.splitlines()[-1], done.stderr) == (0, "admitted", "")
    assert machine.folder.stat().st_mode & 0o777 == 0o700
    assert machine.base.stat().st_mode & 0o777 == 0o711
    assert [path.name for path in machine.base.iterdir()] == [BINDING["admission"]]
    assert [path.name for path in machine.folder.iterdir()] == [node_scripts.MARKER]
    assert machine.marker() == {
        "format": "1",
        "deployment": "ledger",
        "token": plans.TOKEN,
        "member": "east-0",
        "admission": BINDING["admission"],
        "node_uid": BINDING["node_uid"],
        "machine_id": "m1",
        "mounted": "true",
        "mount": ROOT,
        "filesystem": "xfs",
        "filesystem_id": "",
    }
    (found,) = admission.with_disks([BINDING], [{"kube_cluster": "east", "node": "east-worker", "rc": 0, "stdout": done.stdout}])
    assert found["disk"] == {"mounted": True, "mount": ROOT, "filesystem": "xfs", "id": ""}
    assert machine.facts()["content"] == {BINDING["admission"]: "marker"}
    assert machine.facts()["markers"][BINDING["admission"]]["member"] == "east-0"


def test_an_admission_that_was_cut_short_leaves_nothing_in_the_way(machine: Machine) -> None:
    assert machine.run("admit").returncode == 0
    (machine.base / ".new-east-0-000").mkdir()
    (machine.base / ".new-east-0-000" / node_scripts.MARKER).write_text("half")
    (machine.base / ".new-east-0-001").write_text("half")
    (machine.base / "east-0-older-version").mkdir()
    done = machine.run("admit", ADMISSION="east-0-next", ADMISSION_ID="east-0-next")
    assert done.returncode == 0, done
    assert sorted(path.name for path in machine.base.iterdir()) == ["east-0-next", "east-0-older-version"]


def test_a_daemonsets_folder_has_one_name_and_each_admission_its_own_marker(machine: Machine) -> None:
    token = {"ADMISSION": plans.TOKEN}
    assert machine.run("admit", **token, ADMISSION_ID="east-0-aaa").returncode == 0
    assert machine.run("admit", **token, ADMISSION_ID="east-0-bbb").returncode == 0
    assert machine.facts()["markers"][plans.TOKEN]["admission"] == "east-0-bbb"
    (machine.base / plans.TOKEN / "data").write_text("the only copy")
    assert machine.run("admit", **token, ADMISSION_ID="east-0-ccc").returncode == 3
    assert machine.facts()["markers"][plans.TOKEN]["admission"] == "east-0-bbb"


@pytest.mark.parametrize("changes", [{"MEMBER": "east-1"}, {"TOKEN": "ledger-other"}])
def test_invariant_8_a_marker_of_somebody_else_is_content(machine: Machine, changes: dict[str, str]) -> None:
    assert machine.run("admit", **changes).returncode == 0
    before = machine.marker()
    done = machine.run("admit")
    assert (done.returncode, machine.marker()) == (3, before)


def test_invariant_8_a_folder_with_data_is_never_given_to_a_new_member(machine: Machine) -> None:
    data = machine.folder / "wal"
    machine.folder.mkdir(parents=True)
    data.write_text("the only copy")
    mode = machine.folder.stat().st_mode
    done = machine.run("admit")
    assert done.returncode == 3
    assert "has content, although no member was ever admitted to it" in done.stdout
    assert data.read_text() == "the only copy"
    assert machine.folder.stat().st_mode == mode


@pytest.mark.parametrize("what", ["file", "link to a folder", "link in the place of the deployment's folder"])
def test_admission_follows_no_link(machine: Machine, tmp_path: Path, what: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    if what == "link in the place of the deployment's folder":
        machine.base.symlink_to(elsewhere)
    else:
        machine.base.mkdir()
        machine.folder.symlink_to(elsewhere) if what == "link to a folder" else machine.folder.write_text("")
    done = machine.run("admit")
    assert done.returncode == 3, done
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("missing", ["DEPLOYMENT", "ADMISSION", "ADMISSION_ID", "TOKEN", "MEMBER"])
def test_admission_without_a_name_makes_nothing(machine: Machine, missing: str) -> None:
    done = machine.run("admit", **{missing: ""})
    assert done.returncode != 0
    assert list(machine.root.iterdir()) == []


def test_no_folder_is_made_where_a_disk_has_to_be_mounted_and_is_not(machine: Machine) -> None:
    done = machine.run("admit", MUST_MOUNT="true")
    assert (done.returncode, "no disk is mounted at /var/lib/hostnet, which is a folder of /" in done.stdout) == (4, True)
    assert list(machine.root.iterdir()) == []
    machine.mounts = [(ROOT, "tmpfs")]
    assert machine.run("admit", MUST_MOUNT="true").returncode == 0


def test_who_gets_a_folder_and_where_it_must_be_mounted() -> None:
    bindings = plans.admitted(HOSTNET, SPEC, NODES)
    nodes = admission.admit_nodes(HOSTNET, SPEC, bindings[:3], bindings[1:], plans.TOKEN)
    assert [(entry["kube_cluster"], entry["name"]) for entry in nodes] == [("east", "east-worker2"), ("east", "east-worker3")]
    assert nodes[0]["env"] == {
        "DEPLOYMENT": "ledger",
        "ROOT": ROOT,
        "TOKEN": plans.TOKEN,
        "MEMBER": "east-1",
        "OWNER": "10001",
        "MUST_MOUNT": "false",
        "ADMISSION": bindings[1]["admission"],
        "ADMISSION_ID": bindings[1]["admission"],
        "NODE_UID": bindings[1]["node_uid"],
        "MACHINE": "",
        "PORTS": "094B=client 094D=metrics 094C=peer",
        "NOT_BEFORE": "0",
    }

    def must(former: Json | None, **changes: Any) -> str:
        (entry,) = admission.admit_nodes({**HOSTNET, **changes}, SPEC, [BINDING], [BINDING], plans.TOKEN, former)
        return str(entry["env"]["MUST_MOUNT"])

    assert must(None, data_mount=True) == "true"
    assert must(BINDING) == "true", "the same VM had it mounted"
    assert must({**BINDING, "node_uid": "another VM"}) == "false"
    assert must({**BINDING, "disk": {}}) == "false"


def test_members_of_an_older_version_get_a_marker_once(machine: Machine) -> None:
    (machine.folder / "wal").mkdir(parents=True)
    for said in ("marked", ""):
        done = machine.run("mark")
        assert done.returncode == 0, done
        assert (done.stdout.splitlines()[-1] == "marked") is (said == "marked")
    assert sorted(path.name for path in machine.folder.iterdir()) == [node_scripts.MARKER, "wal"]
    assert machine.marker()["admission"] == BINDING["admission"]
    assert [path.name for path in machine.base.iterdir()] == [BINDING["admission"]]
    assert machine.run("mark", MEMBER="east-1").returncode == 3
    assert machine.run("mark", ADMISSION_ID="other").returncode == 3
    assert machine.run("mark", ADMISSION="nobody").returncode == 3


@pytest.mark.parametrize("why", ["unmarked", "disk known", "stopped", "not running", "other vm", "not ready", "terminating"])
def test_whom_a_deploy_marks(why: str) -> None:
    (binding,) = plans.admitted(HOSTNET, SPEC, NODES[:1])
    observed = plans.running(HOSTNET, [binding])
    nodes = [dict(NODES[0])]
    (pod,) = observed["east"]["pods"]
    if why == "disk known":
        binding["disk"] = RECORDED
    elif why == "stopped":
        binding["stopped"] = True
    elif why == "not running":
        pod["running"] = False
    elif why == "other vm":
        nodes[0]["uid"] = "another"
    elif why == "not ready":
        nodes[0]["ready"] = False
    elif why == "terminating":
        pod["terminating"] = True
    nodes[0]["machine_id"], binding["machine_id"] = "m1", ""
    found = admission.mark_nodes(HOSTNET, SPEC, [binding], nodes, observed, plans.TOKEN)
    assert len(found) == (why == "unmarked")
    if found:
        assert found[0]["env"]["MACHINE"] == "m1"
        said = [{"kube_cluster": "east", "node": "east-worker", "rc": 0, "stdout": "disk mounted=true mount=/d filesystem=xfs id="}]
        (marked,) = admission.with_disks([binding], said, nodes)
        assert (marked["machine_id"], marked["disk"]["mount"]) == ("m1", "/d")


# -- what became of it -----------------------------------------------------------------------------------------------


def seen(**changes: Any) -> Json:
    facts = probe.parse_probe("clock 1")
    return {**facts, "root": True, "disk": {**RECORDED, **changes.pop("disk", {})}, **changes}


ADMISSION = str(BINDING["admission"])
ON_ROOT = {"mounted": False, "mount": "/"}
MARKED = {"deployment": "ledger", "member": "east-0", "admission": str(BINDING["admission"])}


@pytest.mark.parametrize(
    ("kind", "binding", "facts", "words"),
    [
        ("no_folder", {}, None, "playbooks/repair.yml looks"),
        ("reimaged", {}, seen(), "its recorded disk (ext4 fsid:abc) is mounted at /var/lib/hostnet and has no data"),
        ("reimaged", {"disk": {**RECORDED, "mounted": False, "mount": "/"}}, seen(disk=ON_ROOT), "mounted at /"),
        ("not_mounted", {}, seen(disk=ON_ROOT), "no disk is mounted at /var/lib/hostnet, which is a folder of /"),
        # The same file system, seen through another mount.
        ("not_mounted", {"disk": {**RECORDED, "mounted": False, "mount": "/var/lib"}}, seen(disk=ON_ROOT), "what is mounted at /var/lib"),
        ("other_disk", {"disk": {**RECORDED, "mounted": False, "mount": "/"}}, seen(), "was on what is mounted at /, and"),
        ("other_disk", {}, seen(disk={"id": "fsid:def"}), "another disk is mounted at /var/lib/hostnet (ext4 fsid:def, recorded is ext4 fsid:abc)"),
        ("other_disk", {}, seen(disk={"filesystem": "xfs", "id": ""}), "xfs without identity"),
        ("no_folder", {"disk": {}}, seen(), "Nothing was recorded about its disk"),
        ("no_folder", {"disk": {**RECORDED, "id": ""}}, seen(disk={"id": ""}), "no identity that could be compared"),
        ("no_folder", {"disk": {**RECORDED, "id": "uuid:1"}}, seen(), "no identity that could be compared"),
        ("older_copy", {}, seen(content={"east-0-old": "data"}, markers={"east-0-old": {**MARKED, "admission": "east-0-old"}}), "the binding is the older one"),
        ("reimaged", {}, seen(content={"east-0-old": "marker"}, markers={"east-0-old": MARKED}), "has no data of the member"),
        ("reimaged", {}, seen(content={"east-1-x": "data"}, markers={"east-1-x": {**MARKED, "member": "east-1"}}), "has no data of the member"),
        ("unknown", {}, seen(content={ADMISSION: "data"}, markers={ADMISSION: MARKED}), "is on node east-worker again"),
        ("older_copy", {"admission_id": "east-0-now"}, seen(content={ADMISSION: "data"}, markers={ADMISSION: MARKED}), "marker of admission"),
    ],
)  # fmt: skip
def test_why_a_folder_is_not_there(kind: str, binding: Json, facts: Json | None, words: str) -> None:
    found, reason = disk.without_folder(HOSTNET, {**BINDING, **binding}, facts)
    assert (found, words in reason) == (kind, True), reason
    human = '{"hostnet_lost_disks": ["east-0"]}'
    assert (human in reason) is (facts is not None and kind not in ("reimaged", "unknown")), reason


def test_a_human_says_that_the_disk_is_gone() -> None:
    lost = {**seen(disk={"id": "fsid:def"}), "lost": True}
    assert disk.without_folder(HOSTNET, BINDING, lost)[0] == "reimaged"
    assert disk.without_folder(HOSTNET, BINDING, {**lost, "content": {ADMISSION: "data"}})[0] == "unknown", "it is there"
    assert disk.facts_of([BINDING], [], ["east-0"])["east-0"]["lost"] is True
    assert disk.without_folder(HOSTNET, BINDING, disk.facts_of([BINDING], [], ["east-0"])["east-0"])[0] == "reimaged"
    assert disk.facts_of([BINDING], [], ["east-1"]) == {}


@pytest.mark.parametrize(
    ("recorded", "found", "kind"),
    [
        (RECORDED, ON_ROOT, "not_mounted"),
        ({**RECORDED, "mounted": False, "mount": "/var/lib"}, ON_ROOT, "not_mounted"),
        # Another disk lies where the old one would come back.
        (RECORDED, {"id": "fsid:def"}, "reimaged"),
        ({**RECORDED, "mounted": False, "mount": "/"}, ON_ROOT, "reimaged"),
        ({}, ON_ROOT, "reimaged"),
    ],
)
def test_invariant_8_a_daemonset_takes_no_folder_that_an_old_disk_could_come_back_over(recorded: Json, found: Json, kind: str) -> None:
    """Its folder has the same name after every admission, and a kubelet compares no marker."""
    facts = {**seen(disk=found), "lost": True}
    binding = {**BINDING, "admission": plans.TOKEN, "admission_id": ADMISSION, "disk": recorded}
    said, reason = disk.without_folder({**HOSTNET, "placement": "daemonset"}, binding, facts)
    assert said == kind, reason
    assert ("Mount another disk at" in reason) is (kind == "not_mounted")
    assert disk.without_folder(HOSTNET, binding, facts)[0] == "reimaged", "of node_name each admission has a folder of its own"


def test_a_mount_that_is_required_counts_without_a_record_too() -> None:
    facts = seen(disk=ON_ROOT)
    assert disk.without_folder({**HOSTNET, "data_mount": True}, {**BINDING, "disk": {}}, facts)[0] == "not_mounted"


_DISKS = st.fixed_dictionaries(
    {
        "mount": st.sampled_from(["/", "/var", ROOT]),
        "filesystem": st.sampled_from(["ext4", "xfs"]),
        "id": st.sampled_from(["", "fsid:1", "fsid:2", "uuid:1"]),
    }
).map(lambda found: {**found, "mounted": found["mount"] == ROOT})


@given(st.one_of(st.just({}), _DISKS), st.one_of(st.just({}), _DISKS), st.booleans(), st.booleans())
def test_a_disk_is_empty_only_where_that_is_proven(recorded: Json, now: Json, wanted: bool, content: bool) -> None:
    facts = seen() | {"disk": now, "content": {ADMISSION: "data"} if content else {}}
    kind, reason = disk.without_folder({**HOSTNET, "data_mount": wanted}, {**BINDING, "disk": recorded}, facts)
    assert reason
    if kind == "reimaged":
        assert recorded == now
        assert now["id"]
        assert not content
        assert now["mounted"] or not wanted


@pytest.mark.parametrize(
    ("binding", "node", "same"),
    [
        ({}, {}, True),
        ({}, {"uid": "another"}, False),
        ({}, {"provider_id": "kind://another"}, False),
        ({"provider_id": ""}, {}, True),
        ({"machine_id": "m1"}, {"machine_id": "m1"}, True),
        ({"machine_id": "m1"}, {"machine_id": "m2"}, False),
        ({"machine_id": "m1"}, {"machine_id": ""}, True),
        ({}, {"machine_id": "m2"}, True),
    ],
)
def test_which_vm_is_the_same(binding: Json, node: Json, same: bool) -> None:
    assert admission.admitted_vm({**BINDING, **binding}, {**NODES[0], **node}) is same


SAID = {"reachable": True, "healthy": True, "cluster_id": "c1d", "applied_index": 70, "revision": 50, "term": 3}


@pytest.mark.parametrize(
    ("said", "back"),
    [
        ({}, ""),
        ({"applied_index": 71, "revision": 51}, ""),
        ({"applied_index": 69}, "applied_index 69 after 70"),
        ({"term": 2}, "term 2 after 3"),
        ({"term": 4}, ""),
        ({"revision": 7}, "revision 7 after 50"),
        # It has just started, or is another system, which has an id of its own.
        ({"revision": 7, "healthy": False}, ""),
        ({"revision": 7, "cluster_id": "restored"}, ""),
        ({"revision": 0, "applied_index": 0}, ""),
    ],
)
def test_a_log_that_went_back_is_an_older_copy(said: Json, back: str) -> None:
    (binding,) = progress.with_progress([BINDING], {"east-0": SAID})
    assert binding["progress"] == {"cluster_id": "c1d", "applied_index": 70, "revision": 50, "term": 3}
    reason = progress.went_back(binding, {**SAID, **said})
    assert back in reason
    assert bool(reason) is bool(back)
    kind, _reason = classify.classify(
        HOSTNET, binding, [binding], NODES[0], plans.pod(binding), {**SAID, **said}, said.get("cluster_id", "c1d")
    )
    assert kind == ("older_copy" if back else "ok")


def test_progress_is_of_one_cluster_and_never_goes_back() -> None:
    (binding,) = progress.with_progress([BINDING], {"east-0": SAID})
    (later,) = progress.with_progress([binding], {"east-0": {**SAID, "applied_index": 90, "revision": 7}})
    assert later["progress"] == {"cluster_id": "c1d", "applied_index": 90, "revision": 50, "term": 3}
    assert progress.with_progress([later], {"east-0": {**SAID, "healthy": False}}) == [later]
    assert progress.with_progress([later], {"east-0": {"healthy": True, "cluster_id": "c1d"}}) == [later], (
        "a system that tells nothing of it"
    )
    assert progress.with_progress([later], {}) == [later]
    (restored,) = progress.with_progress([later], {"east-0": {**SAID, "cluster_id": "new", "revision": 1}})
    assert restored["progress"] == {"cluster_id": "new", "applied_index": 70, "revision": 1, "term": 3}


def test_whom_a_repair_looks_at() -> None:
    members = [
        {"kube_cluster": "east", "node": "east-worker", "class": "no_folder"},
        {"kube_cluster": "east", "node": "east-worker2", "class": "reimaged"},
        {"kube_cluster": "east", "node": "east-worker3", "class": "no_folder"},
    ]
    nodes = [NODES[0], NODES[1], {**NODES[2], "ready": False}]
    (found,) = disk.look_nodes(HOSTNET, {"members": members}, nodes)
    assert found == {"kube_cluster": "east", "name": "east-worker", "env": {"DEPLOYMENT": "ledger", "ROOT": ROOT}}
    results = [{"kube_cluster": "east", "node": "east-worker", "rc": 0, "stdout": "root /x"}]
    assert list(disk.facts_of([BINDING], results)) == ["east-0"]
    assert disk.facts_of([BINDING], [{**results[0], "rc": 1}]) == {}


# -- deletion --------------------------------------------------------------------------------------------------------


def result(done: subprocess.CompletedProcess[str]) -> list[Json]:
    assert done.returncode == 0, done
    return [{"kube_cluster": "east", "node": "east-worker", "rc": 0, "stdout": done.stdout}]


def outcome(done: subprocess.CompletedProcess[str], bindings: Sequence[Json] = (BINDING,), nodes: Sequence[Json] = NODES) -> Json:
    return removal.removal(HOSTNET, bindings, nodes, result(done))


def test_removal_takes_the_recorded_folder_alone_and_may_be_repeated(machine: Machine) -> None:
    other = machine.root / "ledger2" / str(BINDING["admission"])
    other.mkdir(parents=True)
    machine.run("admit")
    (machine.folder / "etcd/wal").mkdir(parents=True)
    (machine.folder / ".hidden").write_text("")
    assert outcome(machine.run("remove")) == {
        "removed": [f"kube cluster east: node east-worker: {layout.data_folder(HOSTNET, BINDING)}"],
        "left": [],
        "unfinished": [],
    }
    assert [path.name for path in machine.root.iterdir()] == ["ledger2"]
    assert outcome(machine.run("remove")) == {"removed": [], "left": [], "unfinished": []}


@pytest.mark.parametrize("changes", [{"TOKEN": "other"}, {"TOKEN": ""}, {"MEMBER": "east-1"}, {"ADMISSION_ID": "east-0-older"}])
def test_a_folder_whose_marker_says_something_else_stays(machine: Machine, changes: dict[str, str]) -> None:
    machine.run("admit")
    (machine.folder / "data").write_text("the only copy")
    found = outcome(machine.run("remove", **changes))
    assert found["removed"] == []
    assert "it has no marker that says it is this member's" in found["unfinished"][0]
    assert (machine.folder / "data").read_text() == "the only copy"


def test_a_folder_without_marker_or_with_a_link_for_one_stays(machine: Machine) -> None:
    machine.folder.mkdir(parents=True)
    assert len(outcome(machine.run("remove"))["unfinished"]) == 1
    elsewhere = machine.root / "marker"
    elsewhere.write_text(f"token={plans.TOKEN}\nmember=east-0\nadmission={BINDING['admission']}\n")
    (machine.folder / node_scripts.MARKER).symlink_to(elsewhere)
    assert len(outcome(machine.run("remove"))["unfinished"]) == 1


def test_what_no_record_names_is_left_and_named(machine: Machine, tmp_path: Path) -> None:
    machine.run("admit", MEMBER="east-7", ADMISSION="east-7-x", ADMISSION_ID="east-7-x")
    (machine.base / "east-7-x" / "data").write_text("")
    (machine.base / "lost+found").mkdir()
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / node_scripts.MARKER).write_text(f"token={plans.TOKEN}\n")
    (machine.base / "link").symlink_to(precious)
    machine.run("admit")
    (machine.base / ".new-east-0-zzz").write_text("half a marker")
    found = outcome(machine.run("remove"))
    assert [line.split(" is left")[0].rpartition("/")[2] for line in found["left"]] == ["east-7-x", "link", "lost+found"]
    assert sorted(path.name for path in machine.base.iterdir()) == ["east-7-x", "link", "lost+found"]
    assert (precious / node_scripts.MARKER).exists()


def test_removal_without_names_removes_nothing(machine: Machine) -> None:
    machine.run("admit")
    (machine.folder / "data").write_text("")
    assert machine.run("remove", DEPLOYMENT="").returncode != 0
    for name in ("..", ".", "x/../y"):
        assert machine.run("remove", ADMISSION=name).returncode == 3
    assert outcome(machine.run("remove", ADMISSION="", ADMISSION_ID="", MEMBER=""))["left"] != []
    assert (machine.folder / "data").exists()


def test_removal_names_what_it_could_not_clean() -> None:
    bindings = [{**binding, "disk": RECORDED} for binding in plans.admitted(HOSTNET, SPEC, NODES)]
    nodes = [NODES[0], {**NODES[1], "ready": False}, *NODES[3:]]
    done = [{"kube_cluster": "east", "node": "east-worker", "rc": 0, "stdout": f"removed {bindings[0]['admission']}\n"}]
    found = removal.removal(HOSTNET, bindings, nodes, done)
    assert len(found["removed"]) == 1
    (line,) = found["unfinished"]
    assert line.startswith(
        f"kube cluster east: node east-worker2 is not Ready, so {layout.data_folder(HOSTNET, bindings[1])} of member east-1 is still there"
    )
    assert "node east-worker3 does not exist any more" in found["left"][0]
    assert removal.silent(bindings, nodes) == ["east-1"]


def test_a_removal_visits_no_node_that_neither_holds_nor_gets_a_member() -> None:
    unselected = [{**node, "selected": False} for node in NODES]
    unselected[1]["labels"] = {"hostnet.multicluster/ledger": "east-7"}
    unselected[2]["labels"] = {"namespace.hostnet.multicluster/ledger": "bank"}
    unselected[3]["labels"] = {"hostnet.multicluster/other": "east-7"}
    visited = removal.remove_nodes(HOSTNET, unselected, [BINDING], plans.TOKEN)
    assert [entry["name"] for entry in visited] == ["east-worker", "east-worker2", "east-worker3"]
    assert [entry["name"] for entry in removal.remove_nodes(HOSTNET, NODES, [BINDING], plans.TOKEN)] == [node["name"] for node in NODES]


def test_each_node_gets_the_admission_that_is_recorded_there() -> None:
    (one, two) = removal.remove_nodes(HOSTNET, NODES[:2], [BINDING], plans.TOKEN)
    assert one["env"] == {
        "DEPLOYMENT": "ledger",
        "TOKEN": plans.TOKEN,
        "ADMISSION": BINDING["admission"],
        "ADMISSION_ID": BINDING["admission"],
        "MEMBER": "east-0",
    }
    assert two["env"] == {"DEPLOYMENT": "ledger", "TOKEN": plans.TOKEN, "ADMISSION": "", "ADMISSION_ID": "", "MEMBER": ""}

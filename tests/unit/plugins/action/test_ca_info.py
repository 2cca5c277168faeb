# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ca_info inside this process: what it finds in real folders, and its agreement with the documentation."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleActionFail
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import VaultSecret
from ansible.playbook.play_context import PlayContext
from ansible.playbook.task import Task
from ansible.plugins.action import ActionBase
from ansible.template import Templar

from ansible_collections.hostnet.multicluster.plugins.action import ca_info as action
from ansible_collections.hostnet.multicluster.plugins.action import host_certificates
from ansible_collections.hostnet.multicluster.plugins.module_utils._call import IGNORED
from ansible_collections.hostnet.multicluster.plugins.module_utils._pki import library, place
from ansible_collections.hostnet.multicluster.plugins.modules import ca_info as module

NAME = "ledger"


@pytest.fixture(autouse=True)
def lasting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The tests' folder stands for one that lasts, though it is a temporary one and may be in a container."""
    monkeypatch.setattr(place, "_SYSTEM_TEMPORARY", ())
    monkeypatch.setattr(place, "_THROW_AWAY_FILE_SYSTEMS", ())
    monkeypatch.setattr(place, "_MARKERS", ())
    monkeypatch.setattr(place, "tempfile", SimpleNamespace(gettempdir=lambda: "/nowhere"))
    monkeypatch.setattr(action, "AnsibleCollectionConfig", SimpleNamespace(collection_paths=[]))
    monkeypatch.setattr(action, "_COLLECTION", tmp_path / "nowhere")
    for variable in place._PODS:
        monkeypatch.delenv(variable, raising=False)


def plugin_of(plugin: type[ActionBase], folder: Path, vault: str, args: dict[str, Any]) -> ActionBase:
    loader = DataLoader()
    loader.set_basedir(str(folder))
    loader.set_vault_secrets([("default", VaultSecret(vault.encode()))] if vault else [])
    task = Task()
    task.args = args
    return plugin(
        task=task,
        connection=SimpleNamespace(_shell=SimpleNamespace(tmpdir=None)),  # nothing goes over a connection
        play_context=PlayContext(),
        loader=loader,
        templar=Templar(loader=loader),
        shared_loader_obj=None,
    )


def look(folder: Path, *sources: Path | str, vault: str = "", **args: Any) -> dict[str, Any]:
    """What ca_info says in a run of `folder`/play.yml with these inventories."""
    known = {"ansible_inventory_sources": [str(source) for source in sources], "playbook_dir": str(folder)}
    found = dict(plugin_of(action.ActionModule, folder, vault, {"name": NAME, **args}).run(task_vars=known))
    assert not found["changed"]
    return found


def make_ca(folder: Path, vault: str = "") -> str:
    plugin = plugin_of(host_certificates.ActionModule, folder.parent, vault, {"pki_dir": str(folder), "ca": {"vault": bool(vault)}})
    return str(plugin.run(task_vars={})["ca"]["fingerprint"])


def inventory(folder: Path, name: str = "prod.hostnet.yml") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("plugin: hostnet.multicluster.nodes\n")
    return folder / name


def test_a_file_its_folder_and_a_link_are_one_place(tmp_path: Path) -> None:
    file = inventory(tmp_path / "prod")
    (tmp_path / "current").symlink_to("prod")
    wanted = str(tmp_path / "prod" / ".hostnet-pki" / NAME)
    for sources in (
        [file],
        [file.parent],
        [tmp_path / "current"],
        [file, file.parent],
        [file.parent, file, "host,"],
        [file, tmp_path / "gone.yml"],
    ):
        found = look(tmp_path, *sources)
        assert (found["path"], found["problem"], found["fingerprint"], found["left"]) == (wanted, "", "", [])
    assert not (tmp_path / "prod" / ".hostnet-pki").exists()


def test_no_inventory_and_several_folders_are_told(tmp_path: Path) -> None:
    east, west = inventory(tmp_path / "east"), inventory(tmp_path / "west")
    assert "no inventory file" in look(tmp_path, "host,")["problem"]
    assert "no inventory file" in look(tmp_path, tmp_path / "gone.yml")["problem"]
    assert look(tmp_path, east, west)["problem"] == look(tmp_path, west, east)["problem"] != ""


def test_what_lasts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = inventory(tmp_path / "prod")
    marker = tmp_path / ".dockerenv"
    monkeypatch.setattr(place, "_MARKERS", (str(marker),))
    # The same file system as /, as seen by whoever has no other.
    devices = {"/": 7, str(tmp_path / "prod"): 7}
    monkeypatch.setattr(place, "_device", devices.__getitem__)
    assert look(tmp_path, file)["path"]
    marker.touch()
    assert "does not outlive the container that Ansible runs in" in look(tmp_path, file)["problem"]
    # A volume.
    devices["/"] = 8
    assert look(tmp_path, file)["path"]
    for variable, what in (("KUBERNETES_SERVICE_HOST", "a pod of Kubernetes"), ("AWX_PRIVATE_DATA_DIR", "a job of AWX")):
        monkeypatch.setenv(variable, "x")
        assert f"does not outlive {what}" in look(tmp_path, file)["problem"]
        monkeypatch.delenv(variable)


def test_file_systems_in_memory_do_not_last(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text("36 35 0:7 / /live rw,noatime shared:1 - tmpfs tmpfs rw\n37 35 8:1 / / rw - ext4 /dev/sda1 rw\n")
    monkeypatch.setattr(place, "_MOUNTS", mounts)
    monkeypatch.setattr(place, "_THROW_AWAY_FILE_SYSTEMS", ("tmpfs",))
    devices = {"/live": os.makedev(0, 7), "/home": os.makedev(8, 1), "/unknown": 3}
    monkeypatch.setattr(place, "_device", devices.__getitem__)
    assert [place.throw_away(folder, {}) for folder in devices] == ["its file system (tmpfs)", "", ""]


def test_a_ca_in_its_place(tmp_path: Path) -> None:
    file = inventory(tmp_path / "prod")
    fingerprint = make_ca(tmp_path / "prod" / ".hostnet-pki" / NAME)
    found = look(tmp_path, file)
    assert (found["fingerprint"], found["has_key"], found["problem"], found["left"]) == (fingerprint, True, "", [])
    Path(found["private_key"]).unlink()
    assert (look(tmp_path, file)["fingerprint"], look(tmp_path, file)["has_key"]) == (fingerprint, False)
    Path(found["certificate"]).write_text("no certificate")
    assert "is not a PEM certificate" in look(tmp_path, file)["problem"]


def test_a_ca_of_the_users_own(tmp_path: Path) -> None:
    file = inventory(tmp_path / "prod")
    fingerprint = make_ca(tmp_path / "own")
    own = {"certificate": "own/ca.crt", "private_key": str(tmp_path / "own" / "ca.key")}
    found = look(tmp_path, file, ca=own)
    assert (found["fingerprint"], found["has_key"], found["certificate"]) == (fingerprint, True, str(tmp_path / "own" / "ca.crt"))
    (tmp_path / "own" / "ca.key").unlink()
    assert not look(tmp_path, file, ca=own)["has_key"]
    (tmp_path / "own" / "ca.crt").unlink()
    assert "own/ca.crt does not exist" in look(tmp_path, file, ca=own)["problem"]


def test_a_ca_under_a_vault(tmp_path: Path) -> None:
    """A rollout has to know before the VM is gone that the key can be read."""
    file = inventory(tmp_path / "prod")
    fingerprint = make_ca(tmp_path / "prod" / ".hostnet-pki" / NAME, vault="right")
    found = look(tmp_path, file, vault="right")
    assert (found["fingerprint"], found["has_key"], found["problem"]) == (fingerprint, True, "")
    assert "no vault password was given" in look(tmp_path, file)["problem"]
    assert "wrong vault password" in look(tmp_path, file, vault="wrong")["problem"]


def test_what_version_0_2_0_made_beside_the_playbook_is_found(tmp_path: Path) -> None:
    file = inventory(tmp_path / "prod")
    fingerprint = make_ca(tmp_path / "pki" / NAME)
    make_ca(tmp_path / "pki" / "another")
    wanted = {"path": str(tmp_path / "pki" / NAME), "fingerprint": fingerprint, "has_key": True, "new_exists": False}
    assert look(tmp_path, file)["left"] == [wanted]
    # Named as what it is, it is in its place.
    named = look(tmp_path, file, pki_dir=str(tmp_path / "pki" / NAME))
    assert (named["fingerprint"], named["left"]) == (fingerprint, [])


def test_what_is_in_an_installed_collection_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "ansible_collections" / "hostnet" / "multicluster"
    monkeypatch.setattr(action, "AnsibleCollectionConfig", SimpleNamespace(collection_paths=[str(tmp_path)]))
    fingerprint = make_ca(home / "playbooks" / "pki" / NAME)
    file = inventory(tmp_path / "prod")
    assert [(left["path"], left["fingerprint"]) for left in look(tmp_path, file)["left"]] == [
        (str(home / "playbooks" / "pki" / NAME), fingerprint)
    ]
    # Named there, it is refused, and still told which one it is.
    named = look(tmp_path, file, pki_dir=str(home / "playbooks" / "pki" / NAME))
    assert "inside of the collection hostnet.multicluster" in named["problem"]
    assert (named["path"], named["fingerprint"], [left["fingerprint"] for left in named["left"]]) == ("", fingerprint, [fingerprint])


def test_a_key_that_cannot_be_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_ca(tmp_path / "pki" / NAME)
    file = inventory(tmp_path / "prod")
    monkeypatch.setattr(library, "CRYPTOGRAPHY_IMPORT_ERROR", "Traceback")
    found = look(tmp_path, file)
    assert "cryptography is needed" in found["problem"]
    assert [left["fingerprint"] for left in found["left"]] == [""]


def test_a_temporary_folder_of_the_users_choice_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, "_SYSTEM_TEMPORARY", (str(tmp_path),))
    found = look(tmp_path, pki_dir=str(tmp_path / "pki"))
    assert found["path"] == str(tmp_path / "pki")
    assert "is lost when that is cleared" in found["warnings"][0]
    assert "temporary folder" in look(tmp_path, inventory(tmp_path / "prod"))["problem"]


def test_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert look(tmp_path, pki_dir="~/pki")["path"] == str(tmp_path / "pki")


def test_bad_options(tmp_path: Path) -> None:
    with pytest.raises(AnsibleActionFail, match=r"Unsupported parameters for .*colour"):
        look(tmp_path, colour="red")


def test_documentation_agrees(tmp_path: Path) -> None:
    documented = yaml.safe_load(module.DOCUMENTATION)["options"]
    # What is ignored stands in a fragment.
    assert set(documented) == set(action.ARGUMENT_SPEC) - set(IGNORED)
    assert set(documented["ca"]["suboptions"]) == set(action.ARGUMENT_SPEC["ca"]["options"])
    for name, option in documented.items():
        assert (option["type"], option.get("default")) == (action.ARGUMENT_SPEC[name]["type"], action.ARGUMENT_SPEC[name].get("default"))
    make_ca(tmp_path / "pki" / NAME)
    returned = yaml.safe_load(module.RETURN)
    found = look(tmp_path, inventory(tmp_path / "prod"))
    assert set(found) - {"changed"} == set(returned)
    assert set(found["left"][0]) == set(returned["left"]["contains"])

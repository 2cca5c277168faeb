# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plugin inside this process: options, paths, the real ansible-vault, and its agreement with the documentation."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible import constants
from ansible.errors import AnsibleActionFail
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import VaultLib, VaultSecret
from ansible.playbook.play_context import PlayContext
from ansible.playbook.task import Task
from ansible.template import Templar

from ansible_collections.hostnet.multicluster.plugins.action import client_certificates as clients_action
from ansible_collections.hostnet.multicluster.plugins.action import host_certificates as action
from ansible_collections.hostnet.multicluster.plugins.module_utils._call import IGNORED
from ansible_collections.hostnet.multicluster.plugins.module_utils._pki import library
from ansible_collections.hostnet.multicluster.plugins.modules import client_certificates
from ansible_collections.hostnet.multicluster.plugins.modules import host_certificates as module

LEAF = {"name": "east-0", "file": "node", "common_name": "node", "ip_addresses": ["10.0.0.1"]}


def secrets(*passwords: str) -> list[tuple[str, VaultSecret]]:
    return [("default" if not index else f"id{index}", VaultSecret(password.encode())) for index, password in enumerate(passwords)]


def run(folder: Path, *, vault: list[tuple[str, VaultSecret]] | None = None, check: bool = False, **options: Any) -> dict[str, Any]:
    loader = DataLoader()
    loader.set_basedir(str(folder))
    loader.set_vault_secrets(vault or [])
    # Task.load would look the name up, and for that Ansible must have taken over Python's imports.
    task = Task()
    task.args = {"certificates": [LEAF], **options}
    task.check_mode = check
    plugin = action.ActionModule(
        task=task,
        connection=SimpleNamespace(_shell=SimpleNamespace(tmpdir=None)),  # nothing goes over a connection
        play_context=PlayContext(),
        loader=loader,
        templar=Templar(loader=loader),
        shared_loader_obj=None,
    )
    plugin._load_name = "host_certificates"
    result = plugin.run(task_vars={})
    assert "PRIVATE KEY" not in json.dumps(result)
    return dict(result)


def test_relative_paths_start_at_the_playbook(tmp_path: Path) -> None:
    result = run(tmp_path, pki_dir="pki")
    assert result["ca"]["certificate"] == str(tmp_path / "pki" / "ca.crt")
    assert result["changed"]
    given = {"certificate": "pki/../pki/ca.crt", "private_key": str(tmp_path / "pki" / "ca.key")}
    assert not run(tmp_path, pki_dir=str(tmp_path / "pki"), ca=given)["changed"]


def test_what_members_are_shown(tmp_path: Path) -> None:
    fingerprint = run(tmp_path, pki_dir="pki")["ca"]["fingerprint"]
    trust = {"revision": 1, "trusted": [fingerprint], "issuer": fingerprint, "dropped": []}
    result = run(tmp_path, pki_dir="pki", shown_trust=trust)
    (shown,) = result["shown"]
    place = tmp_path / "pki" / "trust" / fingerprint[:16]
    assert shown == {"ca": fingerprint, "accepted": True, "certificate": f"{place}.crt", "private_key": f"{place}.key"}
    assert place.with_suffix(".crt").exists()
    assert [entry["name"] for entry in result["certificates"]] == ["east-0", "trust"]
    again = run(tmp_path, pki_dir="pki", shown_trust=trust)
    assert (again["changed"], again["shown"]) == (False, [shown])
    assert run(tmp_path, pki_dir="pki")["shown"] == []


def test_check_mode(tmp_path: Path) -> None:
    assert run(tmp_path, pki_dir="pki", check=True)["changed"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "missing required arguments: pki_dir"),
        ({"pki_dir": "pki", "colour": "red"}, "Unsupported parameters for .*colour"),
        ({"pki_dir": "pki", "key_type": "DSA"}, "value of key_type must be one of"),
        ({"pki_dir": "pki", "certificates": [{"name": "x"}]}, "missing required arguments: common_name, file"),
        ({"pki_dir": "pki", "certificates": [{**LEAF, "name": "../x"}]}, "cannot be a file name"),
    ],
)
def test_bad_options(tmp_path: Path, options: dict[str, Any], text: str) -> None:
    with pytest.raises(AnsibleActionFail, match=text):
        run(tmp_path, **options)
    assert list(tmp_path.iterdir()) == []


def test_missing_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "CRYPTOGRAPHY_IMPORT_ERROR", "Traceback")
    with pytest.raises(
        AnsibleActionFail, match=r"needed on the controller. Failed to import the required Python library \(cryptography >= 41\)"
    ):
        run(tmp_path, pki_dir="pki")


def test_vault(tmp_path: Path) -> None:
    vaulted: dict[str, Any] = {"pki_dir": "pki", "ca": {"vault": True}}
    with pytest.raises(AnsibleActionFail, match=r"shall be encrypted .* but no vault password was given: use --vault-password-file"):
        run(tmp_path, **vaulted)
    assert list(tmp_path.iterdir()) == []
    assert run(tmp_path, vault=secrets("right"), **vaulted)["changed"]
    stored = (tmp_path / "pki" / "ca.key").read_bytes()
    assert stored.startswith(b"$ANSIBLE_VAULT;1.1;AES256\n")
    assert not run(tmp_path, vault=secrets("another", "right"), **vaulted)["changed"]
    with pytest.raises(AnsibleActionFail, match=r"wrong vault password for the CA's private key .*ca.key: none of the 2 given"):
        run(tmp_path, vault=secrets("wrong", "worse"), **vaulted)
    with pytest.raises(AnsibleActionFail, match=r"is encrypted with ansible-vault, but no vault password was given"):
        run(tmp_path, **vaulted)
    (tmp_path / "pki" / "ca.key").write_bytes(stored[:-20] + b"\nzz\n")
    with pytest.raises(AnsibleActionFail, match=r"cannot be decrypted|wrong vault password"):
        run(tmp_path, vault=secrets("right"), **vaulted)


def test_the_key_of_a_new_ca_is_encrypted_where_a_secret_is_given(tmp_path: Path) -> None:
    made = run(tmp_path, pki_dir="pki", vault=secrets("right"))
    assert "is encrypted with the vault secret of this run" in made["warnings"][0]
    key = tmp_path / "pki" / "ca.key"
    stored = key.read_bytes()
    assert stored.startswith(b"$ANSIBLE_VAULT;")
    again = run(tmp_path, pki_dir="pki", vault=secrets("right"))
    assert (again["changed"], again.get("warnings")) == (False, None)
    with pytest.raises(AnsibleActionFail, match="no vault password was given"):
        run(tmp_path, pki_dir="pki", certificates=[{**LEAF, "name": "east-1"}])
    assert key.read_bytes() == stored
    assert (tmp_path / "pki" / "ca.crt").exists()
    plain = run(tmp_path, pki_dir="pki2", vault=secrets("right"), ca={"vault": False})
    assert plain.get("warnings") is None
    assert b"PRIVATE KEY" in (tmp_path / "pki2" / "ca.key").read_bytes()


def test_a_plain_key_that_is_there_stays_readable_for_runs_without_a_secret(tmp_path: Path) -> None:
    run(tmp_path, pki_dir="pki")
    key = tmp_path / "pki" / "ca.key"
    before = key.read_bytes()
    more: dict[str, Any] = {"pki_dir": "pki", "certificates": [LEAF, {**LEAF, "name": "east-1"}]}
    result = run(tmp_path, vault=secrets("right"), **more)
    assert result["changed"]
    assert f"The CA's private key {key} is not encrypted, and this run has a vault secret" in result["warnings"][0]
    assert run(tmp_path, vault=secrets("right"), **more)["changed"] is False
    assert key.read_bytes() == before
    assert run(tmp_path, vault=secrets("right"), ca={"vault": False}, **more).get("warnings") is None
    # In an exchange too: who issues from a timer has no secret.
    fresh = run(tmp_path, vault=secrets("right"), new_ca=True, expected_ca_fingerprint=result["ca"]["fingerprint"], **more)["cas"]["new"]
    assert b"PRIVATE KEY" in Path(fresh["certificate"]).with_suffix(".key").read_bytes()
    assert not run(tmp_path, **more)["changed"]
    # Who says so has it encrypted, and it is the same key.
    encrypted = run(tmp_path, vault=secrets("right"), ca={"vault": True}, **more)
    assert (encrypted["changed"], encrypted["ca"]["fingerprint"]) == (True, result["ca"]["fingerprint"])
    assert key.read_bytes().startswith(b"$ANSIBLE_VAULT;")
    assert VaultLib(secrets("right")).decrypt(key.read_bytes()) == before


def test_vault_id_of_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "DEFAULT_VAULT_ENCRYPT_IDENTITY", "id1")
    assert run(tmp_path, pki_dir="pki", ca={"vault": True}, vault=secrets("one", "two"))["changed"]
    assert (tmp_path / "pki" / "ca.key").read_bytes().startswith(b"$ANSIBLE_VAULT;1.2;AES256;id1\n")
    monkeypatch.setattr(constants, "DEFAULT_VAULT_ENCRYPT_IDENTITY", "unknown")
    with pytest.raises(AnsibleActionFail, match=r"cannot be encrypted with ansible-vault: .*unknown"):
        run(tmp_path, pki_dir="pki2", ca={"vault": True}, vault=secrets("one"))
    assert not (tmp_path / "pki2").exists()


def _shape(options: dict[str, Any], children: str) -> dict[str, Any]:
    """Options without their descriptions, with defaults that are written out or not made equal."""
    shape: dict[str, Any] = {}
    for name, option in options.items():
        shape[name] = {key: option.get(key) for key in ("type", "elements", "choices", "default")}
        shape[name]["required"] = option.get("required", False)
        shape[name]["options"] = _shape(option.get(children) or {}, children)
    return shape


def test_documentation_and_argument_spec_agree() -> None:
    """Sanity tests compare them for modules only; here the module is nothing but documentation."""
    for documented, plugin in ((module, action), (client_certificates, clients_action)):
        # What is ignored stands in a fragment.
        options = yaml.safe_load(documented.DOCUMENTATION)["options"]
        own = {name: option for name, option in plugin.ARGUMENT_SPEC.items() if name not in IGNORED}
        assert _shape(options, "suboptions") == _shape(own, "options")


def test_every_returned_key_is_documented(tmp_path: Path) -> None:
    documented = yaml.safe_load(module.RETURN)
    result = run(tmp_path, pki_dir="pki")
    assert set(result) - {"changed"} == set(documented)
    for key, returned in (("ca", result["ca"]), ("certificates", result["certificates"][0])):
        assert list(returned) == list(documented[key]["contains"])

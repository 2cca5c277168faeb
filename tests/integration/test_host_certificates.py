# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The examples of host_certificates, run by ansible-playbook as a user runs them; OpenSSL judges what they made."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.hostnet.multicluster.plugins.modules import host_certificates as module
from support.run import ansible_environment

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="the openssl command is not installed")

ACTION = "hostnet.multicluster.host_certificates"


@dataclass
class Played:
    rc: int
    output: str
    tasks: list[dict[str, Any]]

    @property
    def recap(self) -> dict[str, int]:
        line = next(line for line in reversed(self.output.splitlines()) if line.startswith("localhost"))
        return {word: int(number) for word, number in re.findall(r"(\w+)=(\d+)", line)}

    def results(self) -> list[dict[str, Any]]:
        return [task["result"] for task in self.tasks if task["action"] == ACTION]


def openssl(*arguments: str | Path) -> str:
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def play(folder: Path, tasks: list[dict[str, Any]], *arguments: str, password: str = "right", rc: int = 0, **keywords: Any) -> Played:
    """Run tasks from a playbook in `folder`, which stays, so that relative paths mean the same in every run."""
    playbook = folder / "playbook.yml"
    playbook.write_text(yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "tasks": tasks, **keywords}], sort_keys=False))
    given = []
    if password:
        (folder / "password").write_text(password)
        given = ["--vault-password-file", str(folder / "password")]
    results = folder / "results.jsonl"
    results.unlink(missing_ok=True)
    done = subprocess.run(
        [sys.executable, str(Path(sys.executable).parent / "ansible-playbook"), str(playbook), "-vvv", *given, *arguments],
        env=ansible_environment(results),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == rc, done.stdout
    assert "PRIVATE KEY" not in done.stdout
    lines = results.read_text().splitlines() if results.exists() else []
    return Played(done.returncode, done.stdout, [json.loads(line) for line in lines])


def examples() -> list[dict[str, Any]]:
    tasks = yaml.safe_load(module.EXAMPLES)
    assert isinstance(tasks, list)
    return tasks


@pytest.fixture
def company(tmp_path: Path) -> Path:
    """The CA of somebody else, made by OpenSSL, as the last example expects it."""
    folder = tmp_path / "company"
    folder.mkdir()
    key, certificate = folder / "issuing-ca-key.pem", folder / "issuing-ca.pem"
    openssl(
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "900",
        "-subj",
        "/CN=Company",
        "-addext",
        "keyUsage=critical,keyCertSign",
        "-keyout",
        key,
        "-out",
        certificate,
    )
    return folder


@pytest.mark.usefixtures("company")
def test_host_certificates_examples(tmp_path: Path) -> None:
    # Tasks that need the fingerprint of a CA that check mode did not make are left out of it.
    plan = play(tmp_path, [examples()[0], *examples()[3:]], "--check", "--diff")
    assert not list(tmp_path.glob("pki*"))
    first = play(tmp_path, examples(), "--diff")
    second = play(tmp_path, examples(), "--diff")
    assert plan.recap["changed"] == first.recap["changed"] == 3
    assert second.recap["changed"] == second.recap["failed"] == 0

    planned = [[(one["reason"], one["sans"]) for one in result["certificates"]] for result in plan.results()]
    done = [[(one["reason"], one["sans"]) for one in result["certificates"]] for result in first.results() if result["changed"]]
    assert planned == done
    for text in (
        "+  subject: CN=node,O=Cockroach",
        "+  SANs: IP:10.0.0.1, IP:127.0.0.1, DNS:east-worker, DNS:localhost",
        "+  reason: missing",
    ):
        assert text in plan.output
        assert text in first.output
        assert text not in second.output
    assert "west-0/node: missing" in first.output

    for folder, ca in (("pki", "pki/ca.crt"), ("pki-vaulted", "pki-vaulted/ca.crt"), ("pki-company", "company/issuing-ca.pem")):
        leaves = sorted((tmp_path / folder).glob("*/*.crt"))
        assert leaves
        for leaf in leaves:
            openssl("verify", "-x509_strict", "-CAfile", tmp_path / ca, leaf)
            public = openssl("x509", "-in", leaf, "-noout", "-pubkey")
            assert openssl("pkey", "-in", leaf.with_suffix(".key"), "-pubout") == public
    node = tmp_path / "pki" / "west-0" / "node.crt"
    assert "does match" in openssl("x509", "-in", node, "-noout", "-checkip", "fd00:0:0:1::7")
    assert "does NOT match" in openssl("x509", "-in", node, "-noout", "-checkip", "fd00:0:0:1::70")
    client = tmp_path / "pki" / "client" / "client.root.crt"
    openssl("verify", "-purpose", "sslclient", "-CAfile", tmp_path / "pki" / "ca.crt", client)
    with pytest.raises(AssertionError):
        openssl("verify", "-purpose", "sslserver", "-CAfile", tmp_path / "pki" / "ca.crt", client)
    assert (tmp_path / "pki-vaulted" / "ca.key").read_text().startswith("$ANSIBLE_VAULT;")
    assert "Public-Key: (2048 bit)" in openssl("x509", "-in", tmp_path / "pki-company" / "east-0" / "server.crt", "-noout", "-text")


def test_vault_passwords(tmp_path: Path) -> None:
    vaulted = [task for task in examples() if "vault password" in task["name"]]
    more = [
        {**vaulted[0], ACTION: {**vaulted[0][ACTION], "certificates": [{"name": "x", "file": "x", "common_name": "x", "dns_names": ["x"]}]}}
    ]
    nothing = play(tmp_path, vaulted, password="", rc=2)
    assert "but no vault password was given" in nothing.output
    assert not (tmp_path / "pki-vaulted").exists()
    play(tmp_path, vaulted)
    wrong = play(tmp_path, more, password="wrong", rc=2)
    assert "wrong vault password for the CA's private key" in wrong.results()[0]["msg"]
    assert not (tmp_path / "pki-vaulted" / "x").exists()
    assert play(tmp_path, more).recap["changed"] == 1
    # ansible-vault itself can read the key, and it is the CA's.
    shown = subprocess.run(
        [
            sys.executable,
            str(Path(sys.executable).parent / "ansible-vault"),
            "view",
            "--vault-password-file",
            str(tmp_path / "password"),
            str(tmp_path / "pki-vaulted" / "ca.key"),
        ],
        env=ansible_environment(tmp_path / "unused.jsonl", PAGER="cat"),
        capture_output=True,
        text=True,
        check=True,
    )
    public = subprocess.run(["openssl", "pkey", "-pubout"], input=shown.stdout, capture_output=True, text=True, check=True).stdout
    assert public == openssl("x509", "-in", tmp_path / "pki-vaulted" / "ca.crt", "-noout", "-pubkey")


def test_a_moved_member_gets_a_new_certificate_and_nobody_else(tmp_path: Path) -> None:
    def task(address: str) -> list[dict[str, Any]]:
        members = {"east-0": "10.0.0.1", "east-1": address}
        leaves = [{"name": name, "file": "peer", "common_name": name, "ip_addresses": [ip]} for name, ip in members.items()]
        return [{ACTION: {"pki_dir": "pki", "certificates": leaves}, "run_once": True}]

    # The group's defaults are meant for modules that talk to API servers; they must do no harm here.
    defaults = {"group/hostnet.multicluster.hostnet": {"kube_clusters": [{"name": "east", "api_key": "secret-token"}]}}
    played = play(tmp_path, task("10.0.0.2"), module_defaults=defaults)
    assert "secret-token" not in played.output
    (before,) = played.results()
    assert before["requests"] == 0
    (after,) = play(tmp_path, task("10.0.0.22"), "--diff").results()
    kept, moved = after["certificates"]
    assert (kept["serial"], kept["reason"]) == (before["certificates"][0]["serial"], "")
    assert moved["reason"] == "SANs differ (missing IP:10.0.0.22; extra IP:10.0.0.2)"
    serial = openssl("x509", "-in", moved["certificate"], "-noout", "-serial").strip().partition("=")[2]
    assert serial.lower() == moved["serial"] != before["certificates"][1]["serial"]

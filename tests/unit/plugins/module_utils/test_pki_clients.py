# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients' certificates on a real disk, with OpenSSL's command line as the judge of what members accept."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from ansible_collections.hostnet.multicluster.plugins.module_utils._pki.clients import clients_of, manage
from ansible_collections.hostnet.multicluster.plugins.module_utils._pki.folder import ensure_certificates
from ansible_collections.hostnet.multicluster.plugins.module_utils._pki.request import Request, Vault
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import clients as plan
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import member_certificates, trust_revisions
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.certificates import CertificateError, Lifetime
from support.collection import CHECKOUT
from support.member import binding, system_spec

Json = dict[str, Any]
DAY = timedelta(days=1)
NOW = datetime.now(UTC)
NO_VAULT = cast(Vault, None)
LIFETIME = Lifetime(valid_days=90, renew_days=30)
MEMBERS = [binding("east", 0, "10.0.0.1"), binding("west", 0, "fd00::12")]
pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="the openssl command is not installed")


def own_layout(system: str) -> Json:
    """What a role adds to a spec that users may set themselves."""
    added = yaml.safe_load((CHECKOUT / f"roles/system_{system}/vars/main.yml").read_text()).get(f"system_{system}_operations", {})
    return cast(Json, added.get("client", {}))


class Deployed:
    """The pki folder of a deployment, and what the kube clusters record of its CAs."""

    def __init__(self, folder: Path, system: str = "etcd", **hostnet: Any) -> None:
        self.pki = folder / "pki"
        self.spec = {"client": own_layout(system), **system_spec(system)}
        self.hostnet: Json = {"name": "ledger", "system": system, "pki_dir": str(self.pki), "clients": ["client"], **hostnet}
        self.now = NOW
        made = self.deploy()
        self.trust: trust_revisions.Trust = trust_revisions.first(made["ca"]["fingerprint"])

    def request(self, **fields: Any) -> Request:
        return Request(pki_dir=self.pki, certificates=[], lifetime=LIFETIME, **fields)

    def deploy(self, **fields: Any) -> Json:
        """What deploy.yml, rotate_certificates.yml and rotate_ca.yml do with the folder."""
        pki = {"clients": plan.kept(clients_of(self.request()))}
        wanted = member_certificates.wanted_certificates({**self.hostnet, "pki": pki}, self.spec, MEMBERS)
        request = Request(pki_dir=self.pki, certificates=wanted, lifetime=LIFETIME, **fields)
        return ensure_certificates(request, NO_VAULT, self.now)

    def run(self, client: str = "", drop: str = "", *, check: bool = False, silent: bool = False) -> Json:
        trust, members = (None, []) if silent else (self.trust, MEMBERS)
        names = ["east", "west"] if silent else []
        result = manage(self.request(), NO_VAULT, self.hostnet, self.spec, members, trust, names, client, drop, self.now, check_mode=check)
        assert "PRIVATE KEY" not in json.dumps(result)
        return result

    def exchange(self) -> trust_revisions.Trust:
        """The three phases, up to `issue`; the revision that drops the old CA is returned."""
        made = self.deploy(new_ca=True, expected_ca_fingerprint=self.trust["issuer"])
        fresh = made["cas"]["new"]["fingerprint"]
        for phase in (trust_revisions.TRUST, trust_revisions.ISSUE):
            self.trust = trust_revisions.following(self.trust, phase, fresh)
            self.follow()
        return trust_revisions.following(self.trust, trust_revisions.DROP, "")

    def follow(self) -> Json:
        return self.deploy(expected_ca_fingerprint=self.trust["issuer"], trusted_ca_fingerprints=self.trust["trusted"])

    def folder(self, client: str) -> Path:
        return self.pki / "clients" / client


@pytest.fixture
def etcd(tmp_path: Path) -> Deployed:
    return Deployed(tmp_path)


def state(result: Json, client: str) -> str:
    return next(str(row["state"]) for row in result["clients"] if row["client"] == client)


def verified(ca: Path, certificate: Path) -> bool:
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", str(ca), str(certificate)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def content(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(folder)): (path.read_bytes(), stat.S_IMODE(path.stat().st_mode))
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_certificate_for_a_user_and_what_etcdctl_needs(etcd: Deployed) -> None:
    before = content(etcd.pki)
    checked = etcd.run("alice", check=True)
    assert (checked["changed"], state(checked, "alice"), state(checked, "client")) == (True, "to be issued: missing", "trusted")
    assert content(etcd.pki) == before
    result = etcd.run("alice")
    assert (result["changed"], state(result, "alice")) == (True, "issued: missing")
    folder = etcd.folder("alice")
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {
        "ca.crt": 0o644,
        "client.crt": 0o644,
        "client.key": 0o600,
        "etcdctl.env": 0o644,
    }
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert verified(folder / "ca.crt", folder / "client.crt")
    assert (folder / "etcdctl.env").read_text() == (
        "ETCDCTL_ENDPOINTS=https://10.0.0.1:2379,https://[fd00::12]:2379\n"
        "ETCDCTL_CACERT=ca.crt\nETCDCTL_CERT=client.crt\nETCDCTL_KEY=client.key\n"
    )
    assert (folder / "client.key").read_bytes() == (etcd.pki / "clients/alice.key").read_bytes()
    assert "CN = alice" in subprocess.run(
        ["openssl", "x509", "-noout", "-subject", "-in", str(folder / "client.crt")], capture_output=True, text=True, check=True
    ).stdout.replace("CN=", "CN = ")
    before = content(etcd.pki)
    again = etcd.run("alice")
    assert (again["changed"], state(again, "alice")) == (False, "trusted")
    assert not etcd.deploy()["changed"]
    assert content(etcd.pki) == before
    row = next(row for row in again["clients"] if row["client"] == "alice")
    assert (row["days_left"], row["ca"], row["trusted"], row["dropped"]) == (89, etcd.trust["issuer"], True, False)
    assert any(line.split()[:2] == ["alice", row["serial"]] for line in again["lines"])


def test_a_deploy_makes_no_folder_and_keeps_the_one_that_is_there(etcd: Deployed) -> None:
    assert not etcd.folder("client").exists()
    etcd.run("alice")
    key = etcd.folder("alice") / "client.key"
    first = key.read_bytes()
    etcd.now += 61 * DAY
    assert etcd.deploy()["changed"]
    assert key.read_bytes() != first
    assert key.read_bytes() == (etcd.pki / "clients/alice.key").read_bytes()
    assert not etcd.run()["changed"]


def test_what_is_due_is_renewed_and_nothing_else(etcd: Deployed) -> None:
    etcd.run("alice")
    etcd.now += 40 * DAY
    etcd.run("bob")
    etcd.now += 21 * DAY
    result = etcd.run()
    assert state(result, "alice").startswith("issued: ")
    assert state(result, "bob") == "trusted"


def test_who_has_a_certificate_gets_one_of_the_new_ca(etcd: Deployed) -> None:
    etcd.run("alice")
    old = (etcd.folder("alice") / "client.crt").read_bytes()
    dropped = etcd.exchange()
    folder = etcd.folder("alice")
    assert (folder / "client.crt").read_bytes() != old
    assert (folder / "ca.crt").read_bytes().count(b"BEGIN CERTIFICATE") == 2
    assert (folder / "ca.crt").read_bytes() == (etcd.pki / "ca.crt").read_bytes()
    etcd.trust = dropped
    result = etcd.run()
    assert (folder / "ca.crt").read_bytes().count(b"BEGIN CERTIFICATE") == 1
    assert verified(folder / "ca.crt", folder / "client.crt")
    assert {row["ca"] for row in result["clients"]} == {dropped["issuer"]}
    assert not etcd.run()["changed"]


def test_one_of_a_ca_that_issues_no_more_is_renewed_by_this_playbook_alone_too(etcd: Deployed) -> None:
    """As where the folder comes back from a backup from before the exchange was finished."""
    etcd.run("alice")
    saved = content(etcd.pki / "clients")
    etcd.exchange()
    for name, (data, _mode) in saved.items():
        (etcd.pki / "clients" / name).write_bytes(data)
    result = etcd.run()
    assert state(result, "alice") == "issued: issued by another CA"
    assert verified(etcd.folder("alice") / "ca.crt", etcd.folder("alice") / "client.crt")


def test_a_client_is_dropped_and_it_is_said_until_when_members_accept_it(etcd: Deployed) -> None:
    etcd.run("alice")
    serial = next(row["serial"] for row in etcd.run()["clients"] if row["client"] == "alice")
    before = content(etcd.pki)
    checked = etcd.run(drop="alice", check=True)
    assert (checked["changed"], state(checked, "alice")) == (True, "to be dropped")
    assert content(etcd.pki) == before
    result = etcd.run(drop="alice")
    assert result["changed"]
    assert sorted(path.name for path in (etcd.pki / "clients").iterdir()) == [".dropped", "client", "client.crt", "client.key"]
    assert [path.name for path in (etcd.pki / "clients/.dropped").iterdir()] == [f"alice.{serial}.crt"]
    assert state(result, "alice") == "dropped, and accepted by members until then"
    assert any(
        line.startswith(f"alice: members of etcd cannot be told to refuse this one certificate ({serial})") for line in result["lines"]
    )
    assert not etcd.run(drop="alice")["changed"]
    # Neither a deploy nor the next run gives her another one. Who is issued one anew has two that are accepted.
    assert not etcd.deploy()["changed"]
    assert not etcd.run()["changed"]
    again = etcd.run("alice")
    assert [(row["dropped"], row["trusted"]) for row in again["clients"] if row["client"] == "alice"] == [(False, True), (True, True)]
    etcd.now += 91 * DAY
    assert [row["dropped"] for row in etcd.run()["clients"] if row["client"] == "alice"] == [False]


def test_the_certificate_of_a_dropped_client_is_of_no_use_after_an_exchange(etcd: Deployed) -> None:
    etcd.run("alice")
    etcd.run(drop="alice")
    etcd.trust = etcd.exchange()
    etcd.follow()
    assert [row["client"] for row in etcd.run()["clients"]] == ["client"]
    (old,) = (etcd.pki / "clients/.dropped").iterdir()
    assert not verified(etcd.pki / "ca.crt", old)


def test_what_is_not_ours_is_left_alone(etcd: Deployed, tmp_path: Path) -> None:
    other = Deployed(tmp_path / "other", clients=["bob"])
    for ending in ("crt", "key"):
        shutil.copy(other.pki / f"clients/bob.{ending}", etcd.pki / f"clients/bob.{ending}")
        shutil.copy(etcd.pki / f"east-0/server.{ending}", etcd.pki / f"clients/server.{ending}")
    (etcd.pki / "clients/note.crt").write_text("no certificate")
    before = content(etcd.pki)
    result = etcd.run(check=True)
    assert state(result, "bob") == "left alone: of a CA that is not here"
    assert state(result, "server") == "left alone: not issued as a client's of that name"
    assert state(result, "note") == "left alone: it is no PEM certificate"
    for name in ("bob", "server", "note"):
        with pytest.raises(
            CertificateError, match=rf"hostnet_client is {name}, and .*/{name}.crt is another certificate .*: it is not overwritten"
        ):
            etcd.run(name)
    etcd.run()
    assert {name: found for name, found in content(etcd.pki).items() if name in before} == before


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"client": "alice", "drop": "alice"}, "both name alice"),
        ({"drop": "client"}, "hostnet_clients names it, so the next deploy would issue it again"),
        ({"drop": "alice"}, "nobody of that name has a certificate in .*/clients: there are client"),
    ],
)
def test_refusals(etcd: Deployed, options: Json, text: str) -> None:
    before = content(etcd.pki)
    for check in (True, False):
        with pytest.raises(CertificateError, match=text):
            etcd.run(**options, check=check)
    assert content(etcd.pki) == before


def test_another_ca_than_the_recorded_one_issues_nothing(etcd: Deployed) -> None:
    etcd.trust = trust_revisions.first("ab" * 32)
    before = content(etcd.pki)
    with pytest.raises(CertificateError, match=f"the recorded CA has {'ab' * 32}"):
        etcd.run("alice")
    assert content(etcd.pki) == before


def test_no_kube_cluster_answers(etcd: Deployed) -> None:
    """The CA's folder is all that issuing needs. What nobody could say is told, and what was known stays."""
    etcd.run("alice")
    known = (etcd.folder("alice") / "etcdctl.env").read_bytes()
    result = etcd.run("bob", silent=True)
    assert verified(etcd.pki / "ca.crt", etcd.folder("bob") / "client.crt")
    assert not (etcd.folder("bob") / "etcdctl.env").exists()
    assert (etcd.folder("alice") / "etcdctl.env").read_bytes() == known
    told = "\n".join(result["lines"])
    assert "it was not verified that members trust this one" in told
    assert "etcdctl.env of the folders are as they were, or missing" in told
    assert {row["trusted"] for row in result["clients"]} == {True}
    assert not etcd.run(silent=True)["changed"]
    assert etcd.run()["changed"]
    assert (etcd.folder("bob") / "etcdctl.env").read_bytes() == known


def test_without_deployment_or_ca_nothing_is_issued(etcd: Deployed) -> None:
    with pytest.raises(CertificateError, match="deployment ledger is not deployed"):
        manage(etcd.request(), NO_VAULT, etcd.hostnet, etcd.spec, [], None, [], "alice", "", NOW, check_mode=False)
    shutil.rmtree(etcd.pki)
    with pytest.raises(CertificateError, match=r"ca.crt does not exist on this controller, and no kube cluster answers"):
        etcd.run("alice", silent=True)
    assert not etcd.pki.exists()


def test_a_killed_drop_is_finished(etcd: Deployed) -> None:
    etcd.run("alice")
    etcd.folder("alice").joinpath("client.key").unlink()
    (etcd.pki / "clients/alice.key").unlink()
    assert etcd.run(drop="alice")["changed"]
    assert not (etcd.pki / "clients/alice.crt").exists()


def test_cockroachdbs_certs_dir(tmp_path: Path) -> None:
    crdb = Deployed(tmp_path, "cockroachdb", clients=["client.app"])
    result = crdb.run("alice")
    assert [row["client"] for row in result["clients"]] == ["client.alice", "client.app", "client.root"]
    assert [row["user"] for row in result["clients"]] == ["alice", "app", "root"]
    folder = crdb.folder("client.alice")
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {
        "ca.crt": 0o644,
        "client.alice.crt": 0o644,
        "client.alice.key": 0o600,
    }
    assert verified(folder / "ca.crt", folder / "client.alice.crt")
    assert crdb.run("client.alice")["changed"] is False
    assert crdb.deploy()["changed"] is False
    with pytest.raises(CertificateError, match="members of cockroachdb use that certificate themselves"):
        crdb.run(drop="root")
    with pytest.raises(CertificateError, match="takes whoever has a certificate of that name for one of its own members"):
        crdb.run("node")
    assert any("ALTER ROLE alice NOLOGIN" in line for line in crdb.run(drop="alice")["lines"])


def test_nats_cli_and_a_system_of_ones_own(tmp_path: Path) -> None:
    nats = Deployed(tmp_path, "nats")
    nats.run()
    assert (nats.folder("client") / "nats.env").read_text() == (
        "NATS_URL=tls://10.0.0.1:4222,tls://[fd00::12]:4222\nNATS_CA=ca.crt\nNATS_CERT=client.crt\nNATS_KEY=client.key\n"
    )
    del nats.spec["client"]
    shutil.rmtree(nats.folder("client"))
    nats.run()
    assert sorted(path.name for path in nats.folder("client").iterdir()) == ["ca.crt", "client.crt", "client.key"]


@pytest.mark.parametrize(
    ("client", "text"),
    [
        ({"file": "alice"}, "client.file must have {user} in it"),
        ({"files": {"x.env": "X={endpoints}"}}, "client.files (x.env) has {endpoints}, and client.endpoints has no format"),
        ({"files": {"x.env": "X={endpoints}"}, "endpoints": {"format": "{ports[nothing]}"}}, "client.endpoints.format: "),
        ({"files": {"../x": "{ca}"}}, "client.files: '../x' cannot be a file name"),
    ],
)
def test_a_layout_that_cannot_be_made(client: Json, text: str) -> None:
    (problem,) = plan.spec_problems({**system_spec("etcd"), "client": client})
    assert problem.startswith(text)


@pytest.mark.parametrize("system", ["cockroachdb", "etcd", "nats"])
def test_the_layouts_of_the_collections_systems(system: str) -> None:
    assert plan.spec_problems({"client": own_layout(system), **system_spec(system)}) == []

# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""rotate_ca.yml from its first phase to its last one, killed on the way, on real API servers whose kubelets and members are made up.

A made-up member trusts what was in its Secret when its pod was made, as etcd does. tests/integration/test_certificates_served.py has real servers, and
tests/rollout/test_certificates.py both.
"""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from support import made_up
from support.kube_api import KubeApi
from support.made_up import NAME, NAMESPACE, World, message

pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]

Json = dict[str, Any]

# At the end of the action plugin: it writes the Secrets as the module does, and what members trust is a file.
PLUGIN = """\

import base64, json, os
from pathlib import Path
from cryptography import x509
from ansible_collections.hostnet.multicluster.plugins.module_utils._call import Failure
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import apply, kinds, objects
from ansible_collections.hostnet.multicluster.plugins.module_utils._pki.read import sha256_of

def run(call):
    call.clusters
    place = Path(os.environ["TEST_TRUSTED"])
    trusted = json.loads(place.read_text()) if place.exists() else {}
    pods = {}
    for member in call.params["members"]:
        cluster = call.clusters[member["kube_cluster"]]
        pods[member["member"]] = uid = cluster.get(kinds.POD, member["pod"], member["namespace"])["metadata"]["uid"]
        secret = cluster.get(kinds.SECRET, member["pod"].removesuffix("-0"), member["namespace"])
        bundle = base64.b64decode(secret["data"]["ca.crt"])
        trusted.setdefault(uid, [sha256_of(certificate) for certificate in x509.load_pem_x509_certificates(bundle)])
    place.write_text(json.dumps(trusted))
    found = objects.read_objects(call.params, call.check_mode)
    secrets = apply.InTurns(call.clusters, found, call.check_mode)
    outcome = secrets.apply([index for index, differs in enumerate(secrets.differs()) if differs])
    for member, uid in pods.items():
        for card in call.params["trust"]:
            if (card["ca"] in trusted[uid]) != card["accepted"]:
                raise Failure(f"member {member}: a client's certificate of the CA {card['ca']} is not {'accepted' if card['accepted'] else 'refused'} (test)")
    return {"changed": outcome.changed, "served": [], "renewed": [], "lines": [], "objects": outcome.objects}

ActionModule.perform_run = run
"""


@pytest.fixture
def world(kube_api: KubeApi, kube_api_two: KubeApi, no_nodes: None, tmp_path: Path) -> Iterator[World]:
    with made_up.world([kube_api, kube_api_two], tmp_path) as found:
        plugin = found.collections / "ansible_collections/hostnet/multicluster/plugins/action/certificates_served.py"
        real = plugin.read_text()
        plugin.unlink()
        plugin.write_text(real + PLUGIN)
        yield found


def play(world: World, playbook: str = "rotate_ca.yml", *, failpoint: str = "", check: bool = False, **variables: Any) -> Any:
    environment = {"TEST_TRUSTED": str(world.folder / "trusted.json"), **({"HOSTNET_FAILPOINT": failpoint} if failpoint else {})}
    return world.play(playbook, check=check, environment=environment, hostnet_soak_seconds=0, **variables)


def exchange(world: World, phase: str, **options: Any) -> Any:
    run = play(world, hostnet_ca_phase=phase, **options)
    assert run.rc == 0, run.output
    return run


def pods(world: World) -> dict[str, str]:
    return {
        item["metadata"]["name"]: item["metadata"]["uid"]
        for kube in world.kubes
        for item in kube.request_json("GET", f"/api/v1/namespaces/{NAMESPACE}/pods")["items"]
        if "guard" not in item["metadata"]["name"]
    }


def records(world: World) -> list[list[str]]:
    """The trust revisions of each kube cluster."""
    found = []
    for kube in world.kubes:
        items = kube.request_json("GET", f"/api/v1/namespaces/{NAMESPACE}/configmaps")["items"]
        found.append(sorted(item["metadata"]["name"] for item in items if item["metadata"]["name"].startswith(f"{NAME}-trust-")))
    return found


def fingerprints(text: bytes) -> list[str]:
    return [certificate.fingerprint(hashes.SHA256()).hex() for certificate in x509.load_pem_x509_certificates(text)]


def stored(world: World) -> set[tuple[str, ...]]:
    """What the members' Secrets say that they trust."""
    found = set()
    for kube in world.kubes:
        for item in kube.request_json("GET", f"/api/v1/namespaces/{NAMESPACE}/secrets")["items"]:
            found.add(tuple(fingerprints(base64.b64decode(item["data"]["ca.crt"]))))
    return found


def test_a_phase_has_to_be_said_and_has_to_be_the_next_one(world: World) -> None:
    world.deployed()
    before = world.objects()
    assert "hostnet_ca_phase" in message(play(world))
    assert "begin with hostnet_ca_phase=trust" in message(play(world, hostnet_ca_phase="drop"))
    assert world.objects() == before


def test_a_ca_is_exchanged_in_three_runs(world: World) -> None:
    world.deployed()
    pki = world.folder / "pki"
    (old,) = fingerprints((pki / "ca.crt").read_bytes())
    first = pods(world)
    before = world.objects()
    checked = exchange(world, "trust", check=True)
    assert "trust, this run: a new CA, which is made, is trusted beside" in checked.output
    assert (world.objects(), records(world), sorted(path.name for path in pki.glob("ca*"))) == (before, [[], []], ["ca.crt", "ca.key"])

    # Killed while members are started anew: the next run goes on with that.
    killed = play(world, hostnet_ca_phase="trust", failpoint="restart:after-begin")
    assert killed.rc == -9, killed.output
    assert records(world) == [[f"{NAME}-trust-2"]] * 2
    exchange(world, "trust")
    (new,) = (fingerprint for fingerprint in fingerprints((pki / "ca.crt").read_bytes()) if fingerprint != old)
    assert stored(world) == {(old, new)}
    second = pods(world)
    assert all(second[name] != uid for name, uid in first.items())
    again = exchange(world, "trust")
    assert not again.changed, again.output
    assert pods(world) == second
    # Everybody else goes by the revision too, and a kube cluster that has lost the record gets it again.
    world.kubes[1].request_json("DELETE", f"/api/v1/namespaces/{NAMESPACE}/configmaps/{NAME}-trust-2")
    deployed = play(world, "deploy.yml")
    assert deployed.rc == 0, deployed.output
    assert "is being exchanged" in deployed.output
    assert records(world) == [[f"{NAME}-trust-2"]] * 2
    assert stored(world) == {(old, new)}

    exchange(world, "issue")
    assert fingerprints((pki / "ca.crt").read_bytes()) == [new, old]
    assert stored(world) == {(new, old)}
    assert pods(world) == second, "nobody is restarted for another issuer"

    exchange(world, "drop")
    assert stored(world) == {(new,)}
    assert all(pods(world)[name] != uid for name, uid in second.items())
    assert not (pki / "ca.key").exists()
    assert (pki / f"ca-{old[:16]}.retired.key").exists()
    third = exchange(world, "drop")
    assert not third.changed, third.output
    assert not play(world, "deploy.yml").changed
    assert records(world) == [[f"{NAME}-trust-{number}" for number in (2, 3, 4)]] * 2
    identity = world.kubes[0].request_json("GET", f"/api/v1/namespaces/{NAMESPACE}/configmaps/{NAME}-identity")
    assert identity["data"]["ca_fingerprint"] == old
    assert json.loads((world.folder / "trusted.json").read_text())
    world.free()


@pytest.mark.in_turn
def test_the_new_ca_is_lost_and_the_exchange_abandoned(world: World) -> None:
    """The pki folder comes back from a backup from before: every other playbook refuses, and nothing was issued by the new CA yet."""
    world.deployed()
    pki = world.folder / "pki"
    (old,) = fingerprints((pki / "ca.crt").read_bytes())
    saved = (pki / "ca.crt").read_bytes()
    exchange(world, "trust")
    shutil.rmtree(pki / "trust")
    for path in pki.glob("ca-*"):
        path.unlink()
    (pki / "ca.crt").write_bytes(saved)
    before = world.objects()
    for refused in (play(world, hostnet_ca_phase="issue"), play(world, "deploy.yml")):
        assert "goes back with hostnet_ca_phase=abandon" in message(refused)
    assert world.objects() == before
    exchange(world, "abandon")
    assert stored(world) == {(old,)}
    assert records(world) == [[f"{NAME}-trust-{number}" for number in (2, 3)]] * 2
    again = exchange(world, "abandon")
    assert not again.changed, again.output
    assert not play(world, "deploy.yml").changed
    exchange(world, "trust")
    assert len(fingerprints((pki / "ca.crt").read_bytes())) == 2
    world.free()

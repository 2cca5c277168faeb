# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""clients.yml, and the CA's folder lost and brought back by the documented commands, on real API servers whose kubelets and members are made up.

Real servers and their clients' certificates are in test_etcd_server.py and test_nats_server.py.
"""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.hostnet.multicluster.plugins.modules import client_certificates
from support import made_up
from support.collection import CHECKOUT
from support.kube_api import KubeApi
from support.made_up import World, message
from support.member import binding, system_spec
from support.run import PlayRun

# The folder of the documents.
PKI = "prod/.hostnet-pki/ledger"


@pytest.fixture
def world(kube_api: KubeApi, kube_api_two: KubeApi, no_nodes: None, tmp_path: Path) -> Iterator[World]:
    with made_up.world([kube_api, kube_api_two], tmp_path) as found:
        yield found


def content(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(folder)): (path.read_bytes(), stat.S_IMODE(path.stat().st_mode))
        for path in folder.rglob("*")
        if path.is_file()
    }


def documented(what: str, folder: Path) -> None:
    """Runs the commands that docs/recovery.md has under this remark."""
    found = re.search(rf"<!-- {what} -->\n```\n(.*?)```", (CHECKOUT / "docs/recovery.md").read_text(), re.DOTALL)
    assert found
    subprocess.run(["sh", "-ec", found.group(1)], cwd=folder, check=True)


def told(run: PlayRun) -> str:
    assert run.rc == 0, run.output
    (found,) = run.of("client_certificates")
    return "\n".join(found["lines"])


@pytest.mark.long
def test_clients_and_the_folder_lost_and_restored(world: World) -> None:
    pki = world.folder / PKI

    def play(playbook: str = "clients.yml", **options: Any) -> PlayRun:
        return world.play(playbook, hostnet_pki_dir=str(pki), **options)

    assert play("deploy.yml").rc == 0
    objects, files = world.objects(), content(pki)

    checked = play(check=True, hostnet_client="alice")
    assert "to be issued: missing" in told(checked)
    assert (checked.changed, content(pki)) == (True, files)
    issued = play(hostnet_client="alice")
    assert "issued: missing" in told(issued)
    assert "PRIVATE KEY" not in issued.output
    assert (pki / "clients/alice/etcdctl.env").read_text().splitlines()[0] == (
        "ETCDCTL_ENDPOINTS=" + ",".join(f"https://{address}:2379" for _kube, _node, address in made_up.NODES)
    )
    assert world.objects() == objects, "a client is nothing that a kube cluster knows of"

    # No kube cluster answers, and the folder is here. It is a second run too.
    alone = play(hostnet_client="alice", hostnet_kube_clusters=[{"name": kube.name, "host": "https://127.0.0.1:1"} for kube in world.kubes])
    assert "it was not verified that members trust this one" in told(alone)
    assert not alone.changed

    files = content(pki)
    documented("back up the CA's folder", world.folder)
    assert stat.S_IMODE((world.folder / "ledger-pki.tar.gz").stat().st_mode) == 0o600
    shutil.rmtree(pki.parent)
    assert "relies on the CA with the SHA-256 fingerprint" in message(play(hostnet_client="bob"))
    documented("restore the CA's folder", world.folder)
    assert content(pki) == files
    deployed = play("deploy.yml")
    assert deployed.rc == 0, deployed.output
    assert not deployed.changed, deployed.output
    with pytest.raises(subprocess.CalledProcessError):
        documented("restore the CA's folder", world.folder)
    assert content(pki) == files

    dropped = play(hostnet_drop_client="alice")
    assert "members of etcd cannot be told to refuse this one certificate" in told(dropped)
    assert not (pki / "clients/alice.key").exists()
    assert world.objects() == objects
    world.free()


def test_client_certificates_examples(run_tasks: Callable[..., PlayRun], run_module: Callable[..., Any], tmp_path: Path) -> None:
    made = run_module("host_certificates", {"pki_dir": str(tmp_path)})
    trust = {"revision": 1, "trusted": [made["ca"]["fingerprint"]], "issuer": made["ca"]["fingerprint"], "dropped": []}
    spec = system_spec("etcd")
    known = {
        "hostnet": {"name": "ledger", "system": "etcd", "pki_dir": str(tmp_path), "clients": ["client"]},
        "hostnet_spec": {key: spec[key] for key in ("client", "ports")},
        "hostnet_bindings": [binding("east", 0, "10.0.0.1")],
        "hostnet_deployment": {"plan": {"trust": trust}},
    }
    run = run_tasks(yaml.safe_load(client_certificates.EXAMPLES), variables=known)
    assert run.rc == 0, run.output
    found = run.of("client_certificates")[0]
    assert [row["client"] for row in found["clients"]] == ["alice", "client"], run.output
    returned = yaml.safe_load(client_certificates.RETURN)
    assert set(returned) <= {*found, "diff"}
    assert set(found["clients"][0]) == set(returned["clients"]["contains"])

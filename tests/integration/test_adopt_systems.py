# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real members that lose their majority for good, and are brought back by the commands of docs/recovery.md: what of them is adopted, and when.

With the flags, configuration and certificates that the roles render. tests/rollout/test_disasters.py does the same on kubelets.
"""

from __future__ import annotations

import contextlib
import importlib.util
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import adopt
from support import plans
from support.collection import CHECKOUT
from support.kube_api import binary
from support.member import Deployment, Json, binding, nats_peer_removed, on_wire, system_spec


def helpers(name: str, addresses: dict[str, str]) -> Any:
    """The helpers of the tests of a system's servers, for members with these addresses."""
    spec = importlib.util.spec_from_file_location(f"{name}_of_adopt", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.ADDRESSES = addresses
    return module


def adopted(deployment: Deployment, inspection: dict[str, Json], wanted: str, recorded: str) -> Json:
    """What adopt.yml would do where the VMs of all others are gone."""
    hostnet = {**deployment.hostnet, "data_root": "/var/lib/hostnet"}
    identity = plans.identity([str(entry["member"]) for entry in deployment.bindings], system=hostnet["system"], token=deployment.token)
    record = {"cluster_id": recorded, "token": deployment.token}
    observed = {name: plans.nothing(identity=identity, cluster_record=record) for name in ("east", "west")}
    return adopt.adoption(hostnet, {"members": deployment.bindings}, [], observed, inspection, wanted)


def names_of(bindings: list[Json]) -> list[str]:
    return [str(entry["member"]) for entry in bindings]


def test_etcd_is_adopted_once_it_is_restored_from_the_disk_of_one_member(tmp_path: Path) -> None:
    members = ["east-0", "east-1", "west-0"]
    servers = helpers("test_etcd_server", {"east-0": "192.0.2.51", "east-1": "192.0.2.52", "west-0": "192.0.2.53", "west-1": "192.0.2.54"})
    deployment = Deployment(tmp_path, "etcd", system_spec("etcd"), [servers.bound(member) for member in members], binary("etcd"))
    with deployment.running():
        seen = servers.when_healthy(deployment, members)
        before = str(seen["west-0"]["cluster_id"])
        for number in range(20):
            assert servers.ctl(deployment, "east-0", ["put", f"key-{number}", f"value-{number}"])["rc"] == 0
        assert adopted(deployment, seen, before, before)["drop"] == []
        for lost in ("east-0", "east-1"):
            deployment.stop(lost, signal.SIGKILL)
        refused = adopted(deployment, servers.inspect(deployment, ["west-0"]), before, before)
        assert refused["errors"]
        assert refused["keep"] == []
        deployment.stop("west-0")
        # The manifest of the document, run without a kubelet.
        text = (CHECKOUT / "docs" / "recovery.md").read_text()
        block = str(re.findall(r"```yaml\n(.*?)```", text.split("### etcd: from a snapshot", 1)[1], re.DOTALL)[0])
        host = on_wire(servers.ADDRESSES["west-0"])
        for word, value in {"MEMBER": "west-0", "HOST": host, "TOKEN": deployment.token}.items():
            block = re.sub(rf"\b{word}\b", value, block)
        pod = yaml.safe_load(block)["spec"]
        data = str(tmp_path / "west-0" / "data")
        for container in (*pod["initContainers"], *pod["containers"]):
            words = [re.sub(r"/data(?=/|$)", data, word) for word in container["command"]]
            words[0] = str(binary("etcdutl")) if words[0] == "/usr/local/bin/etcdutl" else words[0]
            subprocess.run(words, check=True, capture_output=True)
        deployment.start("west-0", state="existing")
        now = servers.when_healthy(deployment, ["west-0"])
        after = str(now["west-0"]["cluster_id"])
        assert after != before
        listed = servers.ctl(deployment, "west-0", ["get", "key-", "--prefix"])["stdout"].splitlines()
        assert dict(zip(listed[::2], listed[1::2], strict=True)) == {f"key-{number}": f"value-{number}" for number in range(20)}
        assert adopted(deployment, now, before, before)["errors"]
        found = adopted(deployment, now, after, before)
        assert (found["errors"], found["former"]) == ([], before)
        assert (names_of(found["keep"]), names_of(found["drop"])) == (["west-0"], ["east-0", "east-1"])


def test_nats_is_adopted_once_two_survivors_are_rescued(tmp_path: Path) -> None:
    addresses = {"east-0": "192.0.2.61", "east-1": "192.0.2.62", "east-2": "192.0.2.63", "west-0": "192.0.2.64", "west-1": "192.0.2.65"}
    servers = helpers("test_nats_server", addresses)
    lost, left = ["east-0", "east-1", "east-2"], ["west-0", "west-1"]
    bound = [binding(name.rpartition("-")[0], int(name.rpartition("-")[2]), address) for name, address in addresses.items()]
    deployment = Deployment(tmp_path, "nats", system_spec("nats"), bound, binary("nats-server"))

    def ask(member: str, subject: str, **body: Any) -> Json:
        pki = deployment.pki
        files = servers.nats_client.Files(
            str(pki / "ca.crt"), str(pki / member / "server.crt"), str(pki / member / "server.key"), str(pki / "system.nk")
        )
        question = servers.nats_client.Question(subject, body)
        address = on_wire(addresses[member])
        with contextlib.closing(servers.Wire(address, servers.CLIENT)) as wire:
            try:
                said: Json = servers.nats_client.converse(
                    wire, files.context(), address, servers.nats_client.read_seed(files.nkey), question
                )
            except (OSError, servers.nats_client.NatsError) as error:  # the first request may find no leader yet
                return {"error": str(error)}
            return said

    with deployment.running():
        seen = servers.wait_for(lambda: servers.all_current(list(addresses)), "five servers")
        token = deployment.token
        assert adopted(deployment, seen, token, token)["drop"] == []
        with contextlib.closing(servers.Client(addresses["west-0"], servers.context(deployment.pki))) as client:
            assert "error" not in client.request("$JS.API.STREAM.CREATE.orders", servers.STREAM)
            for number in range(20):
                assert client.request(f"orders.{number}", b"x")["seq"] == number + 1
        for member in lost:
            deployment.stop(member, signal.SIGKILL)
        servers.wait_for(lambda: not any(entry["healthy"] for entry in servers.inspect(left).values()), "the loss to be noticed")
        assert adopted(deployment, servers.inspect(left), token, token)["errors"]
        for member in lost:
            servers.wait_for(lambda member=member: nats_peer_removed(ask, member), f"{member} to be removed")
        now = servers.wait_for(lambda: servers.all_current(left), "two servers that are well")
        found = adopted(deployment, now, token, token)
        assert found["errors"] == []
        assert (names_of(found["keep"]), names_of(found["drop"])) == (left, lost)
        with contextlib.closing(servers.Client(addresses["west-1"], servers.context(deployment.pki))) as client:
            assert client.request("$JS.API.STREAM.INFO.orders")["state"]["messages"] == 20

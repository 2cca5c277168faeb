# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where an installed collection keeps the CA: built, installed and run as a user does, against real API servers without kubelets.

A deploy ends at the first pod here, which nobody starts; the CA is made before that. What must not count as a place that lasts is what a test has: a
temporary folder, perhaps in a container. So Ansible runs in a mount namespace of its own, where a folder of the checkout is /lasting.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.identity import record_labels
from ansible_collections.hostnet.multicluster.plugins.module_utils._pki import place
from ansible_collections.hostnet.multicluster.plugins.modules import ca_info
from support.collection import CHECKOUT
from support.kube_api import KubeApi, create_node
from support.run import PlayRun, TaskResult, ansible_environment

Json = dict[str, Any]
LASTING = Path("/lasting")
COLLECTION = LASTING / "collections" / "ansible_collections" / "hostnet" / "multicluster"

RECORD = {"system": "etcd", "placement": "node_name", "members": "east-0,east-1,west-0", "claimed_by": "version 0.2.0"}

# Everything that / has, but for hidden files such as .dockerenv, and one folder more.
NAMESPACE = """
new=$1 outside=$2
shift 2
mount -t tmpfs none "$new"
for path in /*; do
  if [ -L "$path" ]; then cp -P "$path" "$new$path"
  elif [ -d "$path" ]; then mkdir "$new$path" && mount --rbind "$path" "$new$path"
  fi
done
mkdir "$new/lasting" && mount --bind "$outside" "$new/lasting"
exec chroot "$new" "$@"
"""


class Operator:
    """Somebody's machine, whose folder /lasting is `folder` here. The collection is installed there from its artifact."""

    def __init__(self, folder: Path, kubes: Sequence[KubeApi]) -> None:
        self.folder = folder
        self.kubes = kubes
        self.name = ""
        (folder / "root").mkdir()
        self.artifact = ""

    def here(self, path: Path) -> Path:
        """What is `path` to the operator."""
        return self.folder / path.relative_to(LASTING)

    def run(self, *command: str, **environment: str) -> tuple[int, str]:
        unshare = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"]), "sh", "-ec", NAMESPACE, "sh"]
        given = ansible_environment(LASTING / "results.jsonl", ANSIBLE_COLLECTIONS_PATH=str(LASTING / "collections"), **environment)
        given = {key: value for key, value in given.items() if key not in place._PODS}
        # The callback plugin is the checkout's, the collection is not.
        done = subprocess.run(
            [*unshare, str(self.folder / "root"), str(self.folder), *command],
            env=given,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout

    def galaxy(self, *arguments: str) -> None:
        code, output = self.run(sys.executable, str(Path(sys.executable).parent / "ansible-galaxy"), "collection", *arguments)
        assert code == 0, output

    def install(self) -> None:
        self.galaxy("install", "--offline", "--force", "--collections-path", str(LASTING / "collections"), self.artifact)

    def inventory(self, name: str) -> Path:
        """A folder with an inventory, and without the host localhost."""
        self.here(LASTING / name).mkdir()
        (self.here(LASTING / name) / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": {"other": {}}}}))
        return LASTING / name

    def deploy(self, *sources: Path, check: bool = False) -> PlayRun:
        given = {
            "hostnet_system": "etcd",
            "hostnet_name": self.name,
            "hostnet_kube_clusters": [kube.entry for kube in self.kubes],
            "hostnet_timeout_seconds": 3,
            "hostnet_node_selector": "!node-role.kubernetes.io/control-plane",
        }
        results = self.here(LASTING / "results.jsonl")
        results.unlink(missing_ok=True)
        playbook = [sys.executable, str(Path(sys.executable).parent / "ansible-playbook"), "hostnet.multicluster.deploy"]
        arguments = [word for source in sources for word in ("-i", str(source))] + ["--check"] * check + ["-e", json.dumps(given)]
        code, output = self.run(*playbook, *arguments, ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED="1")
        lines = results.read_text().splitlines() if results.exists() else []
        return PlayRun(code, [TaskResult(**json.loads(line)) for line in lines], output)

    def place(self, run: PlayRun) -> Json:
        """What ca_info said in this run."""
        [found] = run.of("ca_info")
        return found

    def authorities(self) -> list[Path]:
        """Every key of a CA for this deployment on the machine."""
        return [LASTING / path.relative_to(self.folder) for path in sorted(self.folder.rglob(f"{self.name}/ca.key"))]


def refusal(run: PlayRun) -> str:
    """The one error of a run that changed nothing."""
    assert run.rc != 0, run.output
    [text] = [str(task.result.get("msg", "")) for task in run.tasks if task.outcome == "failed"]
    assert not run.changed, run.output
    return text


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifact")
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=CHECKOUT, stdout=subprocess.PIPE, check=True
    )
    for name in names.stdout.decode().split("\0"):
        if (
            name.split("/")[0] in ("README.md", "LICENSE", "galaxy.yml", "meta", "playbooks", "plugins", "roles")
            and (CHECKOUT / name).is_file()
        ):
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CHECKOUT / name, folder / "source" / name)
    galaxy = [
        sys.executable,
        str(Path(sys.executable).parent / "ansible-galaxy"),
        "collection",
        "build",
        "--output-path",
        str(folder),
        str(folder / "source"),
    ]
    subprocess.run(galaxy, env=ansible_environment(folder / "results"), stdout=subprocess.DEVNULL, check=True)
    [built] = folder.glob("*.tar.gz")
    return built


@pytest.fixture(scope="module")
def machine(kube_api: KubeApi, kube_api_two: KubeApi, artifact: Path) -> Iterator[Operator]:
    output = CHECKOUT / "tests" / "output"
    output.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="operator-", dir=output) as temporary:
        found = Operator(Path(temporary), [kube_api, kube_api_two])
        kind = place._file_system(place._device(temporary))
        if kind in place._THROW_AWAY_FILE_SYSTEMS:
            pytest.skip(f"the checkout is on a file system that does not last: {kind}")
        code, said = found.run("true")
        if code != 0:
            pytest.skip(f"no mount namespace can be made here: {said}")
        shutil.copy(artifact, found.folder / artifact.name)
        found.artifact = str(LASTING / artifact.name)
        found.install()
        yield found


@pytest.fixture
def operator(machine: Operator, no_nodes: None) -> Operator:
    """The machine, with nodes in both kube clusters and the name of a deployment that nobody has used."""
    machine.name = f"pki-{secrets.token_hex(3)}"
    for kube, name, address in zip((0, 0, 1), ("east-1", "east-2", "west-1"), ("10.0.0.1", "10.0.0.12", "10.0.1.1"), strict=True):
        create_node(machine.kubes[kube], name, address=address)
    return machine


def test_an_installed_collection_is_not_where_the_ca_is(operator: Operator) -> None:
    """The case of the issue: a folder as inventory, deploy.yml, and then the next version of the collection."""
    inventory = operator.inventory("prod")
    wanted = inventory / ".hostnet-pki" / operator.name
    run = operator.deploy(inventory)
    assert operator.place(run)["path"] == str(wanted), run.output
    # It got as far as a pod, which nobody starts here.
    assert "node_job" in [task.action.rpartition(".")[2] for task in run.tasks if task.outcome == "failed"], run.output
    assert operator.authorities() == [wanted / "ca.key"]
    folder = operator.here(wanted)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert (folder / ".gitignore").read_text() == "*\n"
    key = (folder / "ca.key").read_bytes()
    operator.install()
    assert (folder / "ca.key").read_bytes() == key
    # Ansible does not take the CA for an inventory, and however the inventory is named, the CA is that one.
    found = operator.place(operator.deploy(inventory / "hosts.yml", inventory, check=True))
    assert (found["path"], found["has_key"], found["left"]) == (str(wanted), True, [])


def test_no_place_is_guessed(operator: Operator) -> None:
    east, west = operator.inventory("east"), operator.inventory("west")
    inside = COLLECTION / "inventories"
    operator.here(inside).mkdir()
    shutil.copy(operator.here(east) / "hosts.yml", operator.here(inside) / "hosts.yml")
    said = {refusal(operator.deploy(*sources)) for sources in ((east, west), (west, east))}
    assert len(said) == 1
    assert f"are in 2 folders, {east} and {west}" in said.pop()
    text = refusal(operator.deploy(inside))
    assert "is inside of the collection hostnet.multicluster, whose next installation deletes it" in text
    assert "set hostnet_pki_dir to a folder that lasts" in text
    assert operator.authorities() == []


def test_what_version_0_2_0_left_in_the_collection_is_named_and_moved_by_the_printed_command(
    operator: Operator, run_module: Callable[..., Json], kube_clusters: list[Json]
) -> None:
    inventory = operator.inventory("old")
    wanted = inventory / ".hostnet-pki" / operator.name
    old = COLLECTION / "playbooks" / "pki" / operator.name
    made = run_module("host_certificates", {"pki_dir": str(operator.here(old))})
    namespace = f"hostnet-{operator.name}"
    for kube in operator.kubes:
        kube.request_json("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
        record = {"token": f"{operator.name}-5f0c9a71", "ca_fingerprint": made["ca"]["fingerprint"], **RECORD}
        labels = record_labels(operator.name, "etcd")
        body = {"metadata": {"name": f"{operator.name}-identity", "labels": labels}, "data": record, "immutable": True}
        kube.request_json("POST", f"/api/v1/namespaces/{namespace}/configmaps", body)
    said = refusal(operator.deploy(inventory))
    assert f"relies on the CA with the SHA-256 fingerprint {made['ca']['fingerprint']}" in said
    command = f"mkdir -p -m 0700 {wanted.parent} && mv {old} {wanted}"
    assert f"That CA is in {old}, where an older version left it: `{command}` moves it" in said
    code, output = operator.run("sh", "-ec", command)
    assert code == 0, output
    found = operator.place(operator.deploy(inventory, check=True))
    assert (found["path"], found["fingerprint"], found["has_key"], found["left"]) == (str(wanted), made["ca"]["fingerprint"], True, [])
    assert operator.authorities() == [wanted / "ca.key"]


def test_ca_info_examples(run_tasks: Callable[..., PlayRun], tmp_path: Path) -> None:
    run = run_tasks(yaml.safe_load(ca_info.EXAMPLES), variables={"hostnet_pki_dir": str(tmp_path / "pki")})
    assert run.rc == 0, run.output
    assert run.of("ca_info")[0]["path"] == str(tmp_path / "pki")

# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/quickstart.md on a new machine: a home and a Python of its own, the artifact, a kubeconfig, and the commands that stand in the text.

What is not in the text is what only the lab has: names of contexts, which nodes are labelled, and an image with another digest.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from support.collection import CHECKOUT, cache_root

from .harness import LAB

pytestmark = [pytest.mark.lab, pytest.mark.long]

PAGE = (CHECKOUT / "docs" / "quickstart.md").read_text()
RECOVERY = (CHECKOUT / "docs" / "recovery.md").read_text()
KUBE_CLUSTERS = ["east", "west"]


def section(title: str) -> str:
    """A chapter of the page."""
    return PAGE.partition(f". {title}\n")[2].partition("\n## ")[0]


def blocks(text: str, kind: str = "") -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def in_table(text: str, begins: str) -> str:
    """The command in the row of a table that begins with this."""
    row = next(line for line in text.splitlines() if line.startswith(f"| {begins}"))
    return next(str(code) for code in re.findall(r"`([^`]+)`", row) if code.startswith("ansible-playbook "))


def lab(*words: str) -> str:
    done = subprocess.run([str(LAB), *words], capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    return (done.stdout.strip().splitlines() or [""])[-1]


@dataclass
class Machine:
    """A user's: nothing of the checkout is on any path."""

    home: Path
    kubeconfig: str

    def run(self, command: str, folder: str = "", answer: str = "") -> str:
        path = f"{self.home}/python/bin:{cache_root()}/bin:/usr/local/bin:/usr/bin:/bin"
        kept = {key: value for key, value in os.environ.items() if key.startswith(("PIP_", "SSL_", "HTTP", "NO_PROXY", "REQUESTS_"))}
        environment = {**kept, "HOME": str(self.home), "PATH": path, "KUBECONFIG": self.kubeconfig, "LANG": "C.UTF-8"}
        done = subprocess.run(
            ["bash", "-ec", command],
            cwd=self.home / folder,
            env=environment,
            input=answer,
            capture_output=True,
            text=True,
            check=False,
            timeout=1800,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout


@pytest.fixture
def machine() -> Iterator[Machine]:
    # Not in a temporary folder, where no CA's key is put.
    home = cache_root() / "quickstart"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    lab("up", "east:3,west:2")
    subprocess.run([sys.executable, "-m", "venv", home / "python"], check=True)
    made = Machine(home, lab("kubeconfig"))
    made.run(f"pip install --quiet ansible-core=={version('ansible-core')}")
    subprocess.run(["ansible-galaxy", "collection", "build", "--output-path", str(home)], cwd=CHECKOUT, check=True, capture_output=True)
    try:
        yield made
    finally:
        if (home / "prod").exists():
            made.run(f"{in_table(section('Day two'), 'remove all of it')} -e hostnet_remove_name=ledger -e hostnet_remove_data=true")
        shutil.rmtree(home)
        lab("down")
        lab("up", "east:3,west:2")


def test_by_its_own_commands(machine: Machine) -> None:
    for command in "\n".join(blocks(section("Install"))).splitlines():
        machine.run(command)

    label = re.findall(r"kubectl label node NODE (\S+=\w+)", section("A node pool for the members"))[0]
    for kube in KUBE_CLUSTERS:
        machine.run(f"kubectl --context {kube} label node --selector '!node-role.kubernetes.io/control-plane' {label}")
    for command in "\n".join(blocks(section("Access"))).splitlines():
        for kube in KUBE_CLUSTERS:
            machine.run(command.replace("CONTEXT", kube).replace("docs/rbac.yaml", f"{CHECKOUT}/docs/rbac.yaml"))

    inventory, variables = (yaml.safe_load(block) for block in blocks(section("Inventory"), "yaml"))
    for entry, kube in zip(inventory["kube_clusters"], KUBE_CLUSTERS, strict=True):
        entry["context"] = kube
    (machine.home / "prod" / "group_vars").mkdir(parents=True)
    (machine.home / "prod" / "ledger.hostnet.yml").write_text(yaml.safe_dump(inventory))
    # Nothing can be pulled where the lab is; and a machine that is a container has to be told that the folder lasts, which is the one of the text.
    here = {"hostnet_probe_image": "docker.io/library/busybox:1.37", "hostnet_pki_dir": str(machine.home / "prod/.hostnet-pki/ledger")}
    (machine.home / "prod" / "group_vars" / "all.yml").write_text(yaml.safe_dump({**variables, **here}))
    assert machine.run("ansible-inventory -i prod --graph").count("worker") >= 5

    checked, deployed, looked = map(machine.run, blocks(section("Dry run, deploy, verify"))[0].splitlines())
    assert "europe-2" in checked
    assert "changed=0" in checked or "changed=" in checked
    assert "failed=0" in deployed
    assert "ledger (etcd, node_name): healthy, 5 of 5 members" in looked
    assert "changed=0" in machine.run(blocks(section("Dry run, deploy, verify"))[0].splitlines()[1])
    machine.run(blocks(RECOVERY.partition("<!-- back up the CA's folder -->")[2])[0])
    assert (machine.home / "ledger-pki.tar.gz").stat().st_size > 0

    issue, use = blocks(section("The first client"))
    machine.run(issue)
    folder = "prod/.hostnet-pki/ledger/clients"
    first, *each = use.splitlines()
    put = next(line for line in each if "etcdctl" in line)
    assert "OK" in machine.run(f"{first}\n{put}", folder)

    upgrade = in_table(section("Day two"), "upgrade a node pool")
    pool = subprocess.Popen(
        [str(LAB), "pool-upgrade", "west", "--as", "gke", "--factor", "12", "--labels", label],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        # The other pool's upgrade is not begun, so the play is told whom to follow.
        followed = machine.run(f'{upgrade} -e \'{{"hostnet_members": ["us-0", "us-1"]}}\'')
        assert pool.wait(900) == 0
    finally:
        pool.kill()
    assert "failed=0" in followed

    machine.run(issue)
    assert machine.run(f"{first}\n{put.partition(';')[0]}; etcdctl get hello", folder).split() == ["hello", "world"]
    status = blocks(section("Dry run, deploy, verify"))[0].splitlines()[2]
    assert "healthy, 5 of 5 members" in machine.run(f"{status} -e hostnet_status_html={machine.home}/status.html")
    assert "<title>" in (machine.home / "status.html").read_text()

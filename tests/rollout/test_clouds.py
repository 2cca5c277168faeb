# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Node pools of the lab are upgraded as clouds do it while upgrade.yml follows, and the checker writes all the time.

What the clouds do here (`lab pool-upgrade`) knows nothing of the playbooks: it evicts, waits as long as that cloud waits, and takes the VM. The commit
chooses which cloud, system and placement `make test` runs; `make soak` runs all.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from support.commit import part

from .harness import LAB, Choice, Json, Stage

pytestmark = pytest.mark.lab

# By what the cloud's times are divided. Its limit is longer than one member takes here: some 30 seconds beside a checker on two cores.
FACTORS = {"gke": 40, "gke-blue-green": 40, "eks": 8, "aks": 20, "mco": 40}
CASES = [(cloud, system, placement) for cloud in FACTORS for system in ("etcd", "nats") for placement in ("node_name", "daemonset")]


@pytest.fixture
def staged(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    """The deployment of the case, in a lab whose nodes no cloud has marked."""
    system, placement = request.param
    stage = Stage(Choice(system, placement, "clouds"), tmp_path)
    stage.verb("up", "east:3,west:2")
    stage.remove()
    stage.deploy()
    try:
        yield stage
    finally:
        stage.remove()
        stage.verb("down")
        stage.verb("up", "east:3,west:2")


def chosen(cases: Sequence[tuple[str, str, str]]) -> list[object]:
    now = set(part(cases, 1))
    return [
        pytest.param((system, placement), cloud, id=f"{cloud}-{system}-{placement}", marks=[] if case in now else [pytest.mark.long])
        for case in cases
        for cloud, system, placement in [case]
    ]


class Pool:
    """A pool that is being upgraded as a cloud does it."""

    def __init__(self, stage: Stage, kube: str, cloud: str, *words: str) -> None:
        self.log = stage.folder / f"pool-{kube}.log"
        command = [str(LAB), "pool-upgrade", kube, "--as", cloud, "--factor", str(FACTORS[cloud]), "--seed", "7", *words]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)

    def end(self) -> str:
        """What it printed; the cloud's upgrade has to end well."""
        rc = self.process.wait(1500)
        text = self.log.read_text(errors="replace")
        assert rc == 0, text
        return text


def followed(stage: Stage, clouds: dict[str, str], *words: str, most_down: int = 1) -> Json:
    """Upgrades these kube clusters' pools beside the playbook; the checker's verdict."""
    first = stage.cluster_ids()
    members = sorted(member for member, (kube, _node) in stage.members().items() if kube in clouds)
    before = {node.metadata.uid for kube in clouds for node in stage.nodes(kube)}
    work = "reboot" if "mco" in clouds.values() else "replace"
    with stage.load(most_down) as load:
        playbook = stage.start(
            "upgrade.yml", hostnet_work=work, hostnet_replace_tasks="wait", hostnet_members=members, hostnet_follow_seconds=240
        )
        pools = [Pool(stage, kube, cloud, *words) for kube, cloud in clouds.items()]
        try:
            run = playbook.wait()
            texts = [pool.end() for pool in pools]
        finally:
            for pool in pools:
                pool.process.kill()
                pool.process.wait()
        verdict = load.end()
    print(json.dumps({key: verdict[key] for key in ("result", "reasons", "writes", "lost", "gaps", "down")}))
    assert run.rc == 0, f"{run.failure}\n{run.log.read_text(errors='replace')[-3000:]}"
    assert verdict["result"] == "holds", (verdict["reasons"], texts)
    assert sorted(stage.done()) == members
    assert stage.problems(first["east"]) == []
    # They are all members again, and on VMs of the new generation.
    assert sorted(member for member, (kube, _node) in stage.members().items() if kube in clouds) == members
    after = {node.metadata.uid for kube in clouds for node in stage.nodes(kube)}
    assert (after == before) if work == "reboot" else not after & before
    return verdict


@pytest.mark.parametrize(("staged", "cloud"), chosen(CASES), indirect=["staged"])
def test_a_pools_upgrade_is_followed(staged: Stage, cloud: str) -> None:
    verdict = followed(staged, {"west": cloud})
    assert verdict["lost"] == 0


@pytest.mark.long
@pytest.mark.parametrize("staged", [("etcd", "node_name"), ("nats", "daemonset")], indirect=True)
def test_two_pools_are_upgraded_in_the_same_minute(staged: Stage) -> None:
    followed(staged, {"east": "gke", "west": "gke"})

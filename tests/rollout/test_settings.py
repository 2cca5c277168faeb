# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A setting of the system that a rollout changes comes back, wherever the rollout is killed (invariant 12).

etcd has no such settings, so a key stands for one: it is read and written by the same commands in the same containers as CockroachDB's would be.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import client
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.exec import run_command
from support.collection import CHECKOUT

from .harness import KUBE_CLUSTERS, Attempt, Choice, Json, Stage

pytestmark = pytest.mark.lab

SETTING, BEFORE, MEANWHILE = "dead.after", "00:05:00", "00:30:00"


class Kept(Stage):
    """etcd with a setting that `version` changes."""

    def variables(self, **more: Any) -> Json:
        role = yaml.safe_load((CHECKOUT / "roles/system_etcd/vars/main.yml").read_text())
        settings = {
            "read": "{{ system_etcd_ctl + ['get', '{setting}', '--print-value-only'] }}",
            "write": "{{ system_etcd_ctl + ['put', '{setting}', '{value}'] }}",
            "values": {"version": {SETTING: MEANWHILE}},
        }
        return super().variables(system_etcd_spec={**role["system_etcd_spec"], "settings": settings}, **more)

    def etcdctl(self, *words: str) -> str:
        """Asked through the first member that answers."""
        clusters = client.connect(self.lab.kube_clusters)
        for kube, cluster in clusters.items():
            for pod in self.core(kube).list_namespaced_pod(self.namespace).items:
                argv = ["/usr/local/bin/etcdctl", f"--endpoints=https://{pod.status.host_ip}:2379", "--cacert=/etc/hostnet/certs/ca.crt"]
                argv += ["--cert=/etc/hostnet/certs/server.crt", "--key=/etc/hostnet/certs/server.key", *words]
                try:
                    said = run_command(cluster, self.namespace, pod.metadata.name, "etcd", argv, time.monotonic() + 20)
                except client.KubeError:
                    continue
                if said["rc"] == 0:
                    return str(said["stdout"]).strip()
        raise AssertionError("no member answers")

    @property
    def value(self) -> str:
        return self.etcdctl("get", SETTING, "--print-value-only")

    @property
    def saved(self) -> list[Json]:
        return [self.journal(kube).get("saved", {}) for kube in KUBE_CLUSTERS]

    def roll(self, member: str, failpoint: str = "", **more: Any) -> Attempt:
        return self.start("upgrade.yml", failpoint=failpoint, hostnet_work="version", hostnet_members=[member], **more).wait()


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    stage = Kept(Choice(name="settings"), tmp_path)
    stage.remove()
    stage.deploy()
    try:
        stage.etcdctl("put", SETTING, BEFORE)
        yield stage
    finally:
        stage.remove()


def test_a_setting_comes_back_after_kills_and_after_an_abort(kept: Kept) -> None:
    first, second = sorted(kept.members())[:2]
    kept.next_image()
    both = [{SETTING: BEFORE}] * 2
    for failpoint, value, saved in (
        ("journal:save:after", BEFORE, both),
        ("restart:after-begin", MEANWHILE, both),
        # It is back already, and the journal does not say so yet: it is put back once more.
        ("journal:finish:before", BEFORE, both),
    ):
        attempt = kept.roll(first, failpoint)
        assert attempt.killed, attempt.failure
        assert (kept.value, kept.saved) == (value, saved), failpoint
    done = kept.roll(first)
    assert done.rc == 0, done.failure
    assert (kept.value, kept.saved, kept.journal("east")["state"]) == (BEFORE, [{}, {}], "done")

    assert kept.roll(second, "drain:before-begin").killed
    assert (kept.value, kept.saved) == (MEANWHILE, both)
    aborted = kept.roll(second, hostnet_abort=True)
    assert aborted.rc == 0, aborted.failure
    assert (kept.value, kept.saved, kept.journal("east")["state"]) == (BEFORE, [{}, {}], "aborted")

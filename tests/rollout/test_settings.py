# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of a system: one that a rollout changes comes back, wherever the rollout is killed (invariant 12); one that a deploy changes comes with a restart.

etcd has no such settings, so a key stands for one: it is read and written by the same commands in the same containers as CockroachDB's would be.
"""

from __future__ import annotations

import re
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

SMALL = 8 * 1024 * 1024
# Linux takes no longer argument of a command than 128 KiB.
VALUE = "x" * 120_000
SETTING, BEFORE, MEANWHILE = "dead.after", "00:05:00", "00:30:00"


class Etcd(Stage):
    """etcd, and its own tool in the members' containers."""

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


class Kept(Etcd):
    """etcd with a setting that `version` changes."""

    def variables(self, **more: Any) -> Json:
        role = yaml.safe_load((CHECKOUT / "roles/system_etcd/vars/main.yml").read_text())
        settings = {
            "read": "{{ system_etcd_ctl + ['get', '{setting}', '--print-value-only'] }}",
            "write": "{{ system_etcd_ctl + ['put', '{setting}', '{value}'] }}",
            "values": {"version": {SETTING: MEANWHILE}},
        }
        return super().variables(system_etcd_spec={**role["system_etcd_spec"], "settings": settings}, **more)

    @property
    def value(self) -> str:
        return self.etcdctl("get", SETTING, "--print-value-only")

    @property
    def saved(self) -> list[Json]:
        return [self.journal(kube).get("saved", {}) for kube in KUBE_CLUSTERS]

    def roll(self, member: str, failpoint: str = "", **more: Any) -> Attempt:
        return self.start("upgrade.yml", failpoint=failpoint, hostnet_work="version", hostnet_members=[member], **more).wait()


class Small(Etcd):
    """etcd that is soon full."""

    quota = SMALL

    def variables(self, **more: Any) -> Json:
        return super().variables(system_etcd_quota_bytes=self.quota, **more)

    def fill(self) -> None:
        """Writes until it takes no more."""
        for number in range(2 * SMALL // len(VALUE)):
            try:
                self.etcdctl("put", f"fill/{number}", VALUE)
            except AssertionError:
                return
        raise AssertionError(f"it has taken more than its quota of {SMALL} bytes")

    def starts(self) -> dict[str, str]:
        """Member -> UID of its pod."""
        pods = [pod for kube in KUBE_CLUSTERS for pod in self.core(kube).list_namespaced_pod(self.namespace).items]
        label = "hostnet.multicluster/member"
        return {
            pod.metadata.labels[label]: pod.metadata.uid
            for pod in pods
            if "guard" not in pod.metadata.name and label in pod.metadata.labels
        }


@pytest.mark.long
def test_a_full_etcd_is_mended_by_a_restart_with_a_larger_quota(tmp_path: Path) -> None:
    stage = Small(Choice(name="settings"), tmp_path)
    stage.remove()
    stage.deploy()
    try:
        before = stage.starts()
        assert len(before) == 5
        stage.fill()
        assert "alarm:NOSPACE" in stage.etcdctl("alarm", "list")
        status = stage.start("status.yml").wait()
        assert "alarm:NOSPACE" in " ".join(status.log.read_text().split())
        # It is well but for that: nobody is told that the majority is lost, and nothing is begun that takes a VM away.
        reboot = stage.start("upgrade.yml", hostnet_work="reboot").wait()
        assert "alarms of etcd: NOSPACE" in reboot.failure
        assert reboot.changed == []

        stage.quota = 8 * SMALL
        deployed = stage.start("deploy.yml").wait()
        assert deployed.rc == 0, deployed.failure
        assert stage.starts() == before, "a deploy restarts nobody"
        status = stage.start("status.yml").wait()
        said = re.search("another image or configuration was deployed since (.*?) started", " ".join(status.log.read_text().split()))
        assert said
        assert set(said[1].split(", ")) == set(before)
        first = stage.start("upgrade.yml", hostnet_work="restart", hostnet_max_members=1).wait()
        assert first.rc == 0, first.failure
        assert len(stage.starts().items() & before.items()) == 4
        rest = stage.start("upgrade.yml", hostnet_work="restart").wait()
        assert rest.rc == 0, rest.failure
        after = stage.starts()
        assert set(after) == set(before)
        assert not after.items() & before.items()
        stage.etcdctl("alarm", "disarm")
        stage.etcdctl("put", "fill/last", VALUE)
        again = stage.start("upgrade.yml", hostnet_work="restart").wait()
        assert (again.rc, again.changed, stage.starts()) == (0, [], after), again.failure
    finally:
        stage.remove()


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

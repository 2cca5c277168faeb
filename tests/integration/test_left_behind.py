# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""kill -9 of a real ansible-playbook: its lock is taken over only when nothing of what it had started lives any more."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import processes
from ansible_collections.hostnet.multicluster.plugins.modules import rollout_lock
from support.collection import CHECKOUT
from support.in_process import perform
from support.kube_api import KubeApi
from support.run import ansible_environment

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

Json = dict[str, Any]

PLAY = """
- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - name: Lock
      hostnet.multicluster.rollout_lock:
        kube_clusters: "{{ kube_clusters }}"
        name: ledger
        namespace: "{{ deployment_namespace }}"
        run_id: r1
    - name: The hook
      ansible.builtin.include_tasks: hook.yml
"""
HOOKS = {
    # It waits for its command, as for a cloud's command line.
    "waits": """
- name: Replace the VM
  ansible.builtin.command: sh -c 'echo $$ > begun; exec sleep 1000'
  args: {chdir: "{{ playbook_dir }}"}
""",
    # What it had started is in a session of its own, and nobody waits for it.
    "detached": """
- name: Replace the VM in the background
  ansible.builtin.shell: setsid sleep 1000 < /dev/null > /dev/null 2>&1 & echo $! > begun
  args: {chdir: "{{ playbook_dir }}"}
- name: Go on
  ansible.builtin.command: sleep 1000
""",
    # Between two tries nothing runs but the worker, which would try again.
    "tries": """
- name: Ask the cloud until it is done
  ansible.builtin.command: sh -c 'echo $PPID > begun; exit 1'
  args: {chdir: "{{ playbook_dir }}"}
  register: asked
  until: asked is success
  retries: 1000
  delay: 1000
""",
}


@pytest.fixture
def reaper() -> Iterator[None]:
    """Orphans come to this process, which asks for their end when it likes: until then they are zombies."""
    prctl, option = ctypes.CDLL(None).prctl, 36  # PR_SET_CHILD_SUBREAPER
    prctl(option, 1)
    try:
        yield
    finally:
        prctl(option, 0)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def call(options: Json) -> Json:
    return perform(rollout_lock, options)


@pytest.mark.parametrize("kind", sorted(HOOKS))
def test_the_lock_is_taken_over_when_nothing_of_the_dead_run_is_left(
    kube_clusters: list[Json], kube_api: KubeApi, namespace: str, tmp_path: Path, reaper: None, kind: str
) -> None:
    (tmp_path / "play.yml").write_text(PLAY)
    (tmp_path / "hook.yml").write_text(HOOKS[kind])
    variables = json.dumps({"kube_clusters": kube_clusters, "deployment_namespace": namespace})
    command = [sys.executable, str(Path(sys.executable).parent / "ansible-playbook"), str(tmp_path / "play.yml"), "-e", variables]
    log = (tmp_path / "log").open("wb")
    playbook = subprocess.Popen(
        command, env=ansible_environment(tmp_path / "results.jsonl"), cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=log, stderr=log
    )
    log.close()
    begun = tmp_path / "begun"
    remaining: list[int] = []
    try:
        until(lambda: (begun.exists() and begun.read_text().strip()) or playbook.poll() is not None)
        assert playbook.poll() is None, (tmp_path / "log").read_text()
        path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/ledger-rollout"
        holder = json.loads(kube_api.request_json("GET", path)["metadata"]["annotations"]["hostnet.multicluster/holder"])
        assert holder["pid"] == playbook.pid
        assert len(holder["mark"]) == 32

        def left() -> dict[int, str]:
            return {entry.pid: entry.text for entry in processes.left_of(holder["mark"], holder["started"], holder["cgroup"])}

        if kind == "tries":
            # The command has ended, and the worker waits before it tries again.
            until(lambda: len(left()) == 2)
        mine = {"kube_clusters": kube_clusters, "name": "ledger", "namespace": namespace, "run_id": "r2"}
        assert "Wait until that run ends" in call(mine)["msg"]
        playbook.kill()
        os.waitid(os.P_PID, playbook.pid, os.WEXITED | os.WNOWAIT)
        found, refused = left(), call(mine)
        while found != left():
            # Some were about to end themselves, as a worker whose playbook is gone.
            found, refused = left(), call(mine)
        remaining = list(found)
        assert remaining
        assert playbook.pid not in found, "a zombie is dead"
        if kind != "tries":
            sleeping = int(begun.read_text())
            assert found[sleeping] == f"process {sleeping} (sleep)"
        assert refused["failed"]
        assert (
            f"in kube cluster east, west by run r1 of {holder['user']} on host {holder['host']}, process {playbook.pid}" in refused["msg"]
        )
        assert "That process has ended, and of what it started there may be left" in refused["msg"]
        assert all(text in refused["msg"] for text in found.values())
        assert f"ps -fp {','.join(str(pid) for pid in sorted(found))} shows it" in refused["msg"]
        assert {entry["state"] for entry in refused["holders"].values()} == {"left"}
        if kind == "detached":
            # Everything but the one that nobody waits for.
            for pid in remaining:
                if pid != int(begun.read_text()):
                    os.kill(pid, signal.SIGKILL)
            until(lambda: list(left()) == [int(begun.read_text())])
            assert call(mine)["failed"]
        for pid in left():
            os.kill(pid, signal.SIGKILL)
        until(lambda: not left())
        assert os.path.exists(f"/proc/{remaining[0]}"), "a zombie, which is none that is left"
        taken = call(mine)
        assert not taken.get("failed"), taken
        assert taken["taken_over_from"] == ["r1"]
        assert "its process has ended, and nothing of it is left" in taken["warnings"][0]
    finally:
        playbook.kill()
        playbook.wait()
        for pid in remaining:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

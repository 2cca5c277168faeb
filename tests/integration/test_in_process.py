# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules inside of Ansible's own process, in playbooks against real API servers."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.in_process import call_module
from support.kube_api import KubeApi
from support.run import PlayRun, ansible_environment

Json = dict[str, Any]
RunTasks = Callable[..., PlayRun]
MODULE = "hostnet.multicluster.nodes_info"
# No process can be started with it, so what ran did so in Ansible's.
NO_INTERPRETER = {"ansible_python_interpreter": "/nonexistent/python3"}


def test_no_process_is_started(run_tasks: RunTasks, kube_clusters: list[Json]) -> None:
    run = run_tasks([{MODULE: {"kube_clusters": kube_clusters}}] * 2, variables=NO_INTERPRETER)
    assert run.rc == 0, run.output
    assert [result["requests"] for result in run.of("nodes_info")] == [4, 4]
    # The very same as a module gives.
    own = call_module("nodes_info", {"kube_clusters": kube_clusters})
    own.pop("invocation", None)
    first = run.of("nodes_info")[0]
    assert {key: first[key] for key in own} == own
    assert set(first) - set(own) <= {"failed", "_ansible_no_log"}


@pytest.mark.parametrize("module", ["deployment_info", "identity", "manifests", "member_exec", "node_labels", "node_run"])
def test_every_module_runs_inside(run_tasks: RunTasks, kube_clusters: list[Json], namespace: str, module: str) -> None:
    named = {"name": "ledger", "namespace": namespace}
    claim = {"system": "etcd", "placement": "node_name", "ca_fingerprint": "ab", "token": "ledger-1"}
    configmap = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": namespace}, "data": {"a": "1"}}
    options: dict[str, Json] = {
        "deployment_info": named,
        "identity": {**named, **claim},
        "manifests": {"objects": [{"kube_cluster": "east", "definition": configmap}]},
        "member_exec": {"members": []},
        "node_labels": {},
        "node_run": {"namespace": namespace, "image": "example.test/x:1", "script": "true", "nodes": []},
    }
    task = {f"hostnet.multicluster.{module}": {"kube_clusters": kube_clusters, **options[module]}}
    run = run_tasks([task, task], variables=NO_INTERPRETER, diff=True)
    assert run.rc == 0, run.output
    first, second = run.of(module)
    assert first["changed"] == (module in {"identity", "manifests"})
    assert not second["changed"]
    if module == "manifests":
        assert first["diff"][0]["after"] == yaml.safe_dump(yaml.safe_load(first["diff"][0]["after"]))
        assert "ConfigMap" in first["diff"][0]["after_header"]


def test_a_module_where_the_connection_is_not_local_or_the_task_is_asynchronous(
    run_tasks: RunTasks, kube_clusters: list[Json], tmp_path: Path
) -> None:
    # Its default is found by HOME in one place and by the user's entry in the other, which need not be the same.
    interpreter = {"ansible_python_interpreter": sys.executable, "ansible_async_dir": str(tmp_path / "async")}
    task = {MODULE: {"kube_clusters": kube_clusters}, "async": 60, "poll": 1}
    run = run_tasks([{**task, "vars": interpreter}, {**task, "vars": NO_INTERPRETER, "ignore_errors": True}])
    assert len(run.of("nodes_info")) == 2, run.output
    good, bad = run.of("nodes_info")
    assert good["requests"] == 4, run.output
    assert bad["failed"]
    elsewhere = {"delegate_to": "elsewhere", "vars": {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}}
    run = run_tasks([{MODULE: {"kube_clusters": kube_clusters}, **elsewhere, "ignore_unreachable": True}])
    assert [task.outcome for task in run.tasks] == ["unreachable"], run.output


def test_environment_and_relative_paths(run_tasks: RunTasks, kube_api: KubeApi, tmp_path: Path) -> None:
    tasks: list[Json] = [
        {MODULE: {"kube_clusters": [{"name": "east"}]}, "environment": {"KUBECONFIG": kube_api.kubeconfig}},
        {MODULE: {"kube_clusters": [{"name": "east"}]}, "environment": {"KUBECONFIG": "/nonexistent"}, "ignore_errors": True},
        {"ansible.builtin.copy": {"src": kube_api.kubeconfig, "dest": "{{ playbook_dir }}/a-kubeconfig", "mode": "0600"}},
        {MODULE: {"kube_clusters": [{"name": "east", "kubeconfig": "a-kubeconfig"}]}},
    ]
    run = run_tasks(tasks)
    assert run.rc == 0, run.output
    first, second, third = run.of("nodes_info")
    assert first["kube_clusters"]["east"]["host"] == third["kube_clusters"]["east"]["host"] == kube_api.url
    assert "/nonexistent is missing" in second["msg"]


def test_secrets_and_errors_with_vvv(run_tasks: RunTasks, kube_api: KubeApi) -> None:
    token = secrets.token_hex(8)
    entry = {"name": "east", "host": kube_api.url, "api_key": "{{ lookup('env', 'A_TOKEN') }}", "validate_certs": False}
    tasks: list[Json] = [
        {MODULE: {"kube_clusters": [entry]}, "ignore_errors": True},
        {MODULE: {"kube_clusters": [entry], "colour": "red"}, "ignore_errors": True},
        {MODULE: {"kube_clusters": [entry], "absent_ok": {"a": "{{ lookup('env', 'A_TOKEN') }}"}}, "ignore_errors": True},
        {MODULE: {"kube_clusters": [{**entry, "verify_ssl": False}]}, "ignore_errors": True},
    ]
    run = run_tasks(tasks, environment={"A_TOKEN": token, "ANSIBLE_VERBOSITY": "3"})
    refused, unknown, wrong, both = run.of("nodes_info")
    assert "credentials were refused (401" in refused["msg"]
    assert refused["invocation"]["module_args"]["kube_clusters"][0]["api_key"] == "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"
    assert f"Unsupported parameters for ({MODULE}) module: colour" in unknown["msg"]
    assert "argument 'absent_ok' is of type dict" in wrong["msg"]
    assert both["failed"]
    assert "Both option kube_clusters[0].validate_certs and its alias kube_clusters[0].verify_ssl are set" in run.output
    assert token not in run.output
    assert token not in str(run.tasks)


def _state(pid: int) -> str:
    """The state of a process as Linux writes it; gone, or a zombie, is "Z"."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "Z"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's death")
def test_a_worker_does_not_outlive_a_playbook_that_was_killed(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(120)
        # This API server takes connections and says nothing: the module waits, as in the middle of a change.
        entry = {"name": "east", "host": f"https://127.0.0.1:{server.getsockname()[1]}", "api_key": "x", "validate_certs": False}
        playbook = tmp_path / "playbook.yml"
        tasks = [{MODULE: {"kube_clusters": [entry]}}]
        playbook.write_text(yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
        process = subprocess.Popen(
            [sys.executable, str(Path(sys.executable).parent / "ansible-playbook"), str(playbook)],
            env=ansible_environment(tmp_path / "results.jsonl"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        workers: list[int] = []
        try:
            connection, _address = server.accept()
            with connection:
                workers = [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
                assert workers
                process.kill()
                process.wait()
                deadline = time.monotonic() + 300
                while any(_state(pid) != "Z" for pid in workers) and time.monotonic() < deadline:
                    time.sleep(0.02)
                assert {pid: _state(pid) for pid in workers} == dict.fromkeys(workers, "Z")
        finally:
            process.kill()
            process.wait()
            for pid in workers:
                if _state(pid) != "Z":
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)

# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a module runs, and that inside of Ansible's process it gets and gives what it would as a module."""

from __future__ import annotations

import datetime
import importlib
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.play_context import PlayContext
from ansible.playbook.task import Task
from ansible.template import Templar
from ansible.utils.display import Display

from ansible_collections.hostnet.multicluster.plugins.module_utils import _call
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import client
from ansible_collections.hostnet.multicluster.plugins.plugin_utils.in_process import InProcess

Json = dict[str, Any]
MODULES = ("deployment_info", "identity", "manifests", "member_exec", "node_labels", "node_run", "nodes_info")
CLUSTER = {"name": "east", "host": "https://127.0.0.1:1", "api_key": "s3cr3t"}


def run(call: _call.Call) -> Json:
    """What the module was given."""
    if call.params["name"] == "fail":
        raise _call.Failure("it failed with s3cr3t", detail=1)
    seen = {
        "params": call.params,
        "check": call.check_mode,
        "diff": call.diff,
        "cwd": os.getcwd(),
        "variable": os.environ.get("A_VARIABLE"),
    }
    return {"changed": True, "seen": seen, "pair": (1, 2), 3: "three"}  # type: ignore[dict-item]


class Example(InProcess):
    arguments = {  # noqa: RUF012
        "kube_clusters": client.kube_clusters_argument(),
        "lock": client.lock_argument(),
        "name": {"type": "str", "aliases": ["title"]},
        "count": {"type": "int", "default": 3},
        "labels": {"type": "dict"},
        "old": {"type": "str", "removed_in_version": "9.0.0", "removed_from_collection": "hostnet.multicluster"},
    }
    perform_run = run
    as_module: Json | None = None

    def _execute_module(self, **given: Any) -> Json:
        self.as_module = given
        return {"changed": False}


def action(
    folder: Path,
    args: Json,
    *,
    connection: str = "local",
    become: object = None,
    asynchronous: int = 0,
    environment: list[Json] | None = None,
) -> Example:
    loader = DataLoader()
    loader.set_basedir(str(folder))
    # Task.load would look the name up, and for that Ansible must have taken over Python's imports.
    task = Task()
    task.action = "hostnet.multicluster.example"
    task.args = {"kube_clusters": [CLUSTER], **args}
    task.check_mode, task.diff, task.async_val, task.environment = True, True, asynchronous, environment or []
    shell = SimpleNamespace(tmpdir=None, env_prefix=lambda **_variables: "")
    return Example(
        task=task,
        connection=SimpleNamespace(_shell=shell, transport=connection, become=become),
        play_context=PlayContext(),
        loader=loader,
        templar=Templar(loader=loader),
        shared_loader_obj=None,
    )


def result(folder: Path, **args: Any) -> Json:
    return action(folder, args).run(task_vars={})


class TestWhere:
    def test_local(self, tmp_path: Path) -> None:
        plugin = action(tmp_path, {"name": "x"})
        assert plugin.run(task_vars={})["changed"]
        assert plugin.as_module is None

    @pytest.mark.parametrize("options", [{"connection": "ssh"}, {"become": object()}, {"asynchronous": 30}])
    def test_as_a_module(self, tmp_path: Path, options: Json) -> None:
        plugin = action(tmp_path, {"name": "x"}, **options)
        assert plugin.run(task_vars={"a": 1}) == {"changed": False}
        given = {"kube_clusters": [CLUSTER], "name": "x"}
        assert plugin.as_module == {"module_args": given, "task_vars": {"a": 1}, "wrap_async": "asynchronous" in options}


class TestSecretsThatNoFactHas:
    """Of entries that the roles have in their facts."""

    SHOWN = {"name": "east", "host": "https://127.0.0.1:1", "secrets_from": "hostnet_kube_clusters"}  # noqa: RUF012

    def test_come_from_the_variable(self, tmp_path: Path) -> None:
        plugin = action(tmp_path, {"kube_clusters": [self.SHOWN, {"name": "west"}], "name": "x"})
        seen = plugin.run(task_vars={"hostnet_kube_clusters": [{"name": "west", "api_key": "other"}, CLUSTER]})["seen"]
        # It is not shown in the result either.
        assert [entry["api_key"] for entry in seen["params"]["kube_clusters"]] == ["VALUE_SPECIFIED_IN_NO_LOG_PARAMETER", None]
        # Callbacks get the task's own arguments.
        assert plugin._task.args["kube_clusters"] == [self.SHOWN, {"name": "west"}]

    def test_come_to_a_module_of_its_own_process(self, tmp_path: Path) -> None:
        plugin = action(tmp_path, {"kube_clusters": [self.SHOWN]}, become=object())
        plugin.run(task_vars={"hostnet_kube_clusters": [CLUSTER]})
        assert plugin.as_module is not None
        assert plugin.as_module["module_args"] == {"kube_clusters": [CLUSTER]}

    def test_where_there_is_no_such_variable(self, tmp_path: Path) -> None:
        with pytest.raises(
            AnsibleActionFail, match="kube cluster east: its credentials are in hostnet_kube_clusters, which has no entry of that name"
        ):
            action(tmp_path, {"kube_clusters": [self.SHOWN]}).run(task_vars={})

    def test_a_password_of_a_proxy_is_not_shown(self, tmp_path: Path) -> None:
        proxied = {**CLUSTER, "proxy": "http://me:pa55word@127.0.0.1:3128"}
        plugin = action(tmp_path, {"kube_clusters": [proxied], "name": "x"})
        plugin._display = SimpleNamespace(verbosity=3)  # type: ignore[assignment]
        found = plugin.run(task_vars={})
        assert found["seen"]["params"]["kube_clusters"][0]["proxy"] == "http://me:********@127.0.0.1:3128"
        assert "pa55word" not in str(found)


class TestWhatItGets:
    def test_checked_parameters(self, tmp_path: Path) -> None:
        seen = result(tmp_path, title="x", count="7")["seen"]
        assert (seen["params"]["name"], seen["params"]["count"], seen["params"]["lock"]) == ("x", 7, None)
        assert seen["params"]["kube_clusters"][0]["validate_certs"] is True
        assert (seen["check"], seen["diff"]) == (True, True)

    def test_plain_values(self, tmp_path: Path) -> None:
        labels = {1: datetime.date(2026, 1, 2), "b": (1, 2)}
        assert result(tmp_path, name="x", labels=labels)["seen"]["params"]["labels"] == {"1": "2026-01-02", "b": [1, 2]}

    def test_its_own_copy(self, tmp_path: Path) -> None:
        plugin = action(tmp_path, {"name": "x", "labels": {"a": "b"}})
        plugin.run(task_vars={})
        assert plugin._task.args == {"kube_clusters": [CLUSTER], "name": "x", "labels": {"a": "b"}}

    def test_the_playbooks_folder(self, tmp_path: Path) -> None:
        before = os.getcwd()
        assert result(tmp_path, name="x")["seen"]["cwd"] == str(tmp_path)
        result(tmp_path, name="fail")
        assert os.getcwd() == before

    def test_the_tasks_environment(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("A_VARIABLE", raising=False)
        for value in ("outer", None):
            plugin = action(tmp_path, {"name": "x"}, environment=[{"A_VARIABLE": "play"}, {"A_VARIABLE": "task"}])
            assert plugin.run(task_vars={})["seen"]["variable"] == "task"
            assert os.environ.get("A_VARIABLE") != "task"
            if value:
                monkeypatch.setenv("A_VARIABLE", value)


class TestWhatItGives:
    def test_warnings_and_deprecations(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        said: list[str] = []
        monkeypatch.setattr(Display, "warning", lambda _self, msg, **_more: said.append(msg))
        monkeypatch.setattr(Display, "deprecated", lambda _self, msg, **more: said.append(f"{msg} {more['version']}"))
        assert result(tmp_path, name="x", title="x", old="x")["changed"]
        assert said == [
            "Param 'old' is deprecated. See the module docs for more information 9.0.0",
            "Both option name and its alias title are set.",
        ]

    def test_plain_json(self, tmp_path: Path) -> None:
        given = result(tmp_path, name="x")
        assert (given["pair"], given["3"], given["requests"]) == ([1, 2], "three", 0)
        assert "invocation" not in given

    def test_a_failure(self, tmp_path: Path) -> None:
        given = result(tmp_path, name="fail")
        assert given == {"detail": 1, "failed": True, "msg": "it failed with ********", "requests": 0}

    @pytest.mark.parametrize("name", ["x", "fail"])
    def test_no_secret_with_vvv(self, tmp_path: Path, name: str) -> None:
        plugin = action(tmp_path, {"name": name})
        plugin._display = SimpleNamespace(verbosity=3)
        given = plugin.run(task_vars={})
        assert given["invocation"]["module_args"]["kube_clusters"][0]["name"] == "east"
        assert given["invocation"]["module_args"]["count"] == 3
        assert "s3cr3t" not in str(given)

    @pytest.mark.parametrize(
        ("options", "texts"),
        [
            ({"kube_clusters": None}, ["missing required arguments: kube_clusters"]),
            ({"colour": "red"}, ["Unsupported parameters for (hostnet.multicluster.example) module: colour"]),
            ({"kube_clusters": [{**CLUSTER, "hosst": "x"}]}, ["kube_clusters.hosst", "no_proxy"]),
            ({"kube_clusters": [{"host": "x"}]}, ["missing required arguments: name found in kube_clusters"]),
            ({"count": "s3cr3t"}, ["argument 'count' is of type str and we were unable to convert to int", "********"]),
            ({"count": "many", "colour": "red"}, ["argument 'count'", "; Unsupported parameters", "colour"]),
            ({"lock": {"name": "x"}}, ["missing required arguments: generation, holder, namespace found in lock"]),
        ],
    )
    def test_wrong_parameters(self, tmp_path: Path, options: Json, texts: list[str]) -> None:
        plugin = action(tmp_path, {"name": "x", **options})
        if options.get("kube_clusters", True) is None:
            del plugin._task.args["kube_clusters"]
        given = plugin.run(task_vars={})
        assert (given["failed"], given["requests"]) == (True, 0)
        for text in texts:
            assert text in given["msg"]
        assert "s3cr3t" not in given["msg"]


@pytest.mark.parametrize("name", MODULES)
def test_plugin_and_module_belong_together(name: str) -> None:
    root = "ansible_collections.hostnet.multicluster.plugins"
    plugin = importlib.import_module(f"{root}.action.{name}").ActionModule
    module = importlib.import_module(f"{root}.modules.{name}")
    assert issubclass(plugin, InProcess)
    assert plugin.arguments is module.ARGUMENTS
    assert plugin.perform_run is module.run
    assert {"kube_clusters", "lock"} <= set(module.ARGUMENTS)


def test_the_plugin_brings_the_client_with_it() -> None:
    # Ansible imports the plugin before it forks, and a worker has what was imported then.
    code = (
        "import sys; import ansible_collections.hostnet.multicluster.plugins.action.nodes_info;"
        "sys.exit(not {'urllib3', 'websocket', 'yaml'} <= set(sys.modules))"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)

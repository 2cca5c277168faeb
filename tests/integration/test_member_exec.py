# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module member_exec with pods on the host network of the lab's nodes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from ansible_collections.hostnet.multicluster.plugins.modules import member_exec
from support.in_process import call_module
from support.lab import Lab

pytestmark = pytest.mark.lab
PORT = 18080


@pytest.fixture(scope="module")
def lab() -> Lab:
    return Lab()


def served(lab: Lab, place: str, kube: str, node: str, member: str) -> dict[str, Any]:
    """A pod on the host's network whose HTTP server listens on the host's 127.0.0.1 alone."""
    script = (
        f"mkdir /tmp/www; echo 'ok {member}' > /tmp/www/health; seq 200000 > /tmp/www/big; exec httpd -f -p 127.0.0.1:{PORT} -h /tmp/www"
    )
    definition = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"pod-{member}", "namespace": place},
        "spec": {
            "hostNetwork": True,
            "terminationGracePeriodSeconds": 0,
            "nodeSelector": {"kubernetes.io/hostname": node},
            "containers": [{"name": "main", "image": lab.image, "command": ["sh", "-c", script]}],
        },
    }
    return {"kube_cluster": kube, "definition": definition}


@pytest.fixture(scope="module")
def members(lab: Lab) -> Iterator[list[dict[str, Any]]]:
    """One member on every worker of both kube clusters."""
    with lab.namespace() as place:
        found, objects = [], []
        for number, (kube, node) in enumerate(lab.workers()):
            member = f"{kube}-{number}"
            objects.append(served(lab, place, kube, node, member))
            variables = {"version": f"v{number}"}
            found.append({"member": member, "kube_cluster": kube, "namespace": place, "pod": f"pod-{member}", "variables": variables})
        args = {"kube_clusters": lab.kube_clusters, "objects": objects, "wait": True}
        applied = call_module("manifests", args)
        assert not applied.get("failed"), applied
        yield found


@pytest.fixture
def call(lab: Lab, members: list[dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    def run(*, check: bool = False, **options: Any) -> dict[str, Any]:
        return call_module("member_exec", {"kube_clusters": lab.kube_clusters, "members": members, **options}, check=check)

    return run


def test_member_exec_asks_all_members(call: Any, members: list[dict[str, Any]]) -> None:
    big = "".join(f"{number}\n" for number in range(1, 200001))
    result = call(
        commands={"who": ["sh", "-c", "echo {member} {version}; echo aside >&2"], "big": ["seq", "1", "200000"]},
        http={"health": {"port": PORT, "path": "/health"}, "large": {"port": str(PORT), "path": "/big"}},
    )
    assert not result.get("failed"), result
    assert result["changed"] is True
    assert list(result["results"]) == [member["member"] for member in members]
    for number, (name, answers) in enumerate(result["results"].items()):
        assert answers["who"] == {"rc": 0, "stdout": f"{name} v{number}\n", "stderr": "aside\n", "error": ""}
        assert answers["big"]["stdout"] == big
        assert answers["health"] == {"status": 200, "body": f"ok {name}\n", "error": ""}
        assert answers["large"]["body"] == big
    assert result["requests"] == 4 * len(members)


def test_member_exec_check_mode(call: Any, members: list[dict[str, Any]]) -> None:
    mark = ["sh", "-c", "echo x >> /tmp/marks; wc -l < /tmp/marks"]
    skipped = call(commands={"mark": mark}, check=True)
    assert (skipped["changed"], skipped["results"], skipped["requests"]) == (True, {}, 0)
    assert skipped["skipped_members"] == [member["member"] for member in members]
    ran = call(commands={"mark": mark}, check=True, read_only=True)
    assert ran["changed"] is False
    # It ran now, and had not before.
    assert {answers["mark"]["stdout"].strip() for answers in ran["results"].values()} == {"1"}
    asked = call(http={"health": {"port": PORT, "path": "/health"}}, check=True)
    assert (asked["changed"], len(asked["results"])) == (False, len(members))
    posted = call(http={"health": {"port": PORT, "path": "/health", "body": {}}}, check=True)
    assert (posted["changed"], posted["results"]) == (True, {})


def test_member_exec_one_that_is_missing_does_not_stop_the_others(call: Any, members: list[dict[str, Any]]) -> None:
    asked = [members[0], {**members[0], "member": "lost", "pod": "nobody"}, {**members[0], "member": "bare", "pod": ""}]
    options = {"members": asked, "commands": {"a": ["true"]}, "http": {"h": {"port": 1, "path": "/"}}, "read_only": True}
    kept = call(**options, fail=False)
    assert not kept.get("failed")
    results = kept["results"]
    assert results[members[0]["member"]]["a"]["rc"] == 0
    assert "connection refused" in results[members[0]["member"]]["h"]["error"]
    place = members[0]["namespace"]
    assert results["lost"]["a"] == {"rc": None, "stdout": "", "stderr": "", "error": f'exec in pod {place}/nobody: pods "nobody" not found'}
    assert results["lost"]["h"] == {
        "status": 0,
        "body": "",
        "error": f'port-forward to port 1 of pod {place}/nobody: pods "nobody" not found',
    }
    assert results["bare"]["a"]["error"] == results["bare"]["h"]["error"] == "the member has no pod"
    failed = call(**options)
    assert len(failed["failures"]) == 5
    assert failed["msg"].endswith("(and 4 more failed: see failures)")
    assert failed["results"] == results


def test_member_exec_failures_name_member_kube_cluster_and_command(call: Any, members: list[dict[str, Any]]) -> None:
    asked = members[:1]
    failed = call(members=asked, commands={"check": ["sh", "-c", "echo no; echo first >&2; echo why >&2; exit 7"], "after": ["true"]})
    member, kube = asked[0]["member"], asked[0]["kube_cluster"]
    assert failed["msg"] == (
        f"kube cluster {kube}: member {member}: command check ['sh', '-c', 'echo no; echo first >&2; echo why >&2; exit 7'] "
        "ended with exit code 7: first / why"
    )
    # What changes things does not go on after a failure.
    assert list(failed["results"][member]) == ["check"]
    missing = call(members=asked, commands={"tool": ["no-such-tool"]}, fail=False)
    assert missing["results"][member]["tool"]["rc"] is None
    assert "executable file not found" in missing["results"][member]["tool"]["error"]
    not_found = call(members=asked, http={"page": {"port": PORT, "path": "/none"}})
    assert not_found["msg"].startswith(f"kube cluster {kube}: member {member}: HTTP request page: HTTP status 404")


def test_member_exec_has_one_deadline(call: Any) -> None:
    started = time.monotonic()
    result = call(commands={"slow": ["sleep", "60"], "never": ["true"]}, timeout=3, fail=False)
    assert time.monotonic() - started < 55
    for answers in result["results"].values():
        assert answers["slow"]["error"].endswith("no end before the timeout")
        assert answers["never"]["error"].endswith("no end before the timeout")


def test_member_exec_with_a_kube_cluster_that_is_away(lab: Lab, members: list[dict[str, Any]]) -> None:
    clusters = [lab.kube_clusters[0], {"name": "west", "host": "https://127.0.0.1:1"}]
    args = {"kube_clusters": clusters, "members": members, "commands": {"a": ["true"]}, "fail": False, "read_only": True}
    result = call_module("member_exec", args)
    for member in members:
        answer = result["results"][member["member"]]["a"]
        assert ("no answer from https://127.0.0.1:1" in answer["error"]) is (member["kube_cluster"] == "west")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"commands": {"a": "true"}}, "commands.a must be a list of arguments"),
        ({"commands": {"a": []}}, "commands.a must be a list of arguments"),
        ({"commands": {"a": [{}]}}, "commands.a must be a list of arguments"),
        ({"commands": {"a": ["true"]}, "http": {"a": {"port": 1}}}, "http.a: a command has this name too"),
        ({"http": {"a": {"path": "/"}}}, "http.a.port must be a number from 1 to 65535"),
        ({"http": {"a": {"port": 70000}}}, "http.a.port must be a number from 1 to 65535"),
        ({"http": {"a": {"port": 1, "body": "x"}}}, "http.a.body must be a dictionary"),
        ({"http": {"a": {"port": 1, "timeout": 0}}}, "http.a.timeout must be a number of seconds above 0"),
        ({"http": {"a": {"port": 1, "tls": {"ca": "/ca.crt"}}}}, "http.a.tls must have exactly ca, certificate, private_key"),
        ({"http": {"a": {"port": 1, "method": "POST"}}}, "http.a.method is not known"),
        ({"http": {"a": {"port": 1, "path": "/a b"}}}, "http.a.path must start with / and have no spaces"),
        ({"timeout": 0}, "timeout is 0"),
    ],
)
def test_member_exec_bad_input(call: Any, options: dict[str, Any], text: str) -> None:
    result = call(**options)
    assert result["failed"]
    assert text in result["msg"]


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"kube_cluster": "north"}, "members[0].kube_cluster is 'north', which is not in kube_clusters (east, west)"),
        ({}, "members[1]: member east-0 is given twice"),
    ],
)
def test_member_exec_bad_members(call: Any, members: list[dict[str, Any]], changed: dict[str, Any], text: str) -> None:
    assert call(members=[{**members[0], **changed}] * 2, commands={"a": ["true"]})["msg"].startswith(text)


def test_member_exec_examples(lab: Lab, members: list[dict[str, Any]], run_tasks: Any) -> None:
    variables = {"hostnet_kube_clusters": lab.kube_clusters, "members": members}
    run = run_tasks(yaml.safe_load(member_exec.EXAMPLES), variables=variables)
    assert run.rc == 0, run.output
    health, reload = run.of("member_exec")
    assert (health["changed"], reload["changed"]) == (False, True)
    first = members[0]["member"]
    assert health["results"][first]["version"]["stdout"] == f"{first} runs v0\n"
    assert health["results"][first]["health"] == {"status": 200, "body": f"ok {first}\n", "error": ""}

# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every module that talks to kube clusters has in common."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils import basic

from ansible_collections.hostnet.multicluster.plugins.module_utils import _call
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import client
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.lock import LockLost
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster.session import libraries

Json = dict[str, Any]
ARGUMENTS: Json = {"kube_clusters": client.kube_clusters_argument(), "lock": client.lock_argument()}
LOCK = {"name": "ledger", "namespace": "ledger", "holder": "run-1", "generation": 3}


def params(**more: Any) -> Json:
    return {"kube_clusters": [{"name": "east", "host": "https://127.0.0.1:1", "api_key": "s3cr3t"}], "lock": None, **more}


def perform(run: _call.Run, **more: Any) -> Json:
    return _call.perform(ARGUMENTS, run, params(**more), False, False)


def count(call: _call.Call) -> None:
    """As if two requests were sent."""
    for _number in range(2):
        call.clusters["east"].requests += 1


def test_success_counts_requests() -> None:
    def run(call: _call.Call) -> Json:
        count(call)
        return {"changed": True}

    assert perform(run) == {"changed": True, "requests": 2}


def test_failure_keeps_what_was_found() -> None:
    def run(call: _call.Call) -> Json:
        count(call)
        raise _call.Failure("too bad", changed=True, missing=["east-0"])

    assert perform(run) == {"changed": True, "missing": ["east-0"], "failed": True, "msg": "too bad", "requests": 2}


def test_an_error_of_a_kube_cluster_is_a_failure() -> None:
    def run(call: _call.Call) -> Json:
        count(call)
        raise client.KubeError("east", "node x", "gone")

    assert perform(run) == {"failed": True, "msg": "kube cluster east: node x: gone", "requests": 2}


def test_other_errors_are_not_hidden() -> None:
    def run(call: _call.Call) -> Json:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        perform(run)


def test_parameters_are_judged_before_anything_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "connect", lambda _entries: pytest.fail("opened"))

    def run(call: _call.Call) -> Json:
        raise _call.Failure("wrong name")

    assert perform(run) == {"failed": True, "msg": "wrong name", "requests": 0}


def test_kube_clusters_are_opened_once() -> None:
    call = _call.Call(params())
    assert call.clusters is call.clusters
    given: Any = {"east": SimpleNamespace(requests=4)}
    call = _call.Call(params(lock=LOCK), clusters=given)
    assert call.clusters is given
    assert call.requests == 4


def test_secrets_are_hidden() -> None:
    result = perform(lambda _call: {"changed": True, "said": "token s3cr3t is bad", "count": 3, "none": None})
    assert result == {"changed": True, "said": "token ******** is bad", "count": 3, "none": None, "requests": 0}


def test_without_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "IMPORT_ERROR", "Traceback\nImportError: no urllib3\n")
    result = perform(lambda _call: pytest.fail("ran"))
    assert (result["failed"], result["requests"]) == (True, 0)
    assert f"cannot be imported by {sys.executable} (ImportError: no urllib3)" in result["msg"]


class TestLock:
    @pytest.fixture
    def verified(self, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
        """The locks that were verified; a lock of generation 9 is another run's."""
        seen: list[Any] = []

        def verify(clusters: dict[str, client.KubeCluster], lock: Json) -> None:
            seen.append((list(clusters), lock["holder"]))
            clusters["east"].requests += 1
            if lock["generation"] == 9:
                raise LockLost("east", "taken over")

        monkeypatch.setattr(_call, "verify", verify)
        return seen

    def test_verified_before_the_first_request(self, verified: list[Any]) -> None:
        def run(call: _call.Call) -> Json:
            assert not verified
            assert call.clusters
            assert call.clusters
            return {"changed": False}

        assert perform(run, lock=LOCK) == {"changed": False, "requests": 1}
        assert verified == [(["east"], "run-1")]

    def test_not_asked_for(self, verified: list[Any]) -> None:
        assert perform(lambda call: {"changed": not call.clusters})["requests"] == 0
        assert not verified

    def test_taken_over(self, verified: list[Any]) -> None:
        def run(call: _call.Call) -> Json:
            return {"changed": bool(call.clusters)}

        assert perform(run, lock={**LOCK, "generation": 9}) == {"failed": True, "msg": "taken over", "requests": 1}

    def test_a_lost_lock_stays_lost(self, verified: list[Any]) -> None:
        call = _call.Call(params(lock={**LOCK, "generation": 9}))
        for _attempt in range(2):
            with pytest.raises(LockLost, match="taken over"):
                assert call.clusters


def test_main_takes_ansible_module_when_it_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    # ansible-lint puts a class of its own there, which checks the options and goes no further: nothing may be asked of an API server.
    class Stop(Exception):
        pass

    def checked(**options: Any) -> None:
        assert options == {"argument_spec": ARGUMENTS, "supports_check_mode": True, "no_log": True}
        raise Stop

    monkeypatch.setattr(basic, "AnsibleModule", checked)
    with pytest.raises(Stop):
        _call.main(ARGUMENTS, lambda _call: pytest.fail("ran"), no_log=True)

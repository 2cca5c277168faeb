# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pod of a script, and what its status says."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import run as plan
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.run import Script

SCRIPT = Script(name="probe", namespace="n", image="image:1", text="true", timeout=30)


def test_pod_is_pinned_and_hardened() -> None:
    pod = plan.pod_for(SCRIPT, "node-1", {"B": "2", "A": "1"}, "run1")
    spec = pod["spec"]
    (container,) = spec["containers"]
    terms = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert terms == [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node-1"]}]}]
    assert spec["tolerations"] == [{"operator": "Exists"}]
    assert spec["restartPolicy"] == "Never"
    assert spec["activeDeadlineSeconds"] == 30
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert spec["hostNetwork"] is False
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["env"] == [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
    assert "volumes" not in spec
    assert "imagePullSecrets" not in spec
    assert pod["metadata"]["labels"] == {
        "app.kubernetes.io/managed-by": "hostnet.multicluster",
        "hostnet.multicluster/run": "probe",
        "hostnet.multicluster/run-id": "run1",
    }


def test_pod_with_everything() -> None:
    script = Script(
        "p",
        "n",
        "i",
        "true",
        5,
        host_path="/srv",
        host_network=True,
        capabilities=["CHOWN"],
        labels={"a": "b", "hostnet.multicluster/run": "x"},
    )
    pod = plan.pod_for(script, "node-1", {}, "r")
    assert pod["spec"]["hostNetwork"] is True
    assert pod["spec"]["volumes"] == [{"name": "host", "hostPath": {"path": "/srv", "type": "DirectoryOrCreate"}}]
    assert pod["spec"]["containers"][0]["volumeMounts"] == [{"name": "host", "mountPath": "/host"}]
    assert pod["spec"]["containers"][0]["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["CHOWN"]}
    # Leftovers are found by these labels: nobody can replace them.
    assert pod["metadata"]["labels"]["hostnet.multicluster/run"] == "p"
    assert pod["metadata"]["labels"]["a"] == "b"


def test_what_is_only_looked_at_is_read_only_and_never_made() -> None:
    pod = plan.pod_for(Script("p", "n", "i", "true", 5, host_path="/srv", look_path="/"), "node-1", {}, "r")
    assert pod["spec"]["volumes"][1] == {"name": "look", "hostPath": {"path": "/", "type": "Directory"}}
    assert pod["spec"]["containers"][0]["volumeMounts"] == [
        {"name": "host", "mountPath": "/host"},
        {"name": "look", "mountPath": "/look", "readOnly": True, "recursiveReadOnly": "IfPossible"},
    ]
    alone = plan.pod_for(Script("p", "n", "i", "true", 5, look_path="/"), "node-1", {}, "r")["spec"]
    assert [volume["name"] for volume in alone["volumes"]] == ["look"]


def test_pull_secrets() -> None:
    spec = plan.pod_for(Script("p", "n", "i", "true", 5, pull_secrets=["mirror", "other"]), "node-1", {}, "r")["spec"]
    assert spec["imagePullSecrets"] == [{"name": "mirror"}, {"name": "other"}]


def test_pod_names_fit_and_differ() -> None:
    long = Script("a" * 39 + "-b", "n", "i", "true", 5)
    names = {plan.pod_name(long, node, run) for node in ("x" * 200, "y" * 200) for run in ("11111111", "22222222")}
    assert len(names) == 4
    assert all(len(name) <= 63 and re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])", name) for name in names)


def ended(code: int, **more: Any) -> dict[str, Any]:
    state = {"terminated": {"exitCode": code, "reason": "Error" if code else "Completed", "message": "said", **more}}
    return {"status": {"phase": "Failed" if code else "Succeeded", "containerStatuses": [{"state": state}]}}


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"status": {"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": reason, "message": message}}}]}}


@pytest.mark.parametrize(
    ("pod", "code", "failure"),
    [
        ({}, None, ""),
        (ended(0), 0, ""),
        (ended(3), 3, ""),
        # The phase comes a second later: success needs not wait for it, a failure may yet turn out to be the kubelet's doing.
        ({"status": {**ended(0)["status"], "phase": "Running"}}, 0, ""),
        ({"status": {**ended(143)["status"], "phase": "Running"}}, None, ""),
        (ended(137, reason="OOMKilled"), None, "OOMKilled: said"),
        (waiting("ContainerCreating"), None, ""),
        (waiting("ErrImagePull", "once"), None, ""),
        (waiting("ImagePullBackOff", "no such image"), None, "ImagePullBackOff: no such image"),
        (waiting("CreateContainerConfigError"), None, "CreateContainerConfigError"),
        (
            {"status": {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/2 nodes"}]}},
            None,
            "FailedScheduling: 0/2 nodes",
        ),
        ({"status": {"phase": "Failed", "reason": "DeadlineExceeded", "message": "too long"}}, None, "DeadlineExceeded: too long"),
        ({"status": {"phase": "Failed"}}, None, "Failed"),
        (
            {"metadata": {"deletionTimestamp": "now"}, "status": {"phase": "Running"}},
            None,
            "the pod is being deleted by somebody else (another run with the same name?)",
        ),
        ({"metadata": {"deletionTimestamp": "now"}, **ended(0)}, 0, ""),
    ],
)
def test_outcome(pod: dict[str, Any], code: int | None, failure: str) -> None:
    assert plan.exit_code(pod) == code
    assert plan.failure(pod) == failure
    assert plan.finished(pod) is (code is not None or failure != "")


def test_a_pod_that_is_gone_is_finished() -> None:
    assert plan.finished(None)


def test_stderr() -> None:
    assert plan.stderr(ended(1)) == "said"
    assert plan.stderr({"status": {"containerStatuses": [{"state": {"running": {}}}]}}) == ""


@pytest.mark.parametrize(
    ("pod", "may"),
    [
        ({}, True),
        (ended(0), False),
        (waiting("ContainerCreating"), False),
        ({"status": {"containerStatuses": [{"state": {"running": {}}}]}}, True),
    ],
)
def test_may_run(pod: dict[str, Any], may: bool) -> None:
    assert plan.may_run(pod) is may

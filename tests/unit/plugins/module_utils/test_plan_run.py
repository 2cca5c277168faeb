# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pod of a script, and what its status says."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import run as plan
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.run import Pull, Script

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
        # No signal has ended it.
        ({"status": {**ended(3)["status"], "phase": "Running"}}, 3, ""),
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
            "the pod is being deleted by another client (another run with the same name?)",
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


# -- images that are pulled beside the script ----------------------------------------------------------------------------

PULLS = [Pull("registry.test/db:1", "IfNotPresent"), Pull("registry.test/sidecar:2")]
PULLING = Script("admit", "n", "probe:1", "true", 300, pulls=PULLS, pull_secrets=["mirror"])
RUNNING = {"running": {}}
ENDED = {"terminated": {"exitCode": 0, "reason": "Completed"}}
NOT_STARTED = {"terminated": {"exitCode": 128, "reason": "StartError", "message": "exec: no such file or directory"}}


def waits(reason: str, message: str = "") -> dict[str, Any]:
    return {"waiting": {"reason": reason, **({"message": message} if message else {})}}


def pulling(run: dict[str, Any], *images: dict[str, Any], phase: str = "Pending", **more: Any) -> dict[str, Any]:
    """A pod of PULLING whose containers are in these states."""
    states = zip(("run", "pull-0", "pull-1"), (run, *images), strict=False)
    statuses = [{"name": name, "state": state} for name, state in states]
    return {**plan.pod_for(PULLING, "node-1", {}, "r"), "status": {"phase": phase, "containerStatuses": statuses, **more}}


def test_a_pod_that_pulls_runs_nothing_of_the_images() -> None:
    spec = plan.pod_for(PULLING, "node-1", {}, "r")["spec"]
    script, first, second = spec["containers"]
    assert (script["name"], script["image"], script["command"][0]) == ("run", "probe:1", "sh")
    assert [(entry["name"], entry["image"], entry.get("imagePullPolicy")) for entry in (first, second)] == [
        ("pull-0", "registry.test/db:1", "IfNotPresent"),
        ("pull-1", "registry.test/sidecar:2", None),
    ]
    assert spec["imagePullSecrets"] == [{"name": "mirror"}]
    for container in (first, second):
        assert container["command"] == ["/hostnet.multicluster/only-pulls-this-image"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "runAsUser": 65534,
            "runAsGroup": 65534,
            "capabilities": {"drop": ["ALL"]},
        }
        # A quota may ask for each of them.
        assert set(container["resources"]["requests"]) == set(container["resources"]["limits"]) == {"cpu", "memory"}
        assert not {"env", "volumeMounts", "args"} & set(container)
    assert (spec["restartPolicy"], "initContainers" in spec) == ("Never", False)
    # Whoever waits reads what the kubelet says before the kubelet ends the pod.
    assert spec["activeDeadlineSeconds"] > PULLING.timeout


@pytest.mark.parametrize(
    ("pod", "complete", "missing", "failure"),
    [
        # containerd, and CRI-O, which finds out when it makes the container.
        (pulling(ENDED, NOT_STARTED, NOT_STARTED, phase="Failed"), True, {}, ""),
        (pulling(ENDED, waits("CreateContainerError", "not found in $PATH"), waits("RunContainerError")), True, {}, ""),
        # The script is still at it.
        (pulling(RUNNING, NOT_STARTED, NOT_STARTED, phase="Running"), False, {}, ""),
        (pulling(ENDED, waits("ContainerCreating"), waits("ContainerCreating")), False, {PULLS[0].image: "", PULLS[1].image: ""}, ""),
        (pulling(ENDED, NOT_STARTED, waits("ErrImagePull", "429")), False, {PULLS[1].image: "ErrImagePull: 429"}, ""),
        # The registry may have a bad moment: it is asked again.
        (pulling(ENDED, NOT_STARTED, waits("ImagePullBackOff", "back-off")), False, {PULLS[1].image: "ImagePullBackOff: back-off"}, ""),
        # The short-lived pod's own image has the same patience.
        (
            pulling(waits("ImagePullBackOff", "back-off"), NOT_STARTED, NOT_STARTED),
            False,
            {"probe:1": "ImagePullBackOff: back-off"},
            "",
        ),
        (
            pulling(RUNNING, waits("InvalidImageName", "bad"), NOT_STARTED),
            False,
            {PULLS[0].image: "InvalidImageName: bad"},
            f"image {PULLS[0].image} was not pulled (InvalidImageName: bad). Make sure",
        ),
        (pulling(ENDED, waits("CreateContainerConfigError"), NOT_STARTED), False, {PULLS[0].image: "CreateContainerConfigError"}, ""),
        # The script refuses: nobody waits for images any more.
        (
            pulling({"terminated": {"exitCode": 5, "reason": "Error"}}, waits("ErrImagePull"), waits("ContainerCreating")),
            True,
            {PULLS[0].image: "ErrImagePull", PULLS[1].image: ""},
            "",
        ),
        # Ended by the kubelet before there was a container: that proves nothing.
        (
            pulling(ENDED, {"terminated": {"exitCode": 137, "reason": "ContainerStatusUnknown"}}, NOT_STARTED, phase="Failed"),
            False,
            {PULLS[0].image: ""},
            "",
        ),
        (pulling(RUNNING, waits("Novel", "of another version"), NOT_STARTED), False, {PULLS[0].image: "Novel: of another version"}, ""),
        # Nothing was said yet.
        ({**plan.pod_for(PULLING, "node-1", {}, "r")}, False, {"probe:1": "", PULLS[0].image: "", PULLS[1].image: ""}, ""),
    ],
)
def test_an_image_is_there_when_the_kubelet_has_tried_to_start_it(
    pod: dict[str, Any], complete: bool, missing: dict[str, str], failure: str
) -> None:
    assert plan.is_complete(pod) is complete
    assert plan.unpulled(pod) == missing
    assert plan.failure(pod).startswith(failure)
    assert bool(plan.failure(pod)) is bool(failure)
    assert plan.finished(pod) is (complete or bool(failure))


def test_a_container_that_cannot_start_is_never_taken_for_the_script() -> None:
    done = pulling(ENDED, NOT_STARTED, NOT_STARTED, phase="Failed")
    assert (plan.exit_code(done), plan.stderr(done), plan.may_run(done), plan.runs(done)) == (0, "", False, False)
    still = pulling(RUNNING, NOT_STARTED, waits("CreateContainerError"), phase="Running")
    assert (plan.exit_code(still), plan.failure(still), plan.may_run(still), plan.runs(still)) == (None, "", True, True)
    oom = pulling({"terminated": {"exitCode": 137, "reason": "OOMKilled"}}, NOT_STARTED, NOT_STARTED, phase="Failed")
    assert plan.failure(oom) == "OOMKilled"


def test_a_back_off_does_not_hide_why_an_image_does_not_come() -> None:
    image = PULLS[1].image
    said = plan.unpulled(pulling(ENDED, NOT_STARTED, waits("ErrImagePull", "manifest unknown")))
    backed_off = plan.unpulled(pulling(ENDED, NOT_STARTED, waits("ImagePullBackOff", f'Back-off pulling image "{image}"')), said)
    assert backed_off == said == {image: "ErrImagePull: manifest unknown"}
    # Nor does a kubelet that tries again, and what it says then is newer.
    again = plan.unpulled(pulling(ENDED, NOT_STARTED, waits("ContainerCreating")), backed_off)
    assert again == said
    assert plan.unpulled(pulling(ENDED, NOT_STARTED, waits("ErrImagePull", "401")), again) == {image: "ErrImagePull: 401"}
    assert plan.unpulled(pulling(ENDED, NOT_STARTED, NOT_STARTED), again) == {}


def test_what_is_said_of_images_that_did_not_come() -> None:
    text = plan.pull_failure({"a:1": "ErrImagePull: 401", "b:1": ""}, 60)
    assert text.startswith(
        "image a:1 was not pulled within 60 s (ErrImagePull: 401); image b:1 was not pulled within 60 s (its kubelet says no more)"
    )
    assert "(hostnet_pull_secrets), then run the same command again" in text


REASONS = ["", "ContainerCreating", "PodInitializing", "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"]
REASONS += ["ImageInspectError", "RegistryUnavailable", "SignatureValidationFailed", "CreateContainerConfigError"]
PROOFS = [NOT_STARTED, ENDED, waits("CreateContainerError"), waits("RunContainerError"), RUNNING]
STATES = st.one_of(st.sampled_from([waits(reason, "x") for reason in REASONS]), st.sampled_from([{}, *PROOFS]))


@given(
    st.one_of(STATES, st.just({"terminated": {"exitCode": 5, "reason": "Error"}})),
    STATES,
    STATES,
    st.sampled_from(["Pending", "Running", "Failed"]),
)
def test_no_image_counts_as_pulled_without_a_container_of_it(
    run: dict[str, Any], one: dict[str, Any], two: dict[str, Any], phase: str
) -> None:
    pod = pulling(run, one, two, phase=phase)
    missing = plan.unpulled(pod)
    for pull, state in zip(PULLS, (one, two), strict=True):
        assert (pull.image in missing) == (state not in PROOFS)
    if plan.is_complete(pod) and plan.exit_code(pod) == 0:
        assert missing == {}
    # Whatever the other containers do, the script's outcome is its own.
    alone = pulling(run, NOT_STARTED, NOT_STARTED, phase=phase)
    assert plan.exit_code(pod) == plan.exit_code(alone)
    assert plan.may_run(pod) == plan.may_run(alone)
    # Only what no try mends ends the wait for an image, and the sentence names it.
    if not plan.failure(alone) and plan.failure(pod):
        assert any(f"({reason}: x)" in plan.failure(pod) for reason in ("InvalidImageName", "ErrImageNeverPull"))


@given(st.lists(STATES, max_size=6))
def test_what_was_said_against_an_image_is_kept_until_it_is_there(states: list[dict[str, Any]]) -> None:
    said: dict[str, str] = {}
    complained = False
    for state in states:
        said = plan.unpulled(pulling(RUNNING, state, NOT_STARTED), said)
        complained = state not in PROOFS and (complained or state.get("waiting", {}).get("reason", "") in REASONS[3:])
        assert bool(said.get(PULLS[0].image)) == complained

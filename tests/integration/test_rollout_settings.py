# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module rollout_settings against real API servers, which have no kubelets. tests/rollout/test_settings.py has members that run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import yaml

from ansible_collections.hostnet.multicluster.plugins.modules import rollout_settings
from support.in_process import call_module
from support.run import PlayRun

Json = dict[str, Any]
SPEC = {
    "settings": {"read": ["get", "{setting}"], "write": ["set", "{setting}", "{value}"], "values": {"reboot": {"dead.after": "00:30:00"}}}
}


def asked(kube_clusters: list[Json], namespace: str) -> Json:
    member = {"member": "east-0", "kube_cluster": "east", "namespace": namespace, "pod": "ledger-east-0"}
    return {
        "kube_clusters": kube_clusters,
        "spec": SPEC,
        "members": [member],
        "inspection": {"east-0": {"healthy": True}},
        "work": "reboot",
    }


def test_a_member_that_cannot_be_asked(kube_clusters: list[Json], namespace: str) -> None:
    options = {**asked(kube_clusters, namespace), "journal": {"saved": {"dead.after": "00:05:00"}}}
    read = call_module("rollout_settings", {**options, "state": "compared"})
    assert read["msg"].startswith("the setting dead.after cannot be read, so it could not be put back, and is not changed: ")
    written = call_module("rollout_settings", {**options, "state": "restored"})
    assert written["msg"].startswith("kube cluster east: member east-0: command dead.after ['set', 'dead.after', '00:05:00']: ")
    assert call_module("rollout_settings", {**options, "state": "restored"}, check=True)["changed"]


def test_rollout_settings_examples(run_tasks: Callable[..., PlayRun], kube_clusters: list[Json], namespace: str) -> None:
    options = asked(kube_clusters, namespace)
    variables = {
        "hostnet": {"kube_clusters": kube_clusters},
        "hostnet_spec": {"settings": {**SPEC["settings"], "values": {}}},
        "hostnet_targets": options["members"],
        "hostnet_inspection": options["inspection"],
        "journal": {"saved": {}, "member": None},
    }
    journal = {"name": "Know the journal", "ansible.builtin.set_fact": {"hostnet_journal": "{{ journal }}", "cacheable": True}}
    run = run_tasks([journal, *yaml.safe_load(rollout_settings.EXAMPLES)], variables=variables)
    assert run.rc == 0, run.output
    (compared,) = [result for result in run.of("rollout_settings") if "save" in result]
    assert (compared["save"], compared["write"]) == ({}, {})

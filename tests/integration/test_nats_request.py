# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module nats_request under real Ansible. What it says to a real server is in test_nats_server.py, its way through a pod in the lab's scale down."""

from __future__ import annotations

from typing import Any

import yaml

from ansible_collections.hostnet.multicluster.plugins.modules import nats_request


def test_nats_request_examples(run_tasks: Any) -> None:
    """A check asks nobody, so it needs neither a kube cluster nor a server."""
    member = {"member": "east-0", "kube_cluster": "east", "namespace": "n", "pod": "p", "variables": {"address": "10.0.0.1", "node": "w"}}
    settings = {"kube_clusters": [{"name": "east"}], "pki_dir": "/pki", "probe_image": "busybox"}
    variables = {"hostnet": settings, "hostnet_targets": [member]}
    tasks = [{**task, "check_mode": True} for task in yaml.safe_load(nats_request.EXAMPLES)]
    run = run_tasks(tasks, variables=variables)
    assert run.rc == 0, run.output
    (asked,) = run.of("nats_request")
    assert (asked["changed"], asked["answer"]) == (False, {})

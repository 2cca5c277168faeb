# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The examples of member_inspect; roles that run in the lab use it for every member, and unit tests try its gates."""

from __future__ import annotations

import yaml

from ansible_collections.hostnet.multicluster.plugins.modules import member_inspect
from support.run import run_tasks


def test_member_inspect_examples() -> None:
    variables = {
        "hostnet": {"kube_clusters": []},
        "hostnet_targets": [],
        "hostnet_spec": {"inspect": {"filter": "hostnet.multicluster.etcd_inspection"}},
        "hostnet_bindings": [],
    }
    run = run_tasks(yaml.safe_load(member_inspect.EXAMPLES), variables=variables)
    assert run.rc == 0, run.output
    assert run.of("member_inspect")[0]["inspection"] == {}

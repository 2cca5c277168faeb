# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What member_exec says that it would do. It asks nobody here; tests/integration/test_member_exec.py does."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.hostnet.multicluster.plugins.module_utils._call import Call
from ansible_collections.hostnet.multicluster.plugins.modules import member_exec

DIFF = {"before": {"a.b": "1"}, "after": {"a.b": "2"}}


@pytest.mark.parametrize(
    ("members", "read_only", "diff", "shown"),
    [(1, False, True, True), (1, False, False, False), (0, False, True, False), (0, True, True, False)],
)
def test_the_diff_is_shown_where_something_would_change(members: int, read_only: bool, diff: bool, shown: bool) -> None:
    params: dict[str, Any] = {
        "kube_clusters": [{"name": "east"}],
        "lock": None,
        "members": [
            {"member": f"east-{number}", "kube_cluster": "east", "namespace": "db", "pod": "p", "container": "", "variables": {}}
            for number in range(members)
        ],
        "commands": {"set": ["true"]},
        "http": {},
        "timeout": 60,
        "read_only": read_only,
        "fail": True,
        "diff": DIFF,
    }
    call = Call(params, check_mode=True, diff=diff, clusters={})
    result = member_exec.run(call)
    assert result.get("diff") == (DIFF if shown else None)
    assert result["changed"] == (members > 0)

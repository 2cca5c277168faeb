# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters of the role rollout that are more than a pure function under another name."""

from __future__ import annotations

from ansible_collections.hostnet.multicluster.plugins.filter import rollout as filters


def test_gates_that_do_not_hold_for_a_work() -> None:
    own = {"gates": {"stop": [{"say": "full", "find": "full", "not_for": ["restart"]}, {"say": "sick", "find": "sick"}]}}
    said = [
        [gate["say"] for gate in filters.gates("stop", own, work) if gate["say"] in ("full", "sick")] for work in ("", "reboot", "restart")
    ]
    assert said == [["full", "sick"], ["full", "sick"], ["sick"]]
    assert all(set(gate) == {"say", "find"} for gate in filters.gates("stop", own))

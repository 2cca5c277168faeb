# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists in texts for people."""

from __future__ import annotations

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.listed import some


def test_what_is_left_out_is_counted() -> None:
    assert some([], 2) == ""
    assert some(["a", "b"], 2) == "a, b"
    assert some(["a", "b", "c", "d"], 2) == "a, b and 2 more"
    assert some(["a", "b", "c"], 2, "; ", "; and ") == "a; b; and 1 more"

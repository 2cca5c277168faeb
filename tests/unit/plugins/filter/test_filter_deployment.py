# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters that the roles use."""

from __future__ import annotations

import re

from ansible_collections.hostnet.multicluster.plugins.filter import deployment as filters
from support.collection import CHECKOUT


def test_every_filter_that_the_roles_use_exists() -> None:
    used: set[str] = set()
    for folder in ("roles", "playbooks"):
        for path in (CHECKOUT / folder).rglob("*.yml"):
            used |= set(re.findall(r"hostnet\.multicluster\.(deployment_[a-z_]+)(?!:)\b", path.read_text()))
    used -= {"deployment_apply", "deployment_changes", "deployment_info", "deployment_observe"}
    assert used == set(filters.FilterModule().filters())


def test_filters_keep_the_documentation_of_their_functions() -> None:
    for name, function in filters.FilterModule().filters().items():
        assert function.__doc__, name

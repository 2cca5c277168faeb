# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The filter hostnet.multicluster.join_list; documented in join_list.yml."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import join


def join_list(
    members: Sequence[Mapping[str, Any]], current: Sequence[str] | None = None, per_cluster: int = join.DEFAULT_PER_CLUSTER
) -> list[str]:
    if isinstance(members, str | Mapping) or not isinstance(members, Sequence) or not all(isinstance(one, Mapping) for one in members):
        raise AnsibleFilterError("join_list: the input must be a list of members with member, kube_cluster, zone, address and live")
    try:
        return join.join_list(members, current or [], per_cluster)
    except join.JoinError as error:
        raise AnsibleFilterError(f"join_list: {error}") from error


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"join_list": join_list}

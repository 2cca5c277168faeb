# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters of the role system_etcd."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.join import bracketed
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.systems import etcd


def _errors_of_input(function: Callable[..., Any]) -> Callable[..., Any]:
    """Refusals end as one line, not as a traceback."""

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except ValueError as error:
            raise AnsibleFilterError(str(error)) from error

    return called


class FilterModule:
    """Filters of the role system_etcd."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "etcd_inspection": etcd.inspection,
            "etcd_voters": etcd.voters,
            "etcd_known": etcd.known,
            "etcd_learners": etcd.learners,
            "etcd_transferee": _errors_of_input(etcd.transferee),
            "etcd_forgettable": _errors_of_input(etcd.forgettable),
            "etcd_readdressing": _errors_of_input(etcd.readdressing),
            "host": bracketed,
        }

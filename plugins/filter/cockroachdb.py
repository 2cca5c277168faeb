# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters of the role system_cockroachdb; each is documented in its own file beside this one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.systems import cockroachdb
from ansible_collections.hostnet.multicluster.plugins.plugin_utils.filters import errors_of_input


def refusal(image: str, version: str = "") -> str:
    """Why no spec can be made for this image, or "": asked first, because an error of a filter comes with Ansible's words around it."""
    try:
        cockroachdb.image_version(image, version)
    except ValueError as error:
        return str(error)
    return ""


class FilterModule:
    """Filters of the role system_cockroachdb."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        functions: dict[str, Callable[..., Any]] = {
            "cockroachdb_spec": cockroachdb.complete_spec,
            "cockroachdb_inspection": cockroachdb.inspection,
            "cockroachdb_init_member": cockroachdb.init_member,
            "cockroachdb_init_outcome": cockroachdb.init_outcome,
        }
        return {"cockroachdb_refusal": refusal} | {name: errors_of_input(function, name) for name, function in functions.items()}

# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters of the role system_cockroachdb; each is documented in its own file beside this one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.systems import cockroachdb, cockroachdb_settings
from ansible_collections.hostnet.multicluster.plugins.plugin_utils.filters import errors_of_input


def refusal(image: str, version: str = "", settings: Mapping[str, Any] | None = None, log: Mapping[str, Any] | None = None) -> str:
    """Why no spec can be made for this image with these settings, or "": an error of a filter would come with Ansible's words around it."""
    try:
        cockroachdb.version_flags(cockroachdb.image_version(image, version), log)
    except ValueError as error:
        return str(error)
    return cockroachdb_settings.refusal(settings or {})


class FilterModule:
    """Filters of the role system_cockroachdb."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        functions: dict[str, Callable[..., Any]] = {
            "cockroachdb_spec": cockroachdb.complete_spec,
            "cockroachdb_inspection": cockroachdb.inspection,
            "cockroachdb_init_member": cockroachdb.init_member,
            "cockroachdb_init_outcome": cockroachdb.init_outcome,
            "cockroachdb_settings_changes": cockroachdb_settings.changes,
        }
        return {"cockroachdb_refusal": refusal} | {name: errors_of_input(function, name) for name, function in functions.items()}

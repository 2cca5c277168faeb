# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that check the variables a user has set, by the argument specs of the collection's own roles."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.module_utils.common.yaml import yaml_load

from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import settings_check

Json = dict[str, Any]

_ROLES = Path(__file__).resolve().parents[2] / "roles"


@functools.cache
def _options() -> Json:
    return settings_check.options_of(yaml_load(path.read_text()) for path in sorted(_ROLES.glob("*/meta/argument_specs.yml")))


def known(names: Sequence[str]) -> list[str]:
    """Those of `names` that a role of the collection documents, so that their values can be looked up and checked."""
    return sorted(set(names) & set(_options()))


def checked(given: Mapping[str, Any], names: Sequence[str], required: Sequence[str] = ()) -> Json:
    """{errors, warnings} of the variables that are set (settings_check.check)."""
    return settings_check.check(given, [str(name) for name in names], _options(), [str(name) for name in required])


class FilterModule:
    """Filters of the role preflight."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"settings_known": known, "settings_checked": checked}

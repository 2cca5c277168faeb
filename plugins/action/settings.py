# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""settings always runs in Ansible's own process: the variables are there, and the roles' argument specs that they are checked by."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.module_utils.common.yaml import yaml_load
from ansible.plugins.action import ActionBase

from ansible_collections.hostnet.multicluster.plugins.module_utils._call import IGNORED
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import settings_check, withheld
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.data_root import normal_root
from ansible_collections.hostnet.multicluster.plugins.plugin_utils import preload

Json = dict[str, Any]

preload.for_all_forks()

_ROLES = Path(__file__).resolve().parents[2] / "roles"
ARGUMENT_SPEC: Json = {
    "required": {"type": "list", "elements": "str", "default": ["hostnet_system"]},
    **IGNORED,
}


class ActionModule(ActionBase):
    """Looks the variables up, and leaves the rest to module_utils."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: str | None = None, task_vars: Json | None = None) -> Json:
        result: Json = super().run(tmp, task_vars)
        del tmp
        _validation, options = self.validate_argument_spec(ARGUMENT_SPEC)
        self._known = task_vars or {}
        documented = settings_check.options_of(yaml_load(path.read_text()) for path in sorted(_ROLES.glob("*/meta/argument_specs.yml")))
        # Whatever is set of the collection's variables, by whomever.
        names = [str(name) for name in self._known if settings_check.PREFIX.match(str(name))]
        given = {name: self._value(name) for name in sorted(set(names) & set(documented))}
        checked = settings_check.check(given, names, documented, options["required"])
        # A system that nobody knows is looked for where the variables themselves are right.
        errors = checked["errors"] or self._system_errors()
        result.update({"changed": False, "requests": 0})
        if errors:
            return {**result, "failed": True, "msg": "; ".join(errors)}
        if checked["warnings"]:
            result["warnings"] = checked["warnings"]
        system = str(self._value("hostnet_system"))
        return {
            **result,
            "unread": checked["warnings"],
            "system": re.sub("^.*system_", "", system),
            "system_role": settings_check.system_role(system),
            "kube_clusters": withheld.withheld(self._value("hostnet_kube_clusters", [])),
            "data_root": normal_root(self._value("hostnet_data_root", "")),
        }

    def _value(self, name: str, default: Any = None) -> Any:
        """A variable, and outside of the role preflight, which has the defaults of all, `default`."""
        return self._templar.template(self._known.get(name, default))

    def _system_errors(self) -> list[str]:
        """Ansible's own words for a missing role name folders and no remedy. It is looked for where Ansible looks."""
        system = str(self._value("hostnet_system"))
        if system in settings_check.SYSTEMS or "." in system:
            return []
        playbook = Path(str(self._known["playbook_dir"]))
        configured = constants.config.get_config_value("DEFAULT_ROLES_PATH", variables=self._known)
        folders = [playbook / "roles", playbook, *(Path(str(path)) for path in configured)]
        if any((folder / settings_check.system_role(system)).exists() for folder in folders):
            return []
        return [settings_check.no_such_system(system)]

# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""client_certificates runs here, on the controller: the pki folder, the CA's key and the vault's secrets are here only."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.module_utils.basic import missing_required_lib
from ansible.plugins.action import ActionBase

from ansible_collections.hostnet.multicluster.plugins.action.host_certificates import ARGUMENT_SPEC as CERTIFICATES
from ansible_collections.hostnet.multicluster.plugins.action.host_certificates import LoadedVault, with_ca
from ansible_collections.hostnet.multicluster.plugins.module_utils._pki.clients import manage
from ansible_collections.hostnet.multicluster.plugins.module_utils._pki.library import MINIMUM_CRYPTOGRAPHY, missing_library
from ansible_collections.hostnet.multicluster.plugins.module_utils._pki.request import Request
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.certificates import CertificateError, lifetime_of

ARGUMENT_SPEC: dict[str, Any] = {
    "hostnet": {"type": "dict", "required": True},
    "spec": {"type": "dict", "required": True},
    "members": {"type": "list", "elements": "dict", "default": []},
    "trust": {"type": "dict"},
    "silent": {"type": "list", "elements": "str", "default": []},
    "client": {"type": "str", "default": ""},
    "drop": {"type": "str", "default": ""},
    **{name: CERTIFICATES[name] for name in ("ca", "key_type", "valid_days", "renew_days", "kube_clusters", "lock")},
}


class ActionModule(ActionBase):
    """Validates, and leaves the rest to module_utils."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        del tmp
        missing = missing_library()
        if missing:
            raise AnsibleActionFail(f"{missing}. {missing_required_lib(f'cryptography >= {MINIMUM_CRYPTOGRAPHY}')}")
        _validation, options = self.validate_argument_spec(ARGUMENT_SPEC)
        secrets = self._loader._vault.secrets
        try:
            request = Request(
                pki_dir=Path(str(options["hostnet"]["pki_dir"])),
                certificates=[],
                lifetime=lifetime_of(options["valid_days"], options["renew_days"]),
                key_type=str(options["key_type"]),
                organization=str(options["spec"].get("organization") or ""),
            )
            result.update(
                manage(
                    with_ca(request, options["ca"], self._path, bool(secrets)),
                    LoadedVault(secrets),
                    options["hostnet"],
                    options["spec"],
                    options["members"],
                    options["trust"],
                    options["silent"],
                    options["client"],
                    options["drop"],
                    datetime.now(UTC),
                    check_mode=bool(self._task.check_mode),
                )
            )
        except CertificateError as error:
            raise AnsibleActionFail(str(error)) from None
        result["requests"] = 0
        return result

    def _path(self, given: str) -> Path:
        return Path(str(self._loader.path_dwim(str(given))))

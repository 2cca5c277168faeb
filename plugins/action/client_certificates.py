# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""client_certificates runs here, on the controller: the pki folder, the CA's key and the vault's secrets are here only."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible_collections.hostnet.multicluster.plugins.action.host_certificates import ARGUMENT_SPEC as CERTIFICATES
from ansible_collections.hostnet.multicluster.plugins.module_utils._pki.clients import manage
from ansible_collections.hostnet.multicluster.plugins.module_utils._pki.request import Request
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.certificates import lifetime_of
from ansible_collections.hostnet.multicluster.plugins.plugin_utils.pki import PkiAction

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


class ActionModule(PkiAction):
    """Leaves the work to module_utils."""

    arguments = ARGUMENT_SPEC

    def done(self, options: dict[str, Any]) -> dict[str, Any]:
        request = Request(
            pki_dir=Path(str(options["hostnet"]["pki_dir"])),
            certificates=[],
            lifetime=lifetime_of(options["valid_days"], options["renew_days"]),
            key_type=str(options["key_type"]),
            organization=str(options["spec"].get("organization") or ""),
        )
        return manage(
            self._with_ca(request, options["ca"]),
            self._vault(),
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

# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""ca_info runs here, on the controller: the inventories, the pki folder and the vault's secrets are here only."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.utils.collection_loader import AnsibleCollectionConfig

from ansible_collections.hostnet.multicluster.plugins.action.host_certificates import ARGUMENT_SPEC as CERTIFICATES
from ansible_collections.hostnet.multicluster.plugins.module_utils._pki import place
from ansible_collections.hostnet.multicluster.plugins.module_utils._pki.authority import CaState, ca_state
from ansible_collections.hostnet.multicluster.plugins.module_utils._pki.clients import clients_of
from ansible_collections.hostnet.multicluster.plugins.module_utils._pki.library import missing_library
from ansible_collections.hostnet.multicluster.plugins.module_utils._pki.request import Request
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.certificates import CertificateError, Lifetime
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.clients import kept
from ansible_collections.hostnet.multicluster.plugins.plugin_utils.pki import InPkiFolder

ARGUMENT_SPEC: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "pki_dir": {"type": "path", "default": ""},
    "ca": CERTIFICATES["ca"],
    # Not used: they come from the module_defaults of the action group.
    "kube_clusters": CERTIFICATES["kube_clusters"],
    "lock": CERTIFICATES["lock"],
}
_COLLECTION = Path(__file__).parents[2]


class ActionModule(InPkiFolder):
    """Collects what only Ansible knows (inventory sources, the playbook's folder, collections), and leaves the rest to module_utils."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        del tmp
        given = task_vars or {}
        _validation, options = self.validate_argument_spec(ARGUMENT_SPEC)
        found = place.look(
            str(options["name"]),
            str(options["pki_dir"]),
            [str(source) for source in given.get("ansible_inventory_sources") or []],
            self._old_roots(str(given.get("playbook_dir") or "")),
            [str(constants.DEFAULT_LOCAL_TMP)],
            lambda folder: self._ca_state(folder, options["ca"]),
            lambda folder: self._clients(folder, options["ca"]),
        )
        result.update(changed=False, **found)
        if not result["warnings"]:
            del result["warnings"]
        return result

    def _ca_state(self, folder: Path, ca: dict[str, Any]) -> CaState:
        request = self._request(folder, ca)
        missing = missing_library()
        if missing:
            return CaState(request.ca_certificate or folder / "ca.crt", request.ca_private_key or folder / "ca.key", problem=missing)
        return ca_state(request, self._vault(), datetime.now(UTC))

    def _clients(self, folder: Path, ca: dict[str, Any]) -> list[str]:
        try:
            return [] if missing_library() else kept(clients_of(self._request(folder, ca)))
        except CertificateError:
            # A CA that cannot be read: what is wrong is in `problem`.
            return []

    def _request(self, folder: Path, ca: dict[str, Any]) -> Request:
        return self._with_ca(Request(folder, [], Lifetime(365, 30)), ca)

    @staticmethod
    def _old_roots(playbook_dir: str) -> set[str]:
        """Where version 0.2.0 made a folder `pki`, unless it was told another place: beside the playbook, so within a collection."""
        homes = {
            _COLLECTION.resolve(),
            *(Path(path, "ansible_collections/hostnet/multicluster") for path in AnsibleCollectionConfig.collection_paths),
        }
        roots = {home / "playbooks" for home in homes} | ({Path(playbook_dir)} if playbook_dir else set())
        return {os.path.realpath(root) for root in roots}

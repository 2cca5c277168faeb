# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""host_certificates runs here, on the controller: the pki folder, the CA's key and the vault's secrets are here only."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.hostnet.multicluster.plugins.module_utils._call import IGNORED
from ansible_collections.hostnet.multicluster.plugins.module_utils._pki.folder import ensure_certificates
from ansible_collections.hostnet.multicluster.plugins.module_utils._pki.request import Request
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import trust_revisions
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.before import issued
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.certificates import (
    KEY_TYPES,
    USAGES,
    CertificateError,
    lifetime_of,
)
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.member_certificates import wanted_certificates
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.serving import behind
from ansible_collections.hostnet.multicluster.plugins.plugin_utils.pki import PkiAction

ARGUMENT_SPEC: dict[str, Any] = {
    "pki_dir": {"type": "path", "required": True},
    "ca": {
        "type": "dict",
        "apply_defaults": True,
        "options": {
            "common_name": {"type": "str", "default": "hostnet CA"},
            "key_type": {"type": "str", "choices": list(KEY_TYPES), "default": "EC_P256"},
            "valid_days": {"type": "int", "default": 3650},
            "vault": {"type": "bool"},
            "certificate": {"type": "path"},
            "private_key": {"type": "path", "no_log": False},
            "old_certificate": {"type": "path"},
            "old_private_key": {"type": "path", "no_log": False},
        },
    },
    "ca_create": {"type": "bool", "default": True},
    "expected_ca_fingerprint": {"type": "str", "default": ""},
    "trusted_ca_fingerprints": {"type": "list", "elements": "str", "default": []},
    "retired_ca_fingerprints": {"type": "list", "elements": "str", "default": []},
    "new_ca": {"type": "bool", "default": False},
    "key_type": {"type": "str", "choices": list(KEY_TYPES), "default": "EC_P256"},
    "valid_days": {"type": "int", "default": 365},
    "renew_days": {"type": "int"},
    "renew": {"type": "list", "elements": "str", "default": []},
    "organization": {"type": "str", "default": ""},
    "nkeys": {"type": "list", "elements": "str", "default": []},
    "known_nkeys": {"type": "list", "elements": "str", "default": []},
    "certificates": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str", "required": True},
            "file": {"type": "str", "required": True},
            "common_name": {"type": "str", "required": True},
            "usages": {"type": "list", "elements": "str", "choices": list(USAGES), "default": list(USAGES)},
            "ip_addresses": {"type": "list", "elements": "str", "default": []},
            "dns_names": {"type": "list", "elements": "str", "default": []},
            "uris": {"type": "list", "elements": "str", "default": []},
            "ca_name": {"type": "str", "default": "ca"},
            "ca_fingerprint": {"type": "str", "default": ""},
            "files": {"type": "dict", "default": {}},
        },
    },
    "members": {"type": "list", "elements": "dict"},
    "hostnet": {"type": "dict"},
    "spec": {"type": "dict"},
    "shown_trust": {
        "type": "dict",
        "options": {
            "revision": {"type": "int", "required": True},
            "trusted": {"type": "list", "elements": "str", "required": True},
            "issuer": {"type": "str", "required": True},
            "dropped": {"type": "list", "elements": "str", "default": []},
        },
    },
    **IGNORED,
}


class ActionModule(PkiAction):
    """Leaves the work to module_utils."""

    arguments = ARGUMENT_SPEC

    def _of_members(self, options: dict[str, Any]) -> list[dict[str, Any]]:
        """The certificates that O(members) and clients have to have, with what is left to defaults."""
        if options["members"] is None:
            return []
        if options["hostnet"] is None or options["spec"] is None:
            raise CertificateError("members: give hostnet and spec too")
        try:
            wanted = wanted_certificates(options["hostnet"], options["spec"], options["members"])
        except ValueError as error:
            raise CertificateError(str(error)) from error
        validation = ArgumentSpecValidator({"certificates": ARGUMENT_SPEC["certificates"]}).validate({"certificates": wanted})
        if validation.error_messages:
            raise CertificateError("; ".join(validation.error_messages))
        found: list[dict[str, Any]] = validation.validated_parameters["certificates"]
        return found

    def _behind(self, options: dict[str, Any], issued: list[dict[str, Any]]) -> list[str]:
        known = self._known.get("hostnet_deployment")
        if not known or not options["members"]:
            return []
        recorded = {str(binding["member"]) for binding in known["plan"]["members"]}
        members = [binding for binding in options["members"] if binding["member"] in recorded]
        return behind(members, known["kube_clusters"], issued)

    def done(self, options: dict[str, Any]) -> dict[str, Any]:
        ca, trust = options["ca"], options["shown_trust"]
        request = Request(
            pki_dir=self._path(options["pki_dir"]),
            certificates=[*self._of_members(options), *options["certificates"], *trust_revisions.probes(trust)],
            lifetime=lifetime_of(options["valid_days"], options["renew_days"]),
            key_type=str(options["key_type"]),
            organization=str(options["organization"]),
            ca_common_name=str(ca["common_name"]),
            ca_key_type=str(ca["key_type"]),
            ca_valid_days=ca["valid_days"],
            ca_create=options["ca_create"],
            trusted_ca_fingerprints=options["trusted_ca_fingerprints"],
            retired_ca_fingerprints=options["retired_ca_fingerprints"],
            new_ca=options["new_ca"],
            expected_ca_fingerprint=str(options["expected_ca_fingerprint"]),
            nkeys=options["nkeys"],
            known_nkeys=options["known_nkeys"],
            renew=options["renew"],
        )
        found = ensure_certificates(self._with_ca(request, ca), self._vault(), datetime.now(UTC), check_mode=bool(self._task.check_mode))
        certificates = found["certificates"]
        shown = trust_revisions.shown(trust, certificates) if trust else []
        return {**found, "noted": issued(certificates), "behind": self._behind(options, certificates), "shown": shown}

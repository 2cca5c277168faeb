# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""host_certificates runs here, on the controller: the pki folder, the CA's key and the vault's secrets are here only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.module_utils.basic import missing_required_lib
from ansible.parsing.vault import VaultLib, match_encrypt_secret
from ansible.plugins.action import ActionBase

from ansible_collections.hostnet.multicluster.plugins.module_utils._pki.folder import ensure_certificates
from ansible_collections.hostnet.multicluster.plugins.module_utils._pki.library import MINIMUM_CRYPTOGRAPHY, missing_library
from ansible_collections.hostnet.multicluster.plugins.module_utils._pki.request import PkiError, Request
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.certificates import (
    KEY_TYPES,
    USAGES,
    CertificateError,
    lifetime_of,
)

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
    # Not used: they come from the module_defaults of the action group.
    "kube_clusters": {"type": "list", "elements": "dict"},
    "lock": {"type": "dict"},
}


def with_ca(request: Request, ca: dict[str, Any], path: Callable[[str], Path], secret: bool) -> Request:
    """The request with what the option `ca` says of a CA that is there. `path` resolves a path, `secret` is whether this run has a vault secret.

    By default the key of a new CA is encrypted where it has one. A key that is there stays as it is, unless the user says so: other runs may have no
    secret, and could not read it any more.
    """

    def resolved(name: str) -> Path | None:
        return path(ca[name]) if ca[name] else None

    return replace(
        request,
        ca_vault=bool(ca["vault"]),
        ca_vault_default=ca["vault"] is None and secret,
        ca_certificate=resolved("certificate"),
        ca_private_key=resolved("private_key"),
        ca_old_certificate=resolved("old_certificate"),
        ca_old_private_key=resolved("old_private_key"),
    )


class LoadedVault:
    """The vault secrets that this run of Ansible was given (--vault-password-file, --vault-id, --ask-vault-pass)."""

    def __init__(self, secrets: list[tuple[str, Any]] | None) -> None:
        self._secrets = secrets or []

    def _need_secret(self, what: str) -> None:
        if not self._secrets:
            raise PkiError(f"{what}, but no vault password was given: use --vault-password-file, --vault-id or --ask-vault-pass")

    def _encrypt_secret(self, where: str) -> tuple[str, Any]:
        self._need_secret(f"The CA's private key {where} shall be encrypted with ansible-vault (ca.vault)")
        try:
            identity, secret = match_encrypt_secret(self._secrets, encrypt_vault_id=constants.DEFAULT_VAULT_ENCRYPT_IDENTITY)
        except AnsibleError as error:
            raise PkiError(f"The CA's private key {where} cannot be encrypted with ansible-vault: {error}") from error
        return str(identity), secret

    def check_encrypt(self, where: str) -> None:
        self._encrypt_secret(where)

    def encrypt(self, plain: bytes, where: str) -> bytes:
        identity, secret = self._encrypt_secret(where)
        # A vault id goes into the file's header; 'default' is the name of a password that has none.
        data: bytes = VaultLib(self._secrets).encrypt(plain, secret=secret, vault_id=None if identity == "default" else identity)
        return data

    def decrypt(self, data: bytes, where: str) -> bytes:
        self._need_secret(f"The CA's private key {where} is encrypted with ansible-vault")
        try:
            plain: bytes = VaultLib(self._secrets).decrypt(data)
        except AnsibleError as error:
            # Ansible's own text tells of "no vault secrets", which sounds like no password at all.
            if "Decryption failed" not in str(error):
                raise PkiError(f"The CA's private key {where} cannot be decrypted: {error}") from None
            raise PkiError(
                f"wrong vault password for the CA's private key {where}: none of the {len(self._secrets)} given vault secrets decrypts it"
            ) from None
        return bytes(plain)


class ActionModule(ActionBase):
    """Validates, resolves paths against the playbook's folder, and leaves the rest to module_utils."""

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
        ca = options["ca"]
        try:
            request = Request(
                pki_dir=self._path(options["pki_dir"]),
                certificates=options["certificates"],
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
            request = with_ca(request, ca, self._path, bool(self._loader._vault.secrets))
            vault = LoadedVault(self._loader._vault.secrets)
            result.update(ensure_certificates(request, vault, datetime.now(UTC), check_mode=bool(self._task.check_mode)))
        except CertificateError as error:
            raise AnsibleActionFail(str(error)) from None
        result["requests"] = 0
        return result

    def _path(self, given: str) -> Path:
        # As for a template's src: relative to the playbook, not to wherever ansible-playbook was started.
        return Path(str(self._loader.path_dwim(str(given))))

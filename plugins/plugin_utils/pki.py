# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Base classes of action plugins that work in the pki folder: that folder, the CA's key and the vault's secrets are on the controller only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from ansible import constants
from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.module_utils.basic import missing_required_lib
from ansible.parsing.vault import VaultLib, match_encrypt_secret
from ansible.plugins.action import ActionBase

from ansible_collections.hostnet.multicluster.plugins.module_utils._pki.library import MINIMUM_CRYPTOGRAPHY, missing_library
from ansible_collections.hostnet.multicluster.plugins.module_utils._pki.request import PkiError, Request
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan.certificates import CertificateError

Json = dict[str, Any]


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


class InPkiFolder(ActionBase):
    """What all of them have: a CA that is there, the vault's secrets, and paths."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_diff = True

    def _vault(self) -> LoadedVault:
        return LoadedVault(self._loader._vault.secrets)

    def _with_ca(self, request: Request, ca: Json) -> Request:
        """The request with what the option `ca` says of a CA that is there.

        By default the key of a new CA is encrypted where this run has a vault secret. A key that is there stays as it is, unless the user says so: other
        runs may have no secret, and could not read it any more.
        """

        def resolved(name: str) -> Path | None:
            return self._path(ca[name]) if ca[name] else None

        return replace(
            request,
            ca_vault=bool(ca["vault"]),
            ca_vault_default=ca["vault"] is None and bool(self._loader._vault.secrets),
            ca_certificate=resolved("certificate"),
            ca_private_key=resolved("private_key"),
            ca_old_certificate=resolved("old_certificate"),
            ca_old_private_key=resolved("old_private_key"),
        )

    def _path(self, given: str) -> Path:
        # As for a template's src: relative to the playbook, not to wherever ansible-playbook was started.
        return Path(str(self._loader.path_dwim(str(given))))


class PkiAction(InPkiFolder):
    """Validates, and leaves the rest to `done`."""

    arguments: ClassVar[Json]

    def done(self, options: Json) -> Json:
        """The result of the work. Raises CertificateError with what is wrong."""
        raise NotImplementedError

    def run(self, tmp: str | None = None, task_vars: Json | None = None) -> Json:
        result: Json = super().run(tmp, task_vars)
        del tmp
        self._known = task_vars or {}
        missing = missing_library()
        if missing:
            raise AnsibleActionFail(f"{missing}. {missing_required_lib(f'cryptography >= {MINIMUM_CRYPTOGRAPHY}')}")
        _validation, options = self.validate_argument_spec(self.arguments)
        try:
            result.update(self.done(options))
        except CertificateError as error:
            raise AnsibleActionFail(str(error)) from None
        result["requests"] = 0
        return result

# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a member has what: ports, folders on its node, in its container and on the controller. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CERTIFICATES_PATH = "/etc/hostnet/certs"
CONFIG_PATH = "/etc/hostnet/config"
# Below the pki folder: certificates that belong to no member.
SHARED_FOLDER = "clients"


def all_ports(spec: Mapping[str, Any]) -> dict[str, int]:
    """Every port of a system by name: those on the host's address and those on loopback alone."""
    return {**spec.get("ports", {}), **spec.get("local_ports", {})}


def data_folder(hostnet: Mapping[str, Any], binding: Mapping[str, Any]) -> str:
    """Folder of one member's data on its node. The start gate: only admission creates it, and without it no pod starts."""
    return f"{str(hostnet['data_root']).rstrip('/')}/{hostnet['name']}/{binding['admission']}"


def ca_certificate(hostnet: Mapping[str, Any]) -> str:
    """Path of the file on the controller with the CAs that members trust. The user's own CA stays where it is, until it is exchanged."""
    known = hostnet.get("trusted_file") or (hostnet.get("pki") or {}).get("trusted") or (hostnet.get("ca") or {}).get("certificate")
    return str(known or f"{hostnet.get('pki_dir', '')}/ca.crt")


def certificate_folder(wish: Mapping[str, Any], binding: Mapping[str, Any]) -> str:
    """Folder of a certificate under the pki folder: the member's own, or `clients` for one that all members share."""
    return SHARED_FOLDER if wish.get("shared") else str(binding["member"])

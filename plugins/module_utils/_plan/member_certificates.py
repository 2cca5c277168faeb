# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which certificates members and clients have to have. Pure functions."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from . import clients
from .layout import certificate_folder

Json = dict[str, Any]


def wanted_certificates(hostnet: Mapping[str, Any], spec: Mapping[str, Any], bindings: Sequence[Mapping[str, Any]]) -> list[Json]:
    """The `certificates` of host_certificates: one per file and member, then the clients'."""
    wanted: list[Json] = []
    shared: set[str] = set()
    own = _own_addresses(bindings)
    for binding in bindings:
        for wish in spec["certificates"]:
            if wish.get("shared"):
                if wish["file"] in shared:
                    continue
                shared.add(wish["file"])
            entry: Json = {
                "name": certificate_folder(wish, binding),
                "file": wish["file"],
                "common_name": str(wish["common_name"])
                .replace("{process}", str(binding["process"]))
                .replace("{member}", str(binding["member"])),
                "usages": list(wish["usages"]),
            }
            if wish.get("shared"):
                entry["files"] = clients.folder_files(spec, wish["file"])
            if wish.get("hosts"):
                loopback = ["127.0.0.1", "::1"] if ipaddress.ip_address(str(binding["address"])).version == 6 else ["127.0.0.1"]
                extra_ips, extra_names = _split_hosts(hostnet.get("certificate_hosts", []))
                entry["ip_addresses"] = _unique([str(binding["address"]), *loopback, *own[str(binding["member"])], *extra_ips])
                entry["dns_names"] = _unique(["localhost", str(binding["node"]), str(binding["member"]), *extra_names])
            wanted.append(entry)
    return wanted + [clients.certificate(spec, client) for client in clients.everybody(hostnet) if client not in shared]


def _own_addresses(bindings: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """The further addresses of each member's host that no other member's host has, or says that it has.

    They are what its kubelet says. One that names another member's address would get a certificate to pass for that member.
    """
    claimed = Counter(
        address for binding in bindings for address in {str(binding["address"]), *map(str, binding.get("other_addresses", []))}
    )
    return {
        str(binding["member"]): [str(address) for address in binding.get("other_addresses", []) if claimed[str(address)] == 1]
        for binding in bindings
    }


def _split_hosts(hosts: Sequence[str]) -> tuple[list[str], list[str]]:
    addresses, dns_names = [], []
    for host in hosts:
        try:
            addresses.append(str(ipaddress.ip_address(host)))
        except ValueError:
            dns_names.append(host)
    return addresses, dns_names


def _unique(items: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(items))

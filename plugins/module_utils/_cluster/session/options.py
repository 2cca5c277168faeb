# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of one kube cluster, and what is said where one of them is of no use."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

REQUEST_TIMEOUT_SECONDS = 60.0

# Named as users of kubernetes.core know them. `name` and `request_timeout` are ours.
KUBE_CLUSTER_OPTIONS: dict[str, Json] = {
    "name": {"type": "str", "required": True},
    "kubeconfig": {"type": "path"},
    "context": {"type": "str"},
    "host": {"type": "str"},
    "api_key": {"type": "str", "no_log": True},
    "ca_cert": {"type": "path", "aliases": ["ssl_ca_cert"]},
    "client_cert": {"type": "path", "aliases": ["cert_file"]},
    "client_key": {"type": "path", "aliases": ["key_file"], "no_log": False},
    "validate_certs": {"type": "bool", "default": True, "aliases": ["verify_ssl"]},
    "tls_server_name": {"type": "str"},
    "proxy": {"type": "str"},
    "no_proxy": {"type": "str"},
    "impersonate_user": {"type": "str"},
    "impersonate_groups": {"type": "list", "elements": "str"},
    "request_timeout": {"type": "float", "default": REQUEST_TIMEOUT_SECONDS},
}


def kube_clusters_argument() -> Json:
    """Argument spec of the option `kube_clusters`, the same in every module."""
    return {"type": "list", "elements": "dict", "required": True, "options": KUBE_CLUSTER_OPTIONS}


class AccessError(ValueError):
    """Why an API server cannot be reached as it was asked for. Its text is one line, with neither a secret nor a quote of a file in it.

    `field` is the option, or the part of the kubeconfig, that has to be mended.
    """

    def __init__(self, field: str, text: str) -> None:
        super().__init__(" ".join(text.split()))
        self.field = field

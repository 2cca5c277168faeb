# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How large an object may be in Kubernetes, and how large it is: pure functions. docs/limits.md has the figures as a table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

# The values of a ConfigMap or a Secret together, without their keys.
# https://kubernetes.io/docs/concepts/configuration/configmap/ and .../secret/
DATA_BYTES = 1 << 20
# An object as etcd gets it (--max-request-bytes), with what the API server writes down about its fields.
# https://etcd.io/docs/v3.6/dev-guide/limit/
OBJECT_BYTES = 3 << 19
# One environment variable, with its name, the = and the zero at its end: MAX_ARG_STRLEN of Linux.
# https://man7.org/linux/man-pages/man2/execve.2.html
VARIABLE_BYTES = 1 << 17
# A key of a ConfigMap or a Secret.
KEY_LENGTH = 253
# The longest that a certificate, its key and the CA's certificate are (RSA with 4096 bits), where they are not issued yet.
_FILE_BYTES = {".crt": 2200, ".key": 3300}
# Beside what is counted: metadata that the collection and the API server add.
_MORE_BYTES = 8192
_KINDS_OF_DATA = ("ConfigMap", "Secret")


def data_bytes(definition: Mapping[str, Any], files: Sequence[str] = ()) -> int:
    """Bytes of the values of a ConfigMap or Secret; `files` are the keys of a Secret whose contents are read later."""
    secret = definition["kind"] == "Secret"
    # Base64 has four characters for three bytes.
    values = sum(
        (len(str(value)) // 4 * 3 - str(value).count("=")) if secret else len(str(value).encode())
        for value in (definition.get("data") or {}).values()
    )
    return values + sum(_FILE_BYTES.get(key[-4:], _FILE_BYTES[".crt"]) for key in files)


def object_bytes(definition: Mapping[str, Any], files: Sequence[str] = ()) -> int:
    """Bytes of an object in etcd, at most: its JSON is longer than what is stored, and each key is written down once more as a field."""
    keys = [*(definition.get("data") or {}), *files]
    return (
        len(json.dumps(definition, separators=(",", ":"), ensure_ascii=False).encode())
        + data_bytes({"kind": definition["kind"]}, files)
        + sum(len(key) + 8 for key in keys)
        + _MORE_BYTES
    )


def too_large(kube_cluster: str, definition: Mapping[str, Any], files: Sequence[str], remedy: str) -> str:
    """Why an object would be refused, one line with figures; "" where it fits."""
    metadata = definition["metadata"]
    what = f"kube cluster {kube_cluster}: {definition['kind']} {metadata['namespace']}/{metadata['name']} would"
    long = max([*(definition.get("data") or {}), *files], key=len, default="")
    if len(long) > KEY_LENGTH:
        return f"{what} have a key of {len(long)} characters ({long[:60]}...), and Kubernetes takes {KEY_LENGTH}: {remedy}"
    data = data_bytes(definition, files) if definition["kind"] in _KINDS_OF_DATA else 0
    if data > DATA_BYTES:
        return f"{what} hold {data} bytes, and Kubernetes takes {DATA_BYTES}: {remedy}"
    size = object_bytes(definition, files)
    return f"{what} be {size} bytes long, and etcd takes {OBJECT_BYTES} of one object: {remedy}" if size > OBJECT_BYTES else ""


def variable_too_long(definition: Mapping[str, Any], remedy: str) -> str:
    """Why no process would start with the variables of the join list, one line; "" where it would."""
    for name, value in sorted((definition.get("data") or {}).items()):
        size = len(f"{name}={value}".encode()) + 1
        if size > VARIABLE_BYTES:
            return (
                f"the variable {name} of ConfigMap {definition['metadata']['namespace']}/{definition['metadata']['name']} would be {size} bytes long, and "
                f"Linux takes {VARIABLE_BYTES} of one variable, so no member would start: {remedy}"
            )
    return ""

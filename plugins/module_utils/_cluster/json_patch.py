# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON patches (RFC 6902) with tests: an object is changed as it was read, or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import kinds
from .client import FIELD_MANAGER, Json, KubeCluster, KubeError

_ATTEMPTS = 10  # other writers are faster between the API server's own read and write: rare, and never so often in a row
# What the API server answers to a JSON patch whose `test` fails or whose path is not there (RFC 6902), and where the object is gone.
_TEST_FAILED = (400, 404, 422)


def annotation_path(name: str) -> str:
    """The JSON pointer (RFC 6901) to an annotation."""
    return "/metadata/annotations/" + name.replace("~", "~0").replace("/", "~1")


def json_patch(cluster: KubeCluster, kind: kinds.Kind, name: str, namespace: str, operations: Sequence[Json]) -> bool:
    """Send a JSON patch (RFC 6902), which the API server does as a whole or not at all; False where one of its tests failed.

    It may be sent again after a lost answer, so it has to come with tests. Where one of them fails then, the first try may have been carried out: the
    object is read, and it is done where that is as the patch leaves it.
    """
    for attempt in range(_ATTEMPTS):
        try:
            cluster.request(
                "PATCH",
                kind.path(namespace, name),
                f"{kind.name} {namespace}/{name}",
                query=[("fieldManager", FIELD_MANAGER)],
                body=list(operations),
                content_type="application/json-patch+json",
                safe=True,
            )
        except KubeError as error:
            if error.status in _TEST_FAILED:
                return error.tries > 1 and _is_done(cluster.get(kind, name, namespace), operations)
            # The API server itself gives up after some writers in a row that were faster.
            if error.status != 409 or attempt == _ATTEMPTS - 1:
                raise
        else:
            return True
    return False


def _is_done(live: Json | None, operations: Sequence[Json]) -> bool:
    """Whether the object is as these operations leave it: what they set is there, and what they only test is still so."""
    wanted: dict[str, Any] = {}
    for operation in operations:
        wanted[operation["path"]] = operation["value"]
    return live is not None and all(_at(live, path) == value for path, value in wanted.items())


def _at(document: Any, pointer: str) -> Any:
    """What a JSON pointer (RFC 6901) leads to; None where it leads nowhere."""
    for part in pointer.split("/")[1:]:
        document = document.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(document, dict) else None
    return document

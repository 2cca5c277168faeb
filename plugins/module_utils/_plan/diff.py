# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Does a live object still carry everything that its manifest says, and what differs?

The API server answers with more than was applied (defaults, status, fields of other managers), so the question is
whether the manifest is a subset of the live object. Lists are compared as the API server merges them: keyed lists by
their keys, sets as sets, everything else whole. Rules: the `x-kubernetes-list-type` and `x-kubernetes-list-map-keys`
of the Kubernetes OpenAPI.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

Json = dict[str, Any]
Identity = tuple[str, ...]

# Hash of the manifest as applied last: it alone can tell that a field was taken out of the manifest.
APPLIED_ANNOTATION = "hostnet.multicluster/applied"

# Field name of a list -> the key fields, tried in turn: the first whose fields every item carries is used.
_MERGE_KEYS: dict[str, tuple[tuple[str, ...], ...]] = {
    "containers": (("name",),),
    "initContainers": (("name",),),
    "ephemeralContainers": (("name",),),
    "env": (("name",),),
    "volumes": (("name",),),
    "imagePullSecrets": (("name",),),
    "secrets": (("name",),),
    "ports": (("containerPort", "protocol"), ("port", "protocol")),
    "volumeMounts": (("mountPath",),),
    "volumeDevices": (("devicePath",),),
    "hostAliases": (("ip",),),
    "topologySpreadConstraints": (("topologyKey", "whenUnsatisfiable"),),
    "conditions": (("type",),),
    "ownerReferences": (("uid",),),
    "resourceClaims": (("name",),),
}
# Key fields that the API server fills in where the manifest leaves them out.
_KEY_DEFAULTS = {"protocol": "TCP"}
# Order means nothing in these, and others may add to them (admission adds tolerations to every pod).
_SETS = frozenset({"finalizers", "tolerations"})
# Plain maps: empty and absent are the same thing there. Elsewhere {} says something, as in `emptyDir: {}`.
_PLAIN_MAPS = frozenset({"labels", "annotations", "data", "binaryData", "stringData", "nodeSelector", "matchLabels"})
_SCALARS = frozenset({str, int, bool, float})
# What the API server alone writes.
BOOKKEEPING = frozenset({"managedFields", "resourceVersion", "uid", "generation", "creationTimestamp", "selfLink"})
_BOOKKEEPING_ANNOTATIONS = frozenset({APPLIED_ANNOTATION, "kubectl.kubernetes.io/last-applied-configuration"})
_QUANTITY_MAPS = frozenset({"limits", "requests", "capacity", "hard"})
_QUANTITY_FIELDS = frozenset({"sizeLimit"})
_SUFFIXES = {
    "": Decimal(1),
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "P": Decimal(10**15),
    "E": Decimal(10**18),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
    "Pi": Decimal(2**50),
    "Ei": Decimal(2**60),
}


class _Missing:
    """No value at all, as opposed to null."""


_MISSING = _Missing()


def clean(value: Any) -> Any:
    """A deep copy without the map entries that are null: templates write null for "not given"."""
    if isinstance(value, dict):
        return {str(key): item if type(item) in _SCALARS else clean(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [item if type(item) in _SCALARS else clean(item) for item in value]
    return value


def applied_hash(definition: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of a manifest: the same whatever the order of its map entries, and without our annotation itself."""
    plain: Mapping[str, Any] = definition
    metadata = definition.get("metadata")
    if isinstance(metadata, dict) and isinstance(metadata.get("annotations"), dict):
        annotations = {key: value for key, value in metadata["annotations"].items() if key != APPLIED_ANNOTATION}
        rest = {key: value for key, value in metadata.items() if key != "annotations"}
        plain = {**definition, "metadata": {**rest, **({"annotations": annotations} if annotations else {})}}
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def carries(live: Any, desired: Any) -> bool:
    """True where `live` has every field of `desired` with the same value; it may have more."""
    return difference(desired, live) is None


def difference(desired: Any, live: Any) -> tuple[Any, Any] | None:
    """(before, after) holding only the fields of `desired` that `live` does not carry, or None where there are none."""
    return _difference(desired, live, ())


def _difference(desired: Any, live: Any, path: tuple[str, ...]) -> tuple[Any, Any] | None:
    if isinstance(desired, dict) and isinstance(live, dict):
        return _map_difference(desired, live, path)
    if isinstance(desired, list) and isinstance(live, list):
        return _list_difference(desired, live, path)
    return None if _same_scalar(desired, live, path) else (live, desired)


def _map_difference(desired: Mapping[str, Any], live: Mapping[str, Any], path: tuple[str, ...]) -> tuple[Any, Any] | None:
    before: Json = {}
    after: Json = {}
    for key, value in desired.items():
        actual = live.get(key)
        # Most fields are these: no call for them. True is no 1, so the types have to be the same.
        if type(value) is type(actual) and type(value) in _SCALARS and value == actual:
            continue
        if actual is None:
            if not _means_nothing(key, value):
                after[key] = value
            continue
        inner = _difference(value, actual, (*path, key))
        if inner is not None:
            # A map that only gained fields had nothing to show before.
            if not (isinstance(value, dict) and inner[0] == {}):
                before[key] = inner[0]
            after[key] = inner[1]
    return (before, after) if after else None


def _list_difference(desired: list[Any], live: list[Any], path: tuple[str, ...]) -> tuple[Any, Any] | None:
    if desired == live and all(isinstance(item, str) for item in desired):
        return None
    field = path[-1] if path else ""
    keys, wanted, known = _keyed(field, desired, live)
    if keys:
        before: list[Any] = []
        after: list[Any] = []
        for identity, item in wanted.items():
            actual = known.get(identity, _MISSING)
            if actual is _MISSING:
                after.append(item)
                continue
            inner = _difference(item, actual, path)
            if inner is not None:
                named = {key: actual[key] for key in keys if key in actual}
                before.append({**named, **inner[0]})
                after.append({**named, **inner[1]})
        return (before, after) if after else None
    if field in _SETS:
        if all(any(_difference(item, actual, path) is None for actual in live) for item in desired):
            return None
        return live, desired
    if len(desired) == len(live) and all(_difference(item, actual, path) is None for item, actual in zip(desired, live, strict=True)):
        return None
    return live, desired


def _keyed(field: str, desired: list[Any], live: list[Any]) -> tuple[tuple[str, ...], dict[Identity, Any], dict[Identity, Any]]:
    """(key fields, desired and live items by what these say), with () as key fields where the list is none of keyed items."""
    for keys in _MERGE_KEYS.get(field, ()):
        wanted, known = _by_identity(desired, keys), _by_identity(live, keys)
        if wanted is not None and known is not None:
            return keys, wanted, known
    return (), {}, {}


def _by_identity(items: list[Any], keys: tuple[str, ...]) -> dict[Identity, Any] | None:
    """The items by their keys; None where one lacks a key, or two have the same."""
    found: dict[Identity, Any] = {}
    for item in items:
        if not isinstance(item, dict):
            return None
        values = [_KEY_DEFAULTS.get(key) if item.get(key) is None else item[key] for key in keys]
        if None in values:
            return None
        found[tuple(map(str, values))] = item
    return found if len(found) == len(items) else None


def _means_nothing(key: str, value: Any) -> bool:
    """True for what the API server drops: its absence says the same."""
    return value is None or value == [] or (value == {} and key in _PLAIN_MAPS)


def _same_scalar(desired: Any, live: Any, path: tuple[str, ...]) -> bool:
    if isinstance(desired, bool) or isinstance(live, bool):
        return desired is live
    if desired == live:
        return True
    if (len(path) >= 2 and path[-2] in _QUANTITY_MAPS) or (path and path[-1] in _QUANTITY_FIELDS):
        first, second = quantity(desired), quantity(live)
        return first is not None and first == second
    return False


def quantity(value: Any) -> Decimal | None:
    """The number that a Kubernetes quantity stands for (`1000m` is 1, `1Ki` is 1024), or None where it is not one."""
    text = str(value).strip()
    number = text.rstrip("numkMGTPEKi")
    try:
        parsed = Decimal(number)
    except InvalidOperation:
        return None
    suffix = _SUFFIXES.get(text[len(number) :])
    return parsed * suffix if suffix is not None and parsed.is_finite() else None


def dropped(owned: Mapping[str, Any], desired: Any, live: Any) -> Any:
    """The values in `live` of fields that our manager owns and that `desired` no longer has: applying removes them.

    `owned` is a `fieldsV1` of metadata.managedFields: `f:` names a field, `k:` an item of a keyed list, `v:` a member
    of a set. Returns {} where there is nothing.
    """
    found = _dropped(owned, desired, live)
    return {} if isinstance(found, _Missing) else found


def _dropped(owned: Mapping[str, Any], desired: Any, live: Any) -> Any:
    inner = {key: value for key, value in owned.items() if key != "."}
    if not inner:
        return live if isinstance(desired, _Missing) else _MISSING
    if isinstance(live, dict):
        fields: Json = {}
        for key, value in inner.items():
            name = key[2:]
            if not key.startswith("f:") or name not in live or name == APPLIED_ANNOTATION:
                continue
            wanted = desired.get(name, _MISSING) if isinstance(desired, dict) else _MISSING
            found = _dropped(value, wanted, live[name])
            if not isinstance(found, _Missing):
                fields[name] = found
        return fields or _MISSING
    if isinstance(live, list):
        items: list[Any] = []
        for key, value in inner.items():
            identity: Any = json.loads(key[2:]) if key[:2] in ("k:", "v:") else None
            if key.startswith("v:"):
                if identity in live and not (isinstance(desired, list) and identity in desired):
                    items.append(identity)
            elif key.startswith("k:"):
                actual = _pick(live, identity)
                found = _dropped(value, _pick(desired, identity), actual) if not isinstance(actual, _Missing) else _MISSING
                if not isinstance(found, _Missing):
                    items.append({**identity, **found} if isinstance(found, dict) else found)
        return items or _MISSING
    return _MISSING


def _pick(items: Any, identity: Mapping[str, Any]) -> Any:
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict) and all(item.get(key, _KEY_DEFAULTS.get(key)) == value for key, value in identity.items()):
            return item
    return _MISSING


def merge(first: Any, second: Any) -> Any:
    """Both partial objects as one; lists are joined, and at a conflict `first` wins."""
    if isinstance(first, dict) and isinstance(second, dict):
        joined = {key: merge(first[key], second[key]) if key in second else first[key] for key in first}
        return {**joined, **{key: value for key, value in second.items() if key not in first}}
    if isinstance(first, list) and isinstance(second, list):
        return first + [item for item in second if item not in first]
    return first


def redact(value: Mapping[str, Any]) -> Json:
    """A manifest or live object in which a Secret's data is shown as `(sha256:abcd1234)` only. What is not data is not copied."""
    shown = dict(value)
    if shown.get("kind") == "Secret":
        for field, encoded in (("data", True), ("stringData", False)):
            if isinstance(shown.get(field), dict):
                shown[field] = {key: _fingerprint(item, encoded) for key, item in shown[field].items()}
    return shown


def _fingerprint(value: Any, encoded: bool) -> str:
    raw = str(value).encode()
    if encoded:
        try:
            raw = base64.b64decode(raw, validate=True)
        except (binascii.Error, ValueError):
            return "(not base64)"
    return f"(sha256:{hashlib.sha256(raw).hexdigest()[:8]})"


def visible(value: Mapping[str, Any]) -> Json:
    """An object for people: without status, managedFields and what the API server alone writes; secrets as hashes."""
    shown = redact(value)
    shown.pop("status", None)
    if isinstance(shown.get("metadata"), dict):
        metadata = without(shown["metadata"], BOOKKEEPING)
        if isinstance(metadata.get("annotations"), dict):
            metadata["annotations"] = without(metadata["annotations"], _BOOKKEEPING_ANNOTATIONS)
            if not metadata["annotations"]:
                del metadata["annotations"]
        shown["metadata"] = metadata
    return shown


def without(fields: Mapping[str, Any], names: frozenset[str]) -> Json:
    return {key: item for key, item in fields.items() if key not in names}

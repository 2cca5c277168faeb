# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with the variables that a user has set, before anything uses one of them: pure functions.

Which variables there are, and of which type, the roles' argument specs say. Ansible's own check of those converts what it can (a text
becomes a list of one, and the role still gets the text) and tells the rest in Python's words, so it is not used (`rolespec_validate`).
"""

from __future__ import annotations

import difflib
import ipaddress
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from . import labels, lock, selector, versions
from .systems import cockroachdb, etcd

Json = dict[str, Any]
Options = Mapping[str, Mapping[str, Any]]

PREFIX = re.compile(r"hostnet_|system_(?:cockroachdb|etcd|nats)_")
COLLECTION = "hostnet.multicluster."
SYSTEMS = ("cockroachdb", "etcd", "nats")
# Facts and variables that the roles make for each other. Who runs two playbooks at once finds them when the second one begins.
FACTS = frozenset(
    f"hostnet_{name}"
    for name in (
        # observed and planned
        *("absent_kube_clusters", "batch", "bindings", "certificates", "identity", "inspection", "journal", "member", "nodes", "observed"),
        *("plan", "spec", "state", "status", "targets"),
        # for the hooks of a user, and of the inventory
        *("forget", "vm", "vm_done", "node", "kube_cluster"),
    )
)
# A text that stands for a list is taken here alone: -e hostnet_members=east-0,west-1 is what people type when one is broken.
_TEXT_FOR_LIST = ("hostnet_members",)

_TRUE_OR_FALSE = frozenset(("true", "false", "yes", "no", "on", "off", "y", "n", "t", "f", "1", "0"))
_DIGITS = re.compile(r"[+-]?[0-9]+")
_SHOWN = 60
_OBJECT = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
# Least values; what is not here may be any whole number.
_LEAST = {
    "hostnet_timeout_seconds": 1,
    "hostnet_step_timeout_seconds": 1,
    "hostnet_follow_seconds": 1,
    "hostnet_join_per_cluster": 1,
    "hostnet_soak_seconds": 0,
    "hostnet_lock_heartbeat_seconds": 0,
    "hostnet_max_members": 0,
    "hostnet_status_certificate_days": 0,
    "hostnet_ca.valid_days": 1,
    "hostnet_certificate.valid_days": 1,
    "hostnet_certificate.renew_days": 0,
    **etcd.LEAST,
    **cockroachdb.LEAST,
}
_MAX_PORT = 65535
# Texts without which nothing works, so an empty one is a variable that was meant to be set.
_FILLED = (
    "hostnet_name",
    "hostnet_namespace",
    "hostnet_system",
    "hostnet_placement",
    "hostnet_address_type",
    "hostnet_data_root",
    "hostnet_probe_image",
)

# https://github.com/distribution/reference/blob/main/reference.go
_IMAGE = re.compile(
    r"(?:(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]+)?/)?"
    r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@[A-Za-z][A-Za-z0-9+._-]*:[0-9a-fA-F]{32,})?"
)
# https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
_QUANTITY = re.compile(r"[0-9]+(?:\.[0-9]*)?(?:[numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]+)?")
_CLOCK = re.compile(r"[0-9]{1,3}:[0-5][0-9]:[0-5][0-9]")
_DNS_NAME = re.compile(
    r"(?:\*\.)?[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*\.?"
)
_TOLERATION = {
    "key": None,
    "operator": ("Equal", "Exists", "Lt", "Gt"),
    "value": None,
    "effect": ("", "NoSchedule", "PreferNoSchedule", "NoExecute"),
    "tolerationSeconds": None,
}


def options_of(specs: Iterable[Any]) -> Json:
    """The options of several roles' argument specs (the content of meta/argument_specs.yml) by name."""
    found: Json = {}
    for spec in specs:
        for entry in ((spec or {}).get("argument_specs") or {}).values():
            found.update((entry or {}).get("options") or {})
    return found


def check(given: Mapping[str, Any], names: Sequence[str], options: Options, required: Sequence[str] = ()) -> Json:
    """What is wrong with the variables: {errors, warnings}, one sentence each.

    `given` are the values of those that are set and that `options` knows, `names` the names of all that are set and have a prefix of the
    collection; `required` have no default.
    """
    missing = [name for name in required if given.get(name) in ("", None)]
    if missing:
        # Other variables have it as their default.
        return {
            "errors": [
                f"{name} is not set: give -e {name}=..., or set it in the inventory ({_required(options, name)})" for name in missing
            ],
            "warnings": [],
        }
    errors = [problem for name in sorted(given) for problem in _wrong(name, given[name], options[name])]
    unknown_errors, warnings = _unknown(names, options)
    return {"errors": errors + unknown_errors, "warnings": warnings}


def system_role(system: str) -> str:
    """The role of a system: the collection's own, a user's `system_X`, or the one that is named whole."""
    if "." in system:
        return system
    return f"{COLLECTION if system in SYSTEMS else ''}system_{system}"


def no_such_system(system: str) -> str:
    """The error about a system without a role."""
    return (
        f"hostnet_system is {json.dumps(system)}, and there is no role {system_role(system)}: use one of {', '.join(SYSTEMS)}, or write that role as "
        f"docs/systems.md describes"
    )


def _required(options: Options, name: str) -> str:
    option = options.get(name) or {}
    if name == "hostnet_system":
        return "etcd, nats, cockroachdb, or a system of your own as docs/systems.md describes"
    return ", ".join(option.get("choices") or []) or str(option.get("description") or "").partition(".")[0]


def _unknown(names: Sequence[str], options: Options) -> tuple[list[str], list[str]]:
    """Variables that look like the collection's and that nobody reads: refused where a known name is meant, else told."""
    errors, warnings = [], []
    for name in sorted(set(names)):
        prefix = PREFIX.match(name)
        # A system role's own words are many (registered results, its spec), and only a misspelt option of it can be told from them.
        if prefix is None or name in options or name in FACTS or (name.startswith("system_") and not _near(name, options, 0.9)):
            continue
        meant = _near(name, options, 0.8)
        if meant:
            errors.append(
                f"{name} is no variable of the collection, so it would do nothing: is {meant} meant? Correct it; one of your own needs another prefix"
            )
        else:
            warnings.append(
                f"{name} is no variable of the collection and does nothing here; a variable of your own is better off with another prefix"
            )
    return errors, warnings


def _near(name: str, options: Options, least: float) -> str:
    # Without what all names begin with, which would make all of them alike.
    prefix = PREFIX.match(name)
    start = prefix.group() if prefix else ""
    rest = {option.removeprefix(start): option for option in sorted(options) if option.startswith(start)}
    found = difflib.get_close_matches(name.removeprefix(start), list(rest), n=1, cutoff=least)
    return rest[found[0]] if found else ""


def _wrong(name: str, value: Any, option: Mapping[str, Any]) -> list[str]:
    """What is wrong with one value, suboptions and elements too."""
    if name in _UNIONS:
        return _UNIONS[name](value)
    problem = _type_problem(name, value, str(option.get("type", "str")))
    if problem:
        return [f"{name} {problem}"]
    kind = option.get("type", "str")
    if kind == "dict" and option.get("options"):
        return _dict_problems(name, value, option["options"])
    if kind == "list":
        if name in _TEXT_FOR_LIST and _is_text(value):
            return []
        problems = []
        for index, entry in enumerate(value):
            problems += _wrong(f"{name}[{index}]", entry, {"type": option.get("elements", "str"), "options": option.get("options")})
        if not problems and name in _LISTS:
            problems += _LISTS[name](value)
        return problems
    if kind == "int":
        problem = _number_problem(name, int(value))
    elif kind in ("str", "path"):
        problem = _text_problem(name, str(value), option)
    elif kind == "dict" and name in _DICTS:
        return _DICTS[name](value)
    return [f"{name} {problem}"] if problem else []


def _dict_problems(name: str, value: Mapping[str, Any], options: Options) -> list[str]:
    known = {alias: option for option, details in options.items() for alias in (option, *details.get("aliases", []))}
    problems = []
    for key in value:
        if key not in known:
            near = difflib.get_close_matches(str(key), list(known), n=1, cutoff=0.6)
            problems.append(
                f"{name} has the key {str(key)!r}, which means nothing: {'is ' + near[0] + ' meant? ' if near else ''}known are {', '.join(sorted(options))}"
            )
        elif value[key] is not None:
            problems += _wrong(f"{name}.{key}", value[key], options[known[key]])
    problems += [
        f"{name} has no {option}: add it"
        for option, details in options.items()
        if details.get("required") and value.get(option) in (None, "")
    ]
    return problems


def _type_problem(name: str, value: Any, kind: str) -> str:
    """Why a value is not of its type, with the remedy; "" where it is."""
    wanted = {"int": "a whole number", "float": "a number", "bool": "true or false", "list": "a list", "dict": "a dictionary"}.get(
        kind, "text"
    )
    if value is None:
        return f"is empty (null), and must be {wanted}: give a value, or take the line out for the default"
    if kind == "list":
        if isinstance(value, (list, tuple)) or (name in _TEXT_FOR_LIST and _is_text(value)):
            return ""
        example = (
            f"""write it as -e '{{"{name}": ["..."]}}', or as a list of YAML in the inventory""" if "[" not in name else "write a list"
        )
        return f"is {shown(value)}, and must be a list: {example}"
    if kind == "dict":
        return "" if isinstance(value, Mapping) else f"is {shown(value)}, and must be a dictionary: write keys and values"
    if kind == "int":
        whole = isinstance(value, int) and not isinstance(value, bool)
        return (
            "" if whole or (_is_text(value) and _DIGITS.fullmatch(str(value).strip())) else f"is {shown(value)}, and must be a whole number"
        )
    if kind == "float":
        return "" if _is_number(value) else f"is {shown(value)}, and must be a number"
    if kind == "bool":
        well = isinstance(value, bool) or value in (0, 1) or (_is_text(value) and str(value).strip().lower() in _TRUE_OR_FALSE)
        return "" if well else f"is {shown(value)}, and must be true or false"
    # Numbers are what some of a system's sizes are; everywhere else YAML has made one of a text that looks like it.
    if _is_text(value) or (
        name.startswith("system_") and name not in _TEXTS and isinstance(value, (int, float)) and not isinstance(value, bool)
    ):
        return ""
    hint = ": put quotes around it" if isinstance(value, (int, float)) else ""
    return f"is {shown(value)}, and must be text{hint}"


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not (isinstance(value, (int, float)) or _is_text(value)):
        return False
    try:
        return math.isfinite(float(value))
    except (ValueError, OverflowError):
        return False


def _number_problem(name: str, value: int) -> str:
    if name.endswith("_port"):
        return "" if 1 <= value <= _MAX_PORT else f"is {value}, and must be a port between 1 and {_MAX_PORT}"
    least = _LEAST.get(name)
    return f"is {value}, and must be at least {least}" if least is not None and value < least else ""


def _text_problem(name: str, value: str, option: Mapping[str, Any]) -> str:
    if name in _FILLED and not value.strip():
        return "is empty: give a value, or take the line out for the default"
    choices = option.get("choices")
    if choices and value not in choices:
        return f"is {shown(value)}, and must be one of {', '.join(map(str, choices))}"
    return _TEXTS[name](value) if name in _TEXTS else ""


def _image(value: str) -> str:
    if not value or _IMAGE.fullmatch(value):
        return ""
    return f"is {shown(value)}, which is no name of an image: write it as registry/repository:tag or with @sha256:... at its end"


def _priority_class(value: str) -> str:
    if not value or _OBJECT.fullmatch(value):
        return ""
    return f"is {shown(value)}, which is no name of a PriorityClass: use a-z, 0-9, '-' and '.', or \"\" for none"


def _node_selector(value: str) -> str:
    if not value.strip():
        # An environment variable of a pipeline that is not set, for example.
        return (
            "is empty, and that would give every node a member, control planes too: give the label of the nodes that are to carry one, "
            'such as "kubernetes.io/os=linux" if that is all of them'
        )
    try:
        selector.parse_selector(value)
    except ValueError as error:
        return f"is {shown(value)}: {error}"
    return ""


def _address_type(value: str) -> str:
    for known in ("InternalIP", "ExternalIP"):
        if value.lower() == known.lower() and value != known:
            return f"is {shown(value)}: write {known}"
    wrong = labels.key_error(value)
    return f"is {shown(value)}, neither InternalIP, ExternalIP nor the name of an annotation ({wrong})" if wrong else ""


def _pool_label(value: str) -> str:
    wrong = labels.key_error(value) if value else ""
    return f"is {shown(value)}, which is no key of a label ({wrong}): write it as example.com/pool, without a value" if wrong else ""


def _follow_until(value: Any) -> list[str]:
    """One version of the kubelet, or a dictionary of them by kube cluster."""
    name = "hostnet_follow_until"
    if value == "":
        return []
    entries = {f"{name}.{kube}": version for kube, version in value.items()} if isinstance(value, Mapping) else {name: value}
    wrong = versions.problem("")
    return [
        f"{where} is {'empty (null)' if version is None else shown(version)}, which {wrong}; or, of several kube clusters, "
        f"""-e '{{"{name}": {{"west": "1.33.4"}}}}'"""
        for where, version in entries.items()
        # 1.30 without quotes is the number 1.3.
        if not _is_text(version) or versions.problem(str(version))
    ]


def _time(value: str) -> str:
    return "" if not value or _CLOCK.fullmatch(value) else f'is {shown(value)}, and must be a time as in "00:30:00", in quotes'


def _run_id(value: str) -> str:
    problem = lock.run_id_problem(value) if value else ""
    return f"is {shown(value)}, and {problem}" if problem else ""


_CLIENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@-]*(?<!\.crt)(?<!\.key)")
_CLIENT_WANTED = "must be the name of a file: letters, digits, '.', '_', '@' and '-', and neither .crt nor .key at its end"


def _client(value: str) -> str:
    return "" if not value or _CLIENT.fullmatch(value) else f"is {shown(value)}, and {_CLIENT_WANTED}"


_TEXTS: dict[str, Callable[[str], str]] = {
    **dict.fromkeys(("hostnet_client", "hostnet_drop_client"), _client),
    "hostnet_run_id": _run_id,
    "hostnet_image": _image,
    "hostnet_probe_image": _image,
    "hostnet_priority_class": _priority_class,
    "hostnet_node_selector": _node_selector,
    "hostnet_address_type": _address_type,
    "hostnet_pool_label": _pool_label,
    **dict.fromkeys(cockroachdb.TIMES, _time),
}


def _hosts(value: Sequence[Any]) -> list[str]:
    problems = []
    for index, entry in enumerate(value):
        text = str(entry).strip()
        try:
            ipaddress.ip_address(text)
        except ValueError:
            # 10.0.0.300 and 10.0.0.0/8 are meant as addresses, and no client could ever use them.
            if not _DNS_NAME.fullmatch(text) or text.replace(".", "").isdigit():
                problems.append(
                    f"hostnet_certificate_hosts[{index}] is {shown(entry)}, neither an IP address nor a host name: give it without port, network or scheme"
                )
    return problems


def _clients(value: Sequence[Any]) -> list[str]:
    problems = [
        f"hostnet_clients[{index}] is {shown(entry)}, and {_CLIENT_WANTED}"
        for index, entry in enumerate(value)
        if not _CLIENT.fullmatch(str(entry))
    ]
    twice = sorted({str(entry) for entry in value if list(value).count(entry) > 1})
    return problems + [f"hostnet_clients names {name} twice: name it once" for name in twice]


def _kube_clusters(value: Sequence[Any]) -> list[str]:
    given = [str(entry["name"]) for entry in value]
    twice = sorted({name for name in given if given.count(name) > 1})
    return [f"hostnet_kube_clusters has two entries named {name}: each kube cluster has a name of its own" for name in twice]


def _tolerations(value: Sequence[Any]) -> list[str]:
    problems = []
    for index, entry in enumerate(value):
        where = f"hostnet_tolerations[{index}]"
        for key, given in entry.items():
            if key not in _TOLERATION:
                problems.append(f"{where} has the key {str(key)!r}, which means nothing: known are {', '.join(_TOLERATION)}")
            elif key == "tolerationSeconds":
                if not isinstance(given, int) or isinstance(given, bool):
                    problems.append(f"{where}.{key} is {shown(given)}, and must be a whole number")
            elif not _is_text(given):
                problems.append(f"{where}.{key} is {shown(given)}, and must be text: put quotes around it")
            elif _TOLERATION[key] and given not in (_TOLERATION[key] or ()):
                problems.append(f"{where}.{key} is {shown(given)}, and must be one of {', '.join(filter(None, _TOLERATION[key] or ()))}")
    return problems


def _resources(value: Mapping[str, Any]) -> list[str]:
    problems = []
    for key, amounts in value.items():
        where = f"hostnet_resources.{key}"
        if key not in ("requests", "limits"):
            problems.append(f"hostnet_resources has the key {str(key)!r}, which means nothing: known are requests, limits")
        elif not isinstance(amounts, Mapping):
            problems.append(f"{where} is {shown(amounts)}, and must be a dictionary such as {{cpu: 500m, memory: 1Gi}}")
        else:
            problems += [
                f"{where}.{resource} is {shown(amount)}, and must be an amount such as 500m, 2 or 1Gi"
                for resource, amount in amounts.items()
                if isinstance(amount, bool) or not isinstance(amount, (str, int, float)) or not _QUANTITY.fullmatch(str(amount))
            ]
    return problems


_LISTS: dict[str, Callable[[Sequence[Any]], list[str]]] = {
    "hostnet_certificate_hosts": _hosts,
    "hostnet_clients": _clients,
    "hostnet_kube_clusters": _kube_clusters,
    "hostnet_tolerations": _tolerations,
}
_DICTS: dict[str, Callable[[Mapping[str, Any]], list[str]]] = {"hostnet_resources": _resources}
# What may be of several types, whatever the argument spec calls it.
_UNIONS: dict[str, Callable[[Any], list[str]]] = {"hostnet_follow_until": _follow_until}


def _is_text(value: Any) -> bool:
    # A vaulted value is no str before somebody reads it.
    return isinstance(value, str) or type(value).__name__ in ("EncryptedString", "AnsibleVaultEncryptedUnicode")


def shown(value: Any) -> str:
    """A value as people wrote it. Of what may hold a secret (lists and dictionaries have tokens and passwords) only what it is."""
    if isinstance(value, Mapping):
        return "a dictionary"
    if isinstance(value, (list, tuple)):
        return "a list"
    text = json.dumps(value if isinstance(value, (str, int, float, bool)) else str(value), ensure_ascii=False)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."

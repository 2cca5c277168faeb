# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of kube clusters that no fact holds: they stay in the user's variable, from where each call takes them.

A fact is shown by `debug`, by -v, and by what keeps facts. So the entries in the fact `hostnet` have `secrets_from`, the name of a variable, in
place of what is secret.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

Json = dict[str, Any]

VARIABLE = "hostnet_kube_clusters"
MARK = "secrets_from"


def withheld(kube_clusters: Sequence[Mapping[str, Any]]) -> list[Json]:
    """Entries of hostnet_kube_clusters without secrets; those that had one name the variable that has it."""
    found = []
    for entry in kube_clusters:
        shown = {option: value for option, value in entry.items() if not _secret(option, value)}
        found.append(shown if len(shown) == len(entry) else {**shown, MARK: VARIABLE})
    return found


def variables(kube_clusters: Any) -> set[str]:
    """The variables that have what these entries lack."""
    return {str(entry[MARK]) for entry in _entries(kube_clusters) if MARK in entry}


def restored(kube_clusters: Sequence[Any], known: Mapping[str, Any]) -> list[Any]:
    """The entries as they were before `withheld`. `known` has the variables, by name.

    Raises ValueError for one whose variable has no such kube cluster.
    """
    return [_whole(entry, known) if isinstance(entry, Mapping) and MARK in entry else entry for entry in kube_clusters]


def passwords(kube_clusters: Any) -> set[str]:
    """Passwords within the URLs of proxies, which are not secret otherwise."""
    return {_password(entry.get("proxy")) for entry in _entries(kube_clusters)} - {""}


def _entries(kube_clusters: Any) -> list[Mapping[str, Any]]:
    """Those that are some, of what may not have been checked yet."""
    return [entry for entry in kube_clusters if isinstance(entry, Mapping)] if isinstance(kube_clusters, list) else []


def _whole(entry: Mapping[str, Any], known: Mapping[str, Any]) -> Json:
    variable, name = str(entry[MARK]), entry.get("name")
    whole = next((one for one in _entries(known.get(variable)) if one.get("name") == name), None)
    if whole is None:
        raise ValueError(
            f"kube cluster {name}: its credentials are in {variable}, which has no entry of that name here. Set {variable} in the inventory, with "
            "-e, or for the whole play, so that every task sees the same"
        )
    shown = {option: value for option, value in entry.items() if option != MARK}
    return {**shown, **{option: value for option, value in whole.items() if _secret(option, value)}}


def _secret(option: str, value: Any) -> bool:
    return option == "api_key" or (option == "proxy" and bool(_password(value)))


def _password(proxy: Any) -> str:
    """The one in a proxy's URL. What is no URL is refused elsewhere, and might be a secret as a whole."""
    try:
        return urlsplit(str(proxy or "")).password or ""
    except ValueError:
        return str(proxy)

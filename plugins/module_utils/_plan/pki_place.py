# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where the CA lives on the controller, and whether it is the one that a deployment relies on: pure functions.

The CA's key is nowhere else. A place that somebody else clears (an installed collection, a container, a temporary folder) is therefore never
chosen by default, and where no place lasts, none is guessed: the user names one.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from .trust_revisions import Trust

# Ansible reads every file in a folder that is an inventory, and the folders in it, as inventories; hidden names it skips.
FOLDER = ".hostnet-pki"
# What version 0.2.0 called it.
OLD_FOLDER = "pki"


@dataclass(frozen=True, slots=True)
class Place:
    """The folder of the CA; where there is none, `path` is empty and `problem` says what to do. `warning` may come with a path."""

    path: str = ""
    problem: str = ""
    warning: str = ""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What was found on the controller. Paths are absolute, without links.

    `folders`: those of the inventory sources, by the path as it was given. `temporary`: folders that the system clears. `throw_away`: folder of an
    inventory -> what will take it away. `authorities`: folders in which a CA's certificate or key is.
    """

    folders: Mapping[str, str]
    temporary: Collection[str] = ()
    throw_away: Mapping[str, str] | None = None
    authorities: Collection[str] = ()


def inside_collection(path: str) -> str:
    """The collection whose folder this path is in, or an empty string: an installation of it begins with deleting that folder."""
    parts = PurePosixPath(path).parts
    for index, part in enumerate(parts):
        if part == "ansible_collections" and len(parts) > index + 2:
            return f"{parts[index + 1]}.{parts[index + 2]}"
    return ""


def _below(path: str, folders: Collection[str]) -> str:
    """The one of the folders that this path is or is in."""
    return next((folder for folder in sorted(folders) if PurePosixPath(path).is_relative_to(folder)), "")


def _example(name: str) -> str:
    return f"set hostnet_pki_dir to a folder that lasts and is backed up, for example hostnet_pki_dir=/srv/hostnet-pki/{name}"


def place(name: str, given: str, resolved: str, surroundings: Surroundings) -> Place:
    """Where the CA of deployment `name` is. `given` is hostnet_pki_dir with its ~ expanded, `resolved` the same without links."""
    if given:
        return _named(name, given, resolved, surroundings)
    found = sorted(set(surroundings.folders.values()))
    if not found:
        return Place(
            problem=f"hostnet_pki_dir is not set, and this run has no inventory file beside which the CA of deployment {name} could be: {_example(name)}"
        )
    if len(found) > 1:
        has = [path for folder in found for path in _candidates(folder, name) if path in surroundings.authorities]
        there = f" (a CA is in {' and in '.join(has)})" if has else ""
        return Place(
            problem=f"hostnet_pki_dir is not set, and the inventories of this run are in {len(found)} folders, {' and '.join(found)}, so the CA of "
            f"deployment {name} would be in the one or the other by the order of -i{there}: {_example(name)}"
        )
    [folder] = found
    path = next((path for path in _candidates(folder, name) if path in surroundings.authorities), f"{folder}/{FOLDER}/{name}")
    collection = next(filter(None, map(inside_collection, (*surroundings.folders, folder))), "")
    why = ""
    if collection:
        why = f"is inside of the collection {collection}, whose next installation deletes it"
    elif temporary := _below(folder, surroundings.temporary):
        why = f"is in the temporary folder {temporary}"
    elif reason := (surroundings.throw_away or {}).get(folder, ""):
        why = f"does not outlive {reason}"
    if why:
        return Place(problem=f"hostnet_pki_dir is not set, and the folder of the inventory, {folder}, {why}: {_example(name)}")
    return Place(path)


def _candidates(folder: str, name: str) -> list[str]:
    return [f"{folder}/{FOLDER}/{name}", f"{folder}/{OLD_FOLDER}/{name}"]


def _named(name: str, given: str, resolved: str, surroundings: Surroundings) -> Place:
    if not given.startswith("/"):
        return Place(problem=f"hostnet_pki_dir is {given}: it must be an absolute path on the controller; {_example(name)}")
    collection = inside_collection(given) or inside_collection(resolved)
    if collection:
        return Place(
            problem=f"hostnet_pki_dir is {given}, inside of the collection {collection}, whose next installation deletes it and the CA's key: "
            f"{_example(name)}"
        )
    temporary = _below(resolved, surroundings.temporary)
    warning = (
        f"hostnet_pki_dir is {given}, in the temporary folder {temporary}: the CA's key is lost when that is cleared" if temporary else ""
    )
    return Place(given, warning=warning)


# -- the CA that a deployment relies on ---------------------------------------------------------------------------------


def refusals(hostnet: Mapping[str, Any], identity: Mapping[str, Any] | None, trust: Trust | None = None) -> list[str]:
    """Why no certificate can be issued for this deployment: at most one sentence.

    `hostnet["pki"]` is what the module ca_info returned; `identity` the deployment's record, or null where nothing is recorded; `trust` the trust
    revision in force, by default the one that the record itself is.
    """
    pki = hostnet.get("pki")
    if not pki:
        return []
    name, recorded = str(hostnet["name"]), trust["issuer"] if trust else str((identity or {}).get("ca_fingerprint", ""))
    here = {str(entry["fingerprint"]): entry for entry in pki.get("authorities") or []}
    if recorded in here:
        # Not the first one of the file: while CAs are exchanged there are several.
        pki = {**pki, **here[recorded]}
        lacking = [fingerprint for fingerprint in (trust or {"trusted": []})["trusted"] if fingerprint not in here]
        if lacking and not pki["problem"]:
            # It has issued nothing yet.
            new = trust is not None and trust["issuer"] == trust["trusted"][0]
            back = ". Where it is gone for good, playbooks/rotate_ca.yml goes back with hostnet_ca_phase=abandon" if new else ""
            return [
                (
                    f"members of deployment {name} trust the CA with the SHA-256 fingerprint {lacking[0]} too, and its certificate is not in {pki['path']}: "
                    f"restore that folder from a backup or from the controller that exchanges the CA{back}"
                )
            ]
    relies = f"deployment {name} relies on the CA with the SHA-256 fingerprint {recorded}"
    wrong = ""
    if pki["problem"]:
        wrong = f"{pki['problem']}{f'; {relies}' if recorded else ''}"
    elif recorded and not pki["fingerprint"]:
        wrong = f"{relies}, but {pki['certificate']} does not exist on this controller, and a new CA would be trusted by no member: {_restore(pki)}"
    elif recorded and pki["fingerprint"] != recorded:
        wrong = f"{relies}, but {pki['certificate']} has {pki['fingerprint']}, which no member trusts: {_restore(pki)}"
    elif recorded and not pki["has_key"]:
        wrong = (
            f"{relies}, and its private key {pki['private_key']} does not exist on this controller, so no certificate could be issued for "
            f"a member that changes its VM or address: {_restore(pki)}"
        )
    if not wrong:
        return []
    # Before any record there is nothing that relies on what an older version left.
    return [wrong + _elsewhere(pki, recorded)]


def warnings(hostnet: Mapping[str, Any], identity: Mapping[str, Any] | None) -> list[str]:
    """A CA that an older version left, where nothing is recorded and a new one is going to be made: the user may have wanted it."""
    pki = hostnet.get("pki")
    if not pki or identity or pki["problem"] or pki["fingerprint"] or not pki["left"]:
        return []
    return [
        (
            f"an older version left a CA in {_join(left['path'] for left in pki['left'])}. Nothing is deployed under the name {hostnet['name']}, so a new CA "
            f"is made in {pki['path']}; to use the old one, move it there first"
        )
    ]


def _restore(pki: Mapping[str, Any]) -> str:
    folder = PurePosixPath(str(pki["certificate"])).parent
    files = [PurePosixPath(str(pki[key])).name for key in ("certificate", "private_key")]
    if str(folder) == pki["path"]:
        return (
            f"restore the folder {folder} with {' and '.join(files)} from a backup or from the controller that made it, and all of it (for NATS the users' "
            f"keys are there too, such as system.nk), or set hostnet_pki_dir to where it is"
        )
    return f"restore {pki['certificate']} and {pki['private_key']} from a backup, or correct hostnet_ca"


def _elsewhere(pki: Mapping[str, Any], recorded: str) -> str:
    """What to do with a CA that an older version left where it does not last."""
    wanted = [left for left in pki["left"] if not recorded or left["fingerprint"] == recorded]
    if not wanted:
        return ""
    left = sorted(wanted, key=lambda entry: (not entry["has_key"], str(entry["path"])))[0]
    what = "That CA" if recorded else "A CA"
    key = "" if left["has_key"] else ", without its key"
    return f". {what} is in {left['path']}{key}, where an older version left it: {_move(left, str(pki['path']))}"


def _move(left: Mapping[str, Any], path: str) -> str:
    """How to move a CA, as a command where its new place is known. It never overwrites."""
    old, new, parent = shlex.quote(str(left["path"])), shlex.quote(path), shlex.quote(str(PurePosixPath(path).parent))
    if not path:
        return "move that folder to one that lasts, and set hostnet_pki_dir to it"
    if left["new_exists"]:
        return f"`cp -Rpn {old}/. {new}/` copies it; delete {old} when the next run is content"
    return f"`mkdir -p -m 0700 {parent} && mv {old} {new}` moves it"


def _join(paths: Any) -> str:
    found: Sequence[str] = sorted(str(path) for path in paths)
    return " and in ".join(found)

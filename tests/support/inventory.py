# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads inventory files with the plugin `nodes` in a process of its own, several in one: starting Ansible is the slow part."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .collection import CHECKOUT
from .run import ansible_environment

_PLUGIN = "hostnet.multicluster.nodes"


def parse(files: Sequence[Path], folder: Path, environment: Mapping[str, str] | None = None, *, cache: bool = True) -> list[dict[str, Any]]:
    """For each file {hosts: {name: variables}, groups: {name: [hosts]}, all: variables} or {error: text}."""
    extra = {"PYTHONPATH": str(CHECKOUT / "tests"), **(environment or {})}
    done = subprocess.run(
        [sys.executable, "-m", "support.inventory", "cache" if cache else "no-cache", *map(str, files)],
        env=ansible_environment(folder / "results", **extra),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def parse_together(groups: Sequence[Sequence[Path]], folder: Path) -> list[dict[str, Any]]:
    """For each group of files, read one after another into one inventory, as with several `-i`: what `parse` tells, and `errors`."""
    arguments = [argument for files in groups for argument in (*map(str, files), "--")]
    done = subprocess.run(
        [sys.executable, "-m", "support.inventory", "together", *arguments],
        env=ansible_environment(folder / "results", PYTHONPATH=str(CHECKOUT / "tests")),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def _together(arguments: Sequence[str]) -> None:
    from ansible.errors import AnsibleError
    from ansible.inventory.manager import InventoryManager
    from ansible.parsing.dataloader import DataLoader
    from ansible.plugins.loader import init_plugin_loader, inventory_loader

    init_plugin_loader()
    loader = DataLoader()
    data = InventoryManager(loader=loader, sources=None, parse=False)._inventory
    errors: list[str] = []
    for path in arguments:
        if path == "--":
            data.reconcile_inventory()
            hosts = {name: host.vars for name, host in data.hosts.items()}
            print(json.dumps({"hosts": hosts, "all": data.groups["all"].vars, "errors": errors}, default=str))
            data, errors = InventoryManager(loader=loader, sources=None, parse=False)._inventory, []
            continue
        try:
            inventory_loader.get(_PLUGIN).parse(data, loader, path, cache=False)
        except AnsibleError as error:
            errors.append(str(error))


def _main(cache: bool, files: list[str]) -> None:
    from ansible.errors import AnsibleError, AnsibleParserError
    from ansible.inventory.manager import InventoryManager
    from ansible.parsing.dataloader import DataLoader
    from ansible.plugins.loader import init_plugin_loader, inventory_loader

    init_plugin_loader()
    for path in files:
        loader = DataLoader()
        data = InventoryManager(loader=loader, sources=None, parse=False)._inventory
        plugin = inventory_loader.get(_PLUGIN)
        try:
            if not plugin.verify_file(path):
                raise AnsibleParserError("not a file of this plugin")
            plugin.parse(data, loader, path, cache=cache)
        except AnsibleError as error:
            print(json.dumps({"error": str(error)}))
            continue
        if plugin.get_option("cache"):
            plugin.update_cache_if_changed()
        data.reconcile_inventory()
        result = {
            "hosts": {name: host.vars for name, host in data.hosts.items()},
            "groups": {name: [host.name for host in group.get_hosts()] for name, group in data.groups.items()},
            "all": data.groups["all"].vars,
        }
        print(json.dumps(result, default=str))


if __name__ == "__main__":
    if sys.argv[1] == "together":
        _together(sys.argv[2:])
    else:
        _main(sys.argv[1] == "cache", sys.argv[2:])

# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VMs that a user's hook reboots: made-up ones, whose Nodes get another boot id in a real API server."""

from __future__ import annotations

import threading
from pathlib import Path

from .kube_api import KubeApi

_HOOK = """\
- name: Ask for a reboot
  ansible.builtin.copy:
    content: "{{{{ hostnet_vm.kube_cluster }}}} {{{{ hostnet_vm.node }}}} {{{{ now().timestamp() }}}}"
    dest: {wish}
    mode: "0600"
"""


class Reboots(threading.Thread):
    """Reboots the VM that the hook names. `rebooted` are the nodes, in their order."""

    def __init__(self, kubes: list[KubeApi], folder: Path) -> None:
        super().__init__(daemon=True)
        self.ended = threading.Event()
        self.rebooted: list[str] = []
        self._kubes = {kube.name: kube for kube in kubes}
        self._folder = folder
        self._wish = folder / "reboot"
        self._seen: list[str] = []

    def hook(self) -> Path:
        """The file for hostnet_replace_tasks."""
        path = self._folder / "hook.yml"
        path.write_text(_HOOK.format(wish=self._wish))
        return path

    def goes_down(self, kube: KubeApi, node: str) -> None:
        """Called before a VM is rebooted."""

    def run(self) -> None:
        while not self.ended.wait(0.1):
            words = self._wish.read_text().split() if self._wish.exists() else []
            # The file stays: Ansible still looks at what it has written.
            if len(words) == 3 and words != self._seen:
                self._seen = words
                kube, node = self._kubes[words[0]], words[1]
                self.goes_down(kube, node)
                info = kube.request_json("GET", f"/api/v1/nodes/{node}")["status"]["nodeInfo"]
                body = {"status": {"nodeInfo": {**info, "bootID": f"boot-{words[2]}"}}}
                kube.request_json("PATCH", f"/api/v1/nodes/{node}/status", body, "application/merge-patch+json")
                self.rebooted.append(node)

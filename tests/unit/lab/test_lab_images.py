# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images as files, for the first nodes of a lab with an empty cache. Docker is played by a function."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.collection import CHECKOUT


def test_nodes_that_start_together_share_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(CHECKOUT / "molecule" / "lab"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    from lablib import images, state

    saved: list[str] = []
    together = threading.Barrier(5)

    def docker_save(command: list[str], **_options: object) -> str:
        saved.append(command[3])
        Path(command[3]).write_text("layers")
        return ""

    monkeypatch.setattr(images, "IMAGES", tmp_path / "images")
    monkeypatch.setattr(state, "CACHE", tmp_path)
    monkeypatch.setattr(images, "output", docker_save)

    def load() -> Path:
        together.wait(300)
        return Path(images.tar("quay.io/coreos/etcd:v3.6.16", "sha256:0123456789abcdef"))

    with ThreadPoolExecutor(5) as pool:
        found = {asked.result() for asked in [pool.submit(load) for _number in range(5)]}
    assert len(saved) == 1
    assert {path.read_text() for path in found} == {"layers"}
    assert [path.name for path in (tmp_path / "images").iterdir()] == [path.name for path in found]

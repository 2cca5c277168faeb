# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The words after `pool-upgrade` and `pool-repair`. Pure functions."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from . import pool
from .console import LabError

UPGRADE = f"""CLUSTER --as {"|".join(pool.UPGRADES)} [--factor N] [--nodes NODE,...] [--seed N] [--labels KEY=VALUE,...] [--force]
[--grace SECONDS] [--batch-soak SECONDS] [--soak SECONDS] [--drain-timeout SECONDS] [--pre-drain SECONDS] [--pre-terminate SECONDS]""".replace(
    "\n", " "
)
REPAIR = f"NODE --as {'|'.join(pool.REPAIRS)} [--factor N]"
# Which cloud an option means something to; those with seconds.
_TIMES = {
    "grace": pool.KARPENTER,
    "batch_soak": pool.BLUE_GREEN,
    "soak": pool.BLUE_GREEN,
    "drain_timeout": pool.CAPI,
    "pre_drain": pool.CAPI,
    "pre_terminate": pool.CAPI,
}
_ONLY = {"force": pool.EKS, **_TIMES}
_LABEL = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_./]{0,250}[A-Za-z0-9])?=([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")


@dataclass(frozen=True)
class Options:
    name: str  # the kube cluster, or the node
    cloud: str
    factor: float = pool.DEFAULT_FACTOR
    nodes: tuple[str, ...] = ()  # the pool; empty: all workers
    seed: int | None = None
    labels: dict[str, str] = field(default_factory=dict)
    force: bool = False
    times: dict[str, float] = field(default_factory=dict)  # what the user has set, in the cloud's seconds


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise LabError(f"{message}; usage: lab {self.prog}")


def _positive(text: str) -> float:
    value = float(text)
    if not math.isfinite(value) or value <= 0:
        raise argparse.ArgumentTypeError(f"{text} is no number above 0")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not math.isfinite(value) or value < 0:
        raise argparse.ArgumentTypeError(f"{text} is no number of seconds")
    return value


def _labels(text: str) -> dict[str, str]:
    parts = text.split(",")
    wrong = [part for part in parts if not _LABEL.fullmatch(part)]
    if wrong:
        raise argparse.ArgumentTypeError(f"{wrong[0]!r} is no label KEY=VALUE")
    return dict(part.split("=", 1) for part in parts)


def _parser(program: str, clouds: Sequence[str]) -> _Parser:
    parser = _Parser(prog=program, add_help=False, allow_abbrev=False)
    parser.add_argument("name")
    parser.add_argument("--as", dest="cloud", choices=clouds, required=True)
    parser.add_argument("--factor", type=_positive, default=pool.DEFAULT_FACTOR)
    return parser


def upgrade(words: Sequence[str]) -> Options:
    parser = _parser(f"pool-upgrade {UPGRADE}", pool.UPGRADES)
    parser.add_argument("--nodes", type=lambda text: tuple(filter(None, text.split(","))), default=())
    parser.add_argument("--seed", type=int)
    parser.add_argument("--labels", type=_labels, default={})
    parser.add_argument("--force", action="store_true")
    for name in _TIMES:
        # A nodeDrainTimeout of 0 is none.
        parser.add_argument(f"--{name.replace('_', '-')}", type=_positive if name == "drain_timeout" else _seconds)
    told = parser.parse_args(words)
    for name, cloud in _ONLY.items():
        if getattr(told, name) not in (None, False) and told.cloud != cloud:
            parser.error(f"--{name.replace('_', '-')} is for --as {cloud}")
    times = {name: getattr(told, name) for name in _TIMES if getattr(told, name) is not None}
    return Options(told.name, told.cloud, told.factor, told.nodes, told.seed, told.labels, told.force, times)


def repair(words: Sequence[str]) -> Options:
    told = _parser(f"pool-repair {REPAIR}", pool.REPAIRS).parse_args(words)
    return Options(told.name, told.cloud, told.factor)

# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker as the lab uses it: node containers, their network and addresses, image ids."""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .console import LabError, say
from .process import logged, output, succeeds
from .settings import BIN, BUILD, HERE, NETWORK

KEY_LABEL = "hostnet.multicluster/lab-key"
CLUSTER_LABEL = "io.x-k8s.kind.cluster"
ROLE_LABEL = "io.x-k8s.kind.role"


@dataclass(frozen=True)
class Container:
    name: str
    id: str
    status: str  # Docker's: created, running, paused, exited, ...
    cluster: str  # kind's name of the cluster, empty for other containers
    address: str  # the present one, empty when it is not running
    pinned: str  # the one it was given by us, empty: Docker chooses at every start
    networks: tuple[str, ...]
    ports: dict[str, int]  # container port -> port on the host


def docker(*arguments: str, data: bytes | None = None, timeout: float = 120) -> str:
    return output(["docker", *arguments], data=data, timeout=timeout)


def containers(kind_clusters: Iterable[str]) -> dict[str, Container]:
    """The node containers of these kind clusters by name, running or not."""
    wanted = set(kind_clusters)
    ids = docker("ps", "-aq", "--filter", f"label={CLUSTER_LABEL}").split()
    if not ids:
        return {}
    try:
        listed = json.loads(docker("inspect", *ids))
    except LabError:  # one of them (maybe somebody else's) went away in between
        listed = [item for found in ids for item in json.loads(output(["docker", "inspect", found], ok=(0, 1)) or "[]")]
    found = (_container(item) for item in listed)
    return {container.name: container for container in found if container.cluster in wanted}


def _container(item: dict[str, Any]) -> Container:
    network = item["NetworkSettings"]["Networks"].get(NETWORK) or {}
    bindings = item["HostConfig"].get("PortBindings") or {}
    return Container(
        name=item["Name"].lstrip("/"),
        id=item["Id"],
        status=item["State"]["Status"],
        cluster=(item["Config"]["Labels"] or {}).get(CLUSTER_LABEL, ""),
        address=network.get("IPAddress") or "",
        pinned=(network.get("IPAMConfig") or {}).get("IPv4Address") or "",
        networks=tuple(item["NetworkSettings"]["Networks"]),
        ports={port: int(where[0]["HostPort"]) for port, where in bindings.items() if where and where[0].get("HostPort")},
    )


def remove(names: Iterable[str]) -> None:
    """Removes containers with their disks; one that is not there is fine."""
    wanted = list(names)
    if wanted:
        output(["docker", "rm", "--force", "--volumes", *wanted], ok=(0, 1), timeout=180)
        left = [name for name in wanted if succeeds(["docker", "inspect", "--type", "container", name])]
        if left:
            raise LabError(f"docker could not remove {', '.join(left)}")


def ensure_network() -> str:
    """A network with a subnet of our own choice: only then does Docker let us choose addresses in it. Returns the subnet."""
    present = network_subnet()
    if present:
        return present
    for subnet in _free_subnets():
        automatic = str(next(ipaddress.IPv4Network(subnet).subnets(new_prefix=24)))
        try:
            docker("network", "create", "--driver", "bridge", "--subnet", subnet, "--ip-range", automatic, NETWORK)
        except LabError as error:
            if "overlaps" not in str(error) and "non-overlapping" not in str(error):
                raise
            continue
        say(f"docker network {NETWORK}: {subnet}, workers get addresses above {automatic}")
        return subnet
    raise LabError("no free /16 for the lab's Docker network among 172.16.0.0/12 and 10.0.0.0/8")


def network_subnet() -> str:
    told = output(["docker", "network", "inspect", NETWORK, "--format", "{{range .IPAM.Config}}{{.Subnet}} {{end}}"], ok=(0, 1)).split()
    return told[0] if told else ""


def _free_subnets() -> Iterable[str]:
    routes = []
    for line in Path("/proc/net/route").read_text().splitlines()[1:]:
        words = line.split()
        numbers = [int.from_bytes(bytes.fromhex(words[column]), "little") for column in (1, 7)]
        if numbers[1]:
            routes.append(ipaddress.IPv4Network((numbers[0], bin(numbers[1]).count("1")), strict=False))
    for text in [f"172.{number}.0.0/16" for number in range(30, 18, -1)] + [f"10.{number}.0.0/16" for number in range(213, 223)]:
        if not any(ipaddress.IPv4Network(text).overlaps(route) for route in routes):
            yield text


def taken_addresses() -> set[str]:
    """What is in use on the lab's network now, by whomever."""
    listed = json.loads(docker("network", "inspect", NETWORK))[0].get("Containers") or {}
    return {str(item["IPv4Address"]).split("/")[0] for item in listed.values()}


def move(container: Container, address: str) -> None:
    """Gives a stopped container this address from its next start on."""
    for network in container.networks:
        output(["docker", "network", "disconnect", "--force", network, container.name], ok=(0, 1))
    docker("network", "connect", "--ip", address, NETWORK, container.name)


@dataclass(frozen=True)
class Image:
    id: str
    key: str  # of our own build, empty for others
    pulled: bool


def image(reference: str) -> Image | None:
    told = output(["docker", "image", "inspect", reference], ok=(0, 1))
    found = json.loads(told or "[]")
    if not found:
        return None
    labels = (found[0].get("Config") or {}).get("Labels") or {}
    # an image of our own build that was never pushed has no digest of a registry; Docker's containerd store gives it one
    return Image(found[0]["Id"], labels.get(KEY_LABEL, ""), bool(found[0].get("RepoDigests")) and KEY_LABEL not in labels)


def prune() -> None:
    """Removes what earlier builds of ours have left without a name."""
    output(["docker", "image", "prune", "--force", "--filter", f"label={KEY_LABEL}"], timeout=300)


def build(reference: str, context: Path, key: str, log: Path, arguments: dict[str, str] | None = None) -> None:
    options = [part for name, value in (arguments or {}).items() for part in ("--build-arg", f"{name}={value}")]
    command = ["docker", "build", *options, "--label", f"{KEY_LABEL}={key}", "--tag", reference, str(context)]
    logged(command, what=f"building {reference}", log=log)


def context(name: str, from_bin: Iterable[str], folder: Path | None = None) -> Path:
    """A build context in the cache: the files of images/<name> and links to the binaries."""
    work = BUILD / f"image-{name}"
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(folder or HERE / "images" / name, work)
    for binary in from_bin:
        try:
            os.link(BIN / binary, work / binary)
        except OSError:
            shutil.copy2(BIN / binary, work / binary)
    return work


def file_name(reference: str) -> str:
    return reference.replace("/", "_").replace(":", "_").replace("@", "_")

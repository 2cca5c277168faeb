# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A deployment in the running lab that is rolled, killed, gone on with and judged, with the checker writing through it all the time."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import kubernetes.client
import kubernetes.config
from kubernetes.client.exceptions import ApiException

from ansible_collections.hostnet.multicluster.plugins.module_utils import _failpoint
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import lease as leases
from ansible_collections.hostnet.multicluster.plugins.module_utils._cluster import processes
from ansible_collections.hostnet.multicluster.plugins.module_utils._plan import drain
from support.collection import CHECKOUT
from support.lab import Lab
from support.member import system_spec
from support.run import TaskResult, ansible_environment

from .failpoints import Kill, Task

Json = dict[str, Any]

LAB = CHECKOUT / "molecule" / "lab" / "lab"
HOOK = CHECKOUT / "molecule" / "lab" / "hooks" / "vm.yml"
KUBE_CLUSTERS = ("east", "west")
# No verdict depends on these: they end what hangs, on a machine that is busy with other things as well.
RUN_SECONDS = 2400.0
VERB_SECONDS = 600.0


class Stuck(Exception):
    """Something outside of the collection did not do what the harness needs, or a playbook did not end."""


@dataclass(frozen=True)
class Choice:
    system: str = "etcd"
    placement: str = "node_name"
    name: str = "soak"


@dataclass
class Attempt:
    """One run of a playbook. `tasks` are those that ended."""

    rc: int
    seconds: float
    log: Path
    tasks: list[TaskResult]

    @property
    def killed(self) -> bool:
        return self.rc == -signal.SIGKILL

    @property
    def changed(self) -> list[str]:
        """Names of the tasks that changed something."""
        return [task.task for task in self.tasks if task.result.get("changed")]

    @property
    def failure(self) -> str:
        """What the first task that failed said; the tail of the output where no task did."""
        for task in self.tasks:
            if task.outcome in ("failed", "unreachable") and task.result.get("msg"):
                return f"{task.task}: {task.result['msg']}"
        return "" if self.rc == 0 else f"exit code {self.rc}: {self.log.read_text(errors='replace')[-1500:]}"


class Playbook:
    """A playbook that runs."""

    def __init__(self, folder: Path, command: Sequence[str], environment: dict[str, str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = Path(tempfile.mkdtemp(prefix="run-", dir=folder))
        self.results = self.folder / "results.jsonl"
        self.log = self.folder / "output.log"
        self.started = time.monotonic()
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                env={**ansible_environment(self.results), **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=CHECKOUT,
                # A group of its own, so that all of it can die at once and nobody else does.
                start_new_session=True,
            )

    def said(self, text: str) -> bool:
        return text in self.log.read_text(errors="replace")

    def kill(self, group: bool = False) -> None:
        """kill -9, to ansible-playbook alone or to all that it has started."""
        with contextlib.suppress(ProcessLookupError):
            if group:
                os.killpg(self.process.pid, signal.SIGKILL)
            else:
                self.process.kill()

    def wait(self, seconds: float = RUN_SECONDS) -> Attempt:
        try:
            rc = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill(group=True)
            self.process.wait()
            raise Stuck(f"the playbook did not end within {seconds:g} s: {self.log}") from None
        lines = self.results.read_text().splitlines() if self.results.exists() else []
        tasks = []
        for line in lines:
            with contextlib.suppress(ValueError):  # a line that was being written at the kill
                tasks.append(TaskResult(**json.loads(line)))
        return Attempt(rc, time.monotonic() - self.started, self.log, tasks)


class Load:
    """The checker, writing."""

    def __init__(self, stage: Stage, most_down: int) -> None:
        stage.folder.mkdir(parents=True, exist_ok=True)
        self.folder = Path(tempfile.mkdtemp(prefix="checker-", dir=stage.folder))
        clusters = [word for kube in stage.kube_clusters for word in ("--kube-cluster", f"{kube}={stage.lab.admin_kubeconfig}")]
        self.log = self.folder / "output.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, str(CHECKOUT / "tests" / "checker"), "--system", stage.choice.system, "--name", stage.choice.name),
                    *("--pki", str(stage.pki), *clusters, "--folder", str(self.folder), "--max-down", str(most_down)),
                    # More than the 50 that a valid result needs: the playbook takes its share of a small machine.
                    *("--rate", "65", "--ready-seconds", "300", "--read-seconds", "300", "--timeout", "5"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONWARNINGS": "ignore"},
                start_new_session=True,
            )
        try:
            stage.until("READY of the checker", lambda: self.process.poll() is not None or "READY" in self.log.read_text(), 330)
        except Stuck:
            self.drop()
            raise
        if self.process.poll() is not None:
            raise Stuck(f"the checker ended with {self.process.returncode}: {self.log.read_text()[-1500:]}")

    def end(self) -> Json:
        """The verdict."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(900)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise Stuck(f"the checker did not end: {self.log}") from None
        verdict = self.folder / "verdict.json"
        if not verdict.exists():
            raise Stuck(f"the checker left no verdict: {self.log.read_text()[-1500:]}")
        document: Json = json.loads(verdict.read_text())
        return document

    def drop(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Stage:
    """A deployment in the lab, and what can be done to it and seen of it from outside.

    `folder` gets logs and journals. What is seen here is read with the administrator's rights and none of the collection's code.
    """

    kube_clusters: Sequence[str] = KUBE_CLUSTERS

    def __init__(self, choice: Choice, folder: Path, say: Callable[[str], None] = lambda text: print(text, flush=True)) -> None:
        self.choice, self.folder, self.say = choice, folder, say
        self.lab = Lab()
        self.namespace = f"hostnet-{choice.name}"
        self.pki = folder / "pki"
        self.image = str(self.spec["image"])
        self._images = [self.image]

    @cached_property
    def spec(self) -> Json:
        return system_spec(self.choice.system)

    @property
    def forget(self) -> str:
        return str(self.spec.get("forget", "never"))

    @cached_property
    def _clients(self) -> dict[str, Any]:
        return {
            kube: kubernetes.config.new_client_from_config(config_file=self.lab.admin_kubeconfig, context=kube)
            for kube in self.kube_clusters
        }

    def core(self, kube: str) -> Any:
        return kubernetes.client.CoreV1Api(self._clients[kube])

    # -- doing ------------------------------------------------------------------------------------------------------

    def variables(self, **more: Any) -> Json:
        return {
            "hostnet_system": self.choice.system,
            "hostnet_placement": self.choice.placement,
            "hostnet_name": self.choice.name,
            "hostnet_image": self.image,
            "hostnet_pki_dir": str(self.pki),
            "hostnet_timeout_seconds": 300,
            "hostnet_step_timeout_seconds": 300,
            "hostnet_soak_seconds": 2,
            "hostnet_replace_tasks": str(HOOK),
            "hostnet_report_dir": str(self.folder / "reports"),
            **more,
        }

    def start(
        self,
        playbook: str,
        *,
        failpoint: str = "",
        check: bool = False,
        sources: Sequence[Path] = (CHECKOUT / "inventories" / "lab",),
        environment: Mapping[str, str] | None = None,
        **variables: Any,
    ) -> Playbook:
        """`sources` are inventories, in this order."""
        command = [sys.executable, str(Path(sys.executable).parent / "ansible-playbook")]
        command += [word for source in sources for word in ("-i", str(source))]
        command += [str(CHECKOUT / "playbooks" / playbook), "-e", json.dumps(self.variables(**variables))] + ["--check"] * check
        return Playbook(self.folder, command, {**({_failpoint.VARIABLE: failpoint} if failpoint else {}), **(environment or {})})

    def play(self, playbook: str, **variables: Any) -> Attempt:
        return self.start(playbook, **variables).wait()

    def deploy(self) -> None:
        done = self.play("deploy.yml")
        if done.rc:
            raise Stuck(f"deploy.yml failed: {done.failure}")

    def remove(self) -> None:
        done = self.play("remove.yml", hostnet_remove_name=self.choice.name, hostnet_remove_data=True)
        if done.rc:
            raise Stuck(f"remove.yml failed: {done.failure}")

    def verb(self, *words: str) -> str:
        """A verb of the lab; returns its last line."""
        done = subprocess.run([str(LAB), *words], capture_output=True, text=True, check=False, timeout=VERB_SECONDS)
        if done.returncode:
            raise Stuck(f"lab {' '.join(words)}: {done.stderr.strip().splitlines()[-1:]}")
        return (done.stdout.strip().splitlines() or [""])[-1]

    def until(self, what: str, true: Callable[[], bool], seconds: float = 300.0) -> None:
        deadline = time.monotonic() + seconds
        while not true():
            if time.monotonic() > deadline:
                raise Stuck(f"waited {seconds:g} s for {what}")
            time.sleep(0.5)

    def next_image(self) -> str:
        """Another reference of the same image, in every node: what a version's work goes to."""
        if len(self._images) == 1:
            again = f"{self.image}-again"
            subprocess.run(["docker", "tag", self.image, again], check=True, capture_output=True)
            self.verb("load-image", again)
            self._images.append(again)
        self.image = next(image for image in self._images if image != self.image)
        return self.image

    @contextlib.contextmanager
    def load(self, most_down: int = 1) -> Iterator[Load]:
        load = Load(self, most_down)
        try:
            yield load
        finally:
            load.drop()

    # -- seeing -----------------------------------------------------------------------------------------------------

    def nodes(self, kube: str) -> list[Any]:
        return list(self.core(kube).list_node(label_selector="!node-role.kubernetes.io/control-plane").items)

    def members(self) -> dict[str, tuple[str, str]]:
        """(kube cluster, node) by member, as the nodes are labelled."""
        label = f"hostnet.multicluster/{self.choice.name}"
        return {
            node.metadata.labels[label]: (kube, node.metadata.name)
            for kube in self.kube_clusters
            for node in self.nodes(kube)
            if label in node.metadata.labels
        }

    def config_map(self, kube: str, suffix: str) -> Json:
        try:
            return dict(self.core(kube).read_namespaced_config_map(f"{self.choice.name}-{suffix}", self.namespace).data or {})
        except ApiException as error:
            if error.status == 404:
                return {}
            raise

    def journal(self, kube: str) -> Json:
        document: Json = json.loads(self.config_map(kube, "rollout").get("journal", "{}"))
        return document

    def generation(self) -> int:
        return max(int(self.journal(kube).get("generation", 0)) for kube in self.kube_clusters)

    def lease(self, kube: str) -> Any:
        try:
            return kubernetes.client.CoordinationV1Api(self._clients[kube]).read_namespaced_lease(
                f"{self.choice.name}-rollout", self.namespace
            )
        except ApiException as error:
            if error.status == 404:
                return None
            raise

    def cluster_ids(self) -> dict[str, str]:
        return {kube: self.config_map(kube, "cluster-id").get("cluster_id", "") for kube in self.kube_clusters}

    def cordons(self) -> list[str]:
        """Nodes that are kept from pods, or say that a rollout did so."""
        found = []
        for kube in self.kube_clusters:
            for node in self.nodes(kube):
                by = (node.metadata.annotations or {}).get(drain.CORDONED_BY_ANNOTATION, "")
                if node.spec.unschedulable or by:
                    found.append(f"node {node.metadata.name} of kube cluster {kube} is left cordoned (by {by or 'nobody known'})")
        return found

    def state(self) -> Json:
        """Everything that a refused run must not have changed, by kube cluster: spec and data of the deployment's objects, nodes' labels."""
        seen: Json = {}
        for kube in self.kube_clusters:
            core, apps = self.core(kube), kubernetes.client.AppsV1Api(self._clients[kube])
            convert = self._clients[kube].sanitize_for_serialization
            maps = {item.metadata.name: item.data for item in core.list_namespaced_config_map(self.namespace).items}
            secrets = {item.metadata.name: item.metadata.resource_version for item in core.list_namespaced_secret(self.namespace).items}
            pods = {item.metadata.name: item.metadata.uid for item in core.list_namespaced_pod(self.namespace).items}
            sets: list[Any] = [
                *apps.list_namespaced_stateful_set(self.namespace).items,
                *apps.list_namespaced_daemon_set(self.namespace).items,
            ]
            labels = {node.metadata.name: (node.metadata.labels, node.spec.unschedulable) for node in self.nodes(kube)}
            seen[kube] = {
                "maps": maps,
                "secrets": secrets,
                "pods": pods,
                "nodes": labels,
                "sets": {item.metadata.name: convert(item.spec) for item in sets},
            }
        return seen

    def problems(self, cluster_id: str, ends: Sequence[str] = ("done",)) -> list[str]:
        """What is not as it has to be after a rollout. `ends`: how it may have ended."""
        found = self.cordons()
        for kube in self.kube_clusters:
            journal = self.journal(kube)
            if journal and journal.get("state") not in ends:
                found.append(f"kube cluster {kube}: the journal is {journal.get('state')}, member {journal.get('member')}")
            lease = self.lease(kube)
            if lease is not None and lease.spec.holder_identity:
                text = (lease.metadata.annotations or {}).get(leases.HOLDER_ANNOTATION, "{}")
                # The next run takes it from a process that is gone; there is no later one that could have given it back.
                if processes.started(int(json.loads(text).get("pid", 0))) != 0:
                    found.append(f"kube cluster {kube}: the lock is held by {lease.spec.holder_identity}")
        if set(self.cluster_ids().values()) != {cluster_id}:
            found.append(f"the recorded cluster id was {cluster_id}, now it is {self.cluster_ids()}")
        return found

    # -- chains -----------------------------------------------------------------------------------------------------

    def prepare(self, task: Task, member: str) -> None:
        """What goes before the first run of a rollout: the VM that is to be repaired, or the new image."""
        if task.verb:
            found = self.members()
            if member not in found:
                raise Stuck(f"no node is labelled with member {member}, but those of {', '.join(found)} are")
            self.verb(task.verb, found[member][1])
        if task.work == "version":
            self.next_image()

    def run(self, task: Task, kill: Kill | None, members: Sequence[str]) -> Attempt:
        """One run of the task's playbook for these members, killed there. A repair finds by itself what is to be repaired."""
        settings: Json = {}
        if task.work != "repair":
            settings = {"hostnet_work": task.work, "hostnet_surge": task.surge, "hostnet_members": list(members)}
        playbook = self.start(task.playbook, failpoint=kill.failpoint if kill else "", **settings)
        if kill and not kill.failpoint:
            with contextlib.suppress(subprocess.TimeoutExpired):
                playbook.process.wait(kill.seconds)
            playbook.kill(kill.group)
        return playbook.wait()

    def ended(self, generation: int) -> bool:
        """Whether a rollout after this generation was finished."""
        journals = [self.journal(kube) for kube in self.kube_clusters]
        return all(int(entry.get("generation", 0)) > generation and entry.get("state") == "done" for entry in journals)

    def done(self) -> list[str]:
        """The members that the newest journal calls done."""
        newest = max(
            (self.journal(kube) for kube in self.kube_clusters), key=lambda entry: (entry.get("generation", 0), entry.get("sequence", 0))
        )
        names = []
        for entry in newest.get("done", []):
            # east-0..2 are three.
            name, _dots, last = entry.partition("..")
            kube, _dash, first = name.rpartition("-")
            names += [f"{kube}-{ordinal}" for ordinal in range(int(first), int(last or first) + 1)]
        return names

# Copyright: hostnet.multicluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""NATS JetStream: one stream with as many replicas on disk as outlive the allowed number of servers (three, or five for two), a message per
number. https://docs.nats.io/reference/reference-protocols/nats_api_reference

A server that answers through JetStream's API speaks for the group that it belongs to. A second group would bear the same cluster name (it is
configuration), but not the same stream: so the id is the name and the moment at which the stream was created.
What a server's own copy is: a direct get is answered by a replica, and by the one in the server that the client is connected to, if it has one.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import logging
import threading
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

import nats.errors
from nats.aio.client import Client
from nats.js.api import ConsumerConfig, DeliverPolicy

from .system import Answer, Connection, Copy, System, Unreachable

_Result = TypeVar("_Result")
_BATCH = 500
_READ_SECONDS = 10.0
_CATCH_UP_SECONDS = 60.0
_NO_STREAM = 10059


async def _ignore(_error: Exception) -> None:
    """What goes wrong shows in the requests themselves."""


class NatsConnection(Connection):
    def __init__(self, system: Nats, address: str) -> None:
        self.system, self.stream, self.timeout = system, system.stream, system.timeout
        self.client = Client()
        self.without_stream = 0
        host = f"[{address}]" if ":" in address else address
        self._run(
            self.client.connect(
                servers=[f"nats://{host}:{system.port}"],
                tls=system.tls,
                tls_hostname=address,
                # The library tries a server of its list again even where it may not reconnect: once, and at once.
                allow_reconnect=False,
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                connect_timeout=max(1, round(system.timeout)),
                error_cb=_ignore,
                name="hostnet-checker",
            ),
            2 * system.timeout,
        )

    def _run(self, work: Coroutine[Any, Any, _Result], seconds: float) -> _Result:
        future = asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, seconds), self.system.loop)
        try:
            return future.result(seconds + 2)
        except (nats.errors.Error, OSError, TimeoutError, asyncio.CancelledError, concurrent.futures.CancelledError, ValueError) as error:
            raise Unreachable(f"{type(error).__name__}: {error}") from error

    def api(self, call: str, body: Any = None, seconds: float | None = None) -> dict[str, Any]:
        wait = seconds or self.timeout
        payload = b"" if body is None else json.dumps(body).encode()
        answer = self._run(self.client.request(f"$JS.API.{call}", payload, timeout=wait), wait + 1)
        return dict(json.loads(answer.data))

    def write(self, number: int, value: str) -> None:
        headers = {"Nats-Msg-Id": f"{self.system.run}-{number}"}
        work = self.client.jetstream().publish(f"{self.stream}.{number}", value.encode(), self.timeout, self.stream, headers)
        acknowledged = self._run(work, self.timeout + 1)
        if acknowledged.stream != self.stream or not acknowledged.seq:
            raise Unreachable(f"an acknowledgement of something else: {acknowledged}")

    def status(self) -> Answer:
        self._run(self.client.flush(max(1, round(self.timeout))), self.timeout + 1)
        if not self.system.made:
            return Answer("")
        try:
            told = self.api(f"STREAM.INFO.{self.stream}")
        except Unreachable:
            return Answer("")  # no leader now, which is a gap and not a member that is down
        cluster = str(self.client._server_info.get("cluster", ""))
        if "created" in told:
            self.without_stream = 0
            return Answer(f"{cluster}@{told['created']}")
        self.without_stream += 1 if told.get("error", {}).get("err_code") == _NO_STREAM else 0
        return Answer(f"{cluster}@no-stream" if self.without_stream > 1 else "")

    def read(self, authoritative: bool) -> Copy:
        if not self._caught_up():
            return {}
        return self._run(self._consume() if authoritative else self._direct(), _CATCH_UP_SECONDS)

    def _caught_up(self) -> int:
        """Waits until every replica is current; the stream's last sequence, 0 where there is no stream or nothing in it."""
        deadline = time.monotonic() + _CATCH_UP_SECONDS
        while True:
            info = self.api(f"STREAM.INFO.{self.stream}", seconds=_READ_SECONDS)
            if info.get("error", {}).get("err_code") == _NO_STREAM:
                return 0
            group = info.get("cluster") or {}
            replicas = group.get("replicas") or []
            if (
                group.get("leader")
                and len(replicas) == self.system.replicas - 1
                and all(one.get("current") and not one.get("lag") for one in replicas)
            ):
                return int(info["state"]["last_seq"])
            if time.monotonic() > deadline:
                raise Unreachable(f"the replicas are not current: {group or info}")
            time.sleep(0.2)

    async def _consume(self) -> Copy:
        found: Copy = {}
        stream = self.client.jetstream(timeout=_READ_SECONDS)
        config = ConsumerConfig(deliver_policy=DeliverPolicy.ALL, inactive_threshold=60.0)
        pull = await stream.pull_subscribe(f"{self.stream}.>", stream=self.stream, config=config)
        while True:
            try:
                messages = await pull.fetch(_BATCH, timeout=2)
            except nats.errors.TimeoutError as error:
                raise OSError("the consumer ended before the stream's last message") from error
            for message in messages:
                self._add(found, message.subject, message.data)
                await message.ack()
            if messages and messages[-1].metadata.num_pending == 0:
                return found

    async def _direct(self) -> Copy:
        found: Copy = {}
        inbox = self.client.new_inbox()
        answers = await self.client.subscribe(inbox)
        sequence = 1
        while True:
            await self.client.publish(f"$JS.API.DIRECT.GET.{self.stream}", json.dumps({"seq": sequence, "batch": _BATCH}).encode(), inbox)
            got = 0
            while True:
                message = await answers.next_msg(_READ_SECONDS)
                headers = message.headers or {}
                status = headers.get("Status", "")
                if status in ("204", "404"):
                    break
                if status:
                    raise OSError(f"direct get: {status} {headers.get('Description', '')}")
                got += 1
                sequence = int(headers["Nats-Sequence"]) + 1
                self._add(found, headers["Nats-Subject"], message.data)
            if status == "404" or not got or int(headers.get("Nats-Num-Pending", "0")) == 0:
                await answers.unsubscribe()
                return found

    def _add(self, found: Copy, subject: str, data: bytes) -> None:
        name = subject.removeprefix(f"{self.stream}.")
        found.setdefault(int(name) if name.isdecimal() else -1, []).append(data.decode(errors="replace"))

    def close(self) -> None:
        try:
            self._run(self.client.close(), 1)
        except Unreachable:
            return


class Nats(System):
    port = 4222

    def __init__(self, *arguments: Any, most_down: int) -> None:
        super().__init__(*arguments)
        self.replicas = 2 * max(most_down, 1) + 1
        self.tls = self.context()
        self.stream = f"hostnet-checker-{self.run}"
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # a server that goes away is no news here
        self.made = False
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="nats", daemon=True)
        self.thread.start()

    def connect(self, address: str) -> NatsConnection:
        return NatsConnection(self, address)

    def prepare(self, connection: Connection) -> None:
        assert isinstance(connection, NatsConnection)
        wanted = {
            "name": self.stream,
            "subjects": [f"{self.stream}.>"],
            "num_replicas": self.replicas,
            "storage": "file",
            "retention": "limits",
            "allow_direct": True,
        }
        answer = connection.api(f"STREAM.CREATE.{self.stream}", wanted, _READ_SECONDS)
        if "error" in answer:
            raise Unreachable(f"the stream was not made: {answer['error']}")
        self.made = True

    def clean(self, connection: Connection) -> None:
        assert isinstance(connection, NatsConnection)
        connection.api(f"STREAM.DELETE.{self.stream}", seconds=_READ_SECONDS)

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(5)

"""The clients that write notes, and the proof that each note is stored exactly once."""

import json
from collections import defaultdict
from time import monotonic
from typing import Any
from uuid import uuid4

from .clients import require_json
from .http import Client, Lost, Request
from .ledger import Around
from .scenario import rest

CLIENTS = 4
_PATH = "/api/notes"
_PAGE = 5000


class Notes:
    """Remember every note sent in this run and compare it with what is stored."""

    def __init__(self, around: Around) -> None:
        self._around = around
        self._accepted: dict[str, str] = {}
        self._failed: dict[str, str] = {}
        self._newest: int | None = None

    async def remember(self) -> None:
        """Remember the newest note from before the run."""
        newest = 0
        for note in await self._read(0):
            newest = note["seq"]
        self._newest = newest

    async def write(self, number: int) -> None:
        """Send notes at a steady rate; the last client opens a connection for each."""
        around, alone, far = self._around, number == CLIENTS - 1, number % 2
        client = Client(around.target, around.scenario.patience, around.scenario.distance * far)
        due = monotonic() + number / around.scenario.post_rate
        while not around.stopping.is_set():
            await rest(around.stopping, due - monotonic())
            due = max(due, monotonic()) + CLIENTS / around.scenario.post_rate
            if client.closed_while_idle():
                around.ledger.tallies["post"].reopened += 1
            await self._send(client, alone)
        client.close()

    async def _send(self, client: Client, close: bool) -> None:
        note = {"id": str(uuid4()), "text": f"a note of the load run, {uuid4()}"}
        body = json.dumps(note).encode()
        # Failed until proven accepted, so that a note cut off at any point is looked for too.
        self._failed[note["id"]] = note["text"]
        with self._around.ledger.request("post", _PATH, client.distance):
            response = await client.exchange(Request("POST", _PATH, body, "application/json", close))
            if response.status == 409:
                raise Lost("status 409 on the first send: doubled on its way")
            if response.status != 201:
                raise Lost(f"status {response.status} instead of 201: {response.body[:80]!r}")
            self._accepted[note["id"]] = self._failed.pop(note["id"])

    async def verify(self) -> None:
        """Compare the stored notes of this run with the notes sent."""
        if self._newest is None:
            raise Lost("the newest note from before the run is not known")
        stored: dict[str, list[str]] = defaultdict(list)
        for note in await self._read(self._newest):
            stored[note["id"]].append(note["text"])
        ledger = self._around.ledger
        for name, text in self._accepted.items():
            if stored[name] != [text]:
                ledger.retract("post", _PATH, _fault("accepted", name, text, stored[name]))
        for name, text in self._failed.items():
            ledger.failed_but_stored += bool(stored[name])
            if stored[name] not in ([], [text]):
                ledger.doubled_failure("post", _PATH, _fault("failed", name, text, stored[name]))

    async def _read(self, after: int) -> list[dict[str, Any]]:
        notes: list[dict[str, Any]] = []
        client = Client(self._around.target, self._around.scenario.patience)
        while True:
            path = f"{_PATH}?after={after}&limit={_PAGE}"
            page = require_json(await client.exchange(Request("GET", path), expected=5.0))
            for note in page:
                # A list out of order could hide notes between two pages, or never end.
                if note["seq"] <= after:
                    raise Lost(f"seq {note['seq']} follows {after}")
                after = note["seq"]
            notes += page
            if len(page) < _PAGE:
                client.close()
                return notes


def _fault(state: str, name: str, text: str, stored: list[str]) -> str:
    if len(stored) == 1:
        return f"{state} note {name} is stored with a wrong text: {stored[0]!r:.60} for {text!r:.60}"
    return f"{state} note {name} is stored {len(stored)} times"

"""The sessions of one connection: a program needs one, and sshd allows only so many at once."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

from paramiko import Channel, Transport
from paramiko.ssh_exception import SSHException

from deploy.core.errors import OpsError, Refused
from deploy.core.poll import poll
from deploy.hosts.ssh.link import Link
from deploy.hosts.ssh.transport import SILENCE

SESSIONS = 8  # at once over one connection; sshd allows ten (MaxSessions)
AHEAD = 5  # sessions that are opened before they are needed, where a round trip takes longer than DISTANT seconds
DISTANT = 0.04
REFUSED = 2  # seconds for which a session may be refused: sshd still counts one that has just ended
GRACE = 15  # seconds that a program may take beyond its time: 5 until it is killed, the rest to tell us
WINDOW = 1 << 31  # bytes that may come before they are read; nothing then waits for anything


class Sessions:
    """Opens sessions, ahead of their programs where the host is far away: that saves each a round trip."""

    def __init__(self, link: Link) -> None:
        self.link, self.distant, self.taking = link, False, threading.Lock()
        self.open: list[Channel] = []
        self.spare: list[Channel] = []  # of those, the ones that wait for a program
        self.coming = 0  # sessions that are being opened

    def get(self, transport: Transport, window: int | None) -> Channel:
        """Return a session for a program; raise Refused when none of those that are open ends.

        One that was opened ahead has the window of programs that are run to their end.
        """
        ready = self.take_spare(transport) if window == WINDOW else None
        channel = ready or self.wait_for(transport, window)
        if self.distant and window == WINDOW:
            self.open_ahead(transport)
        return channel

    def prepare(self) -> None:
        """Connect, and open sessions for the first programs; whatever fails here fails when one is used."""
        with suppress(OpsError):
            self.open_ahead(self.link.transport)

    def wait_for(self, transport: Transport, window: int | None) -> Channel:
        """Open a session once there are fewer than the other side allows."""
        patience = SILENCE * self.link.ssh.keepalive + GRACE  # a connection that is dead is noticed before
        refused = 0.0
        for _ in poll(patience, pause=0.01):
            try:
                if channel := self.opened(transport, window, patience):
                    return channel
            except SSHException:
                refused = refused or time.monotonic()
                if not transport.is_active() or time.monotonic() - refused > REFUSED:
                    raise
            self.close_spare()
        then = "fewer services for inv logs --follow, for example"
        raise Refused(
            f"{SESSIONS} programs run over the connection to {self.link.name}, and none has ended",
            where=self.link.where,
            then=then,
            slug="too-many-sessions",
        )

    def opened(self, transport: Transport, window: int | None, patience: float) -> Channel | None:
        """Open a session; None while there are as many as the other side allows.

        Notes whether that takes so long that the next ones are better opened ahead.
        """
        with self.taking:
            self.open = [channel for channel in self.open if not channel.closed]
            if len(self.open) + self.coming >= SESSIONS:
                return None
            self.coming += 1
        began, channel = time.monotonic(), None
        try:
            channel = transport.open_session(window_size=window, timeout=patience)
            self.distant = time.monotonic() - began > DISTANT
        finally:
            with self.taking:
                self.coming -= 1
                self.open += [channel] if channel else []
        return channel

    def take_spare(self, transport: Transport) -> Channel | None:
        """Return a session that was opened ahead over this connection; None when there is none."""
        with self.taking:
            self.spare = [one for one in self.spare if not one.closed and one.get_transport() is transport]
            return self.spare.pop() if self.spare else None

    def close_spare(self) -> None:
        """Close a session that was opened ahead: a program of another window is to run, and there is no room."""
        with self.taking:
            if self.spare:
                self.spare.pop().close()

    def open_ahead(self, transport: Transport) -> None:
        """Open sessions for the programs that come next, while one is started."""
        with self.taking:
            missing = AHEAD - len(self.spare) - self.coming
        for _ in range(missing):
            threading.Thread(target=self.add_spare, args=(transport,), daemon=True).start()

    def add_spare(self, transport: Transport) -> None:
        """Open a session that waits for a program; whatever fails here fails when the next one is used."""
        with suppress(SSHException, OSError, EOFError):
            if channel := self.opened(transport, WINDOW, self.link.ssh.connect_within):
                with self.taking:
                    self.spare.append(channel)

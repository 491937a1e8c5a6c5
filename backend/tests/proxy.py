"""Stand between a process and Redis, and cut the wire."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread


class Wire:
    """Forward TCP connections; while it is cut, everything is swallowed and nobody is told."""

    def __init__(self, host: str, port: int) -> None:
        self.target = (host, port)
        self.cut = False
        self.sockets: set[socket.socket] = set()
        self.listener = socket.create_server(("127.0.0.1", 0))
        Thread(target=self.accept, daemon=True).start()

    @property
    def address(self) -> str:
        """Return where to connect to."""
        return "{}:{}".format(*self.listener.getsockname())

    def accept(self) -> None:
        """Connect each newcomer through; while the wire is cut it is left without an answer."""
        with suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                far = socket.create_connection(self.target)
                self.sockets |= {near, far}
                for source, sink in ((near, far), (far, near)):
                    Thread(target=self.pump, args=(source, sink), daemon=True).start()

    def pump(self, source: socket.socket, sink: socket.socket) -> None:
        """Hand on what arrives, until one side hangs up."""
        with suppress(OSError):
            while data := source.recv(65536):
                if not self.cut:
                    sink.sendall(data)
        hang_up(source, sink)

    def mend(self) -> None:
        """Forward again; what was connected before has lost data, so it is hung up on."""
        hang_up(*self.sockets)
        self.sockets.clear()
        self.cut = False


def hang_up(*sockets: socket.socket) -> None:
    """End connections, also for a thread that reads from them."""
    for one in sockets:
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()


@contextmanager
def wire(host: str, port: int) -> Iterator[Wire]:
    """Keep a wire for as long as the block lasts."""
    made = Wire(host, port)
    try:
        yield made
    finally:
        made.mend()
        hang_up(made.listener)

"""certbot's plugin for the challenge dns-01 by a command of the person's own.

certbot's own hooks need a shell, which this image has not, and where one fails the server is asked all the same.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from contextlib import suppress
from typing import Any

from certbot.errors import PluginError  # type: ignore[import-not-found]  # it is in the image alone
from certbot.plugins.dns_common import DNSAuthenticator  # type: ignore[import-not-found]

ADDED_WITHIN, REMOVED_WITHIN = 240, 60  # seconds, for one record; deploy/certificates/store.py counts with them
SECRET = 8  # characters; a shorter value of the environment may be any word


class Authenticator(DNSAuthenticator):  # type: ignore[misc]
    """Have a command add and remove records; it ends once they are answered."""

    description = "by a command of one's own"

    def __init__(self, *words: Any, **more: Any) -> None:
        """Begin with no record."""
        super().__init__(*words, **more)
        self.begun: set[str] = set()

    @classmethod
    def add_parser_arguments(cls, add: Any, default_propagation_seconds: int = 0) -> None:
        """Take the command."""
        super().add_parser_arguments(add, default_propagation_seconds)
        add("command", help="is run with add or remove, the record's name and its value")

    def more_info(self) -> str:
        """Say what it does."""
        return self.description

    def _setup_credentials(self) -> None:
        """Ask for none: they are the command's own."""

    def _perform(self, _: str, validation_name: str, validation: str) -> None:
        self.begun.add(validation)
        self._run(ADDED_WITHIN, "add", validation_name, validation)

    def _cleanup(self, _: str, validation_name: str, validation: str) -> None:
        """Remove a record, also one whose `add` failed half way; certbot asks for those too that it never began."""
        if validation in self.begun:
            with suppress(PluginError):  # what was issued is issued
                self._run(REMOVED_WITHIN, "remove", validation_name, validation)

    def _run(self, within: float, *words: str) -> None:
        """Run the command; on any failure no server is asked."""
        argv = [*shlex.split(self.conf("command")), *words]
        try:
            ran = subprocess.run(
                argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=within, errors="replace"
            )
        except subprocess.TimeoutExpired:
            raise PluginError(f"tls.dns_hook did not end within {within} s: {' '.join(words)}") from None
        except OSError as error:
            raise PluginError(f"tls.dns_hook cannot be run in this container: {error}") from None
        if ran.returncode:
            printed = masked(ran.stderr.strip() or ran.stdout.strip())[-1000:]
            raise PluginError(f"tls.dns_hook ended with {ran.returncode}: {' '.join(words)}: {printed}")


def masked(printed: str) -> str:
    """Mask what the command got by its environment, its token for example: a trace may print that. Pure."""
    for value in sorted(filter(lambda value: len(value) >= SECRET, os.environ.values()), key=len, reverse=True):
        printed = printed.replace(value, "***")
    return printed

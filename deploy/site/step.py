"""One thing that a command does on a host: a value that says what will be done, in words a person reads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from deploy.config.settings import Settings


class Journaled(Protocol):
    """What the runner needs of a run: its settings, what it works towards, and a journal."""

    @property
    def settings(self) -> Settings:
        """The environment's settings."""

    @property
    def target(self) -> str:
        """What the run works towards, as the journal names it: a release, a backup."""

    def note(self, **facts: object) -> None:
        """Add a line to the journal."""


R = TypeVar("R", bound=Journaled, contravariant=True)


@dataclass(frozen=True)
class Step(ABC, Generic[R]):
    """One thing to do on one host; its fields are written into the journal."""

    @property
    def name(self) -> str:
        """The step's name in the journal."""
        return type(self).__name__

    @abstractmethod
    def __str__(self) -> str:
        """Return the line that people see."""

    def limit(self, settings: Settings) -> float:  # noqa: ARG002  # those that wait read it
        """Return the seconds that the step may take; 0 where no setting says so."""
        return 0

    @abstractmethod
    def perform(self, run: R) -> str | None:
        """Do it, also when it was done before; return a verdict for the journal, if there is one.

        Raises OpsError when it did not come to its end.
        """

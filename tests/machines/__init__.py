"""Test hosts: containers that are a team's servers to whoever comes over SSH."""

from tests.machines.fleet import Fleet, fleet
from tests.machines.machine import ACCOUNTS, ASKED, Machine, Store

__all__ = ["ACCOUNTS", "ASKED", "Fleet", "Machine", "Store", "fleet"]

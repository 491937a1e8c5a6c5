"""Clients that must not lose a request while the app behind them is redeployed."""

from .ledger import Loss
from .process import Clients, during
from .report import EXIT_CODES, FAIL, PASS, UNKNOWN, Kind, Report
from .run import Run, running
from .scenario import KINDS, MINIMUMS, Scenario

__all__ = [
    "EXIT_CODES",
    "FAIL",
    "KINDS",
    "MINIMUMS",
    "PASS",
    "UNKNOWN",
    "Clients",
    "Kind",
    "Loss",
    "Report",
    "Run",
    "Scenario",
    "during",
    "running",
]

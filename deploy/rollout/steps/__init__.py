"""The steps of plans, by concern: value, sentence, stage, time limit and performance stand side by side."""

from deploy.rollout.steps.colour import AwaitHealthy, RemoveStopped, StartColour, StopColour
from deploy.rollout.steps.database import AwaitOrphans, Migrate, RecordMigrations, RunJob
from deploy.rollout.steps.drain import Drain
from deploy.rollout.steps.edge import (
    AwaitEdgeSwitch,
    PrepareEdge,
    RegisterColour,
    RestoreEdge,
    RevertEdge,
    Switch,
    TurnPage,
)
from deploy.rollout.steps.prune import Prune
from deploy.rollout.steps.served import AwaitServed
from deploy.rollout.steps.shared import CreateShared, RecreateShared, StartShared, TemporaryCertificate
from deploy.rollout.steps.step import Stage, Step
from deploy.rollout.steps.watch import Watch
from deploy.rollout.steps.workers import AwaitTasks, Quiet, Resume

__all__ = [
    "AwaitEdgeSwitch",
    "AwaitHealthy",
    "AwaitOrphans",
    "AwaitServed",
    "AwaitTasks",
    "CreateShared",
    "Drain",
    "Migrate",
    "PrepareEdge",
    "Prune",
    "Quiet",
    "RecordMigrations",
    "RecreateShared",
    "RegisterColour",
    "RemoveStopped",
    "RestoreEdge",
    "Resume",
    "RevertEdge",
    "RunJob",
    "Stage",
    "StartColour",
    "StartShared",
    "Step",
    "StopColour",
    "Switch",
    "TemporaryCertificate",
    "TurnPage",
    "Watch",
]

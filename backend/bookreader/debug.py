"""Let a deploy be tried with slow requests and slow tasks; only with DEBUG_ENDPOINTS=true."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query
from kombu.exceptions import OperationalError
from redis import RedisError
from sqlalchemy import select

from bookreader import broker
from bookreader.database import sessions
from bookreader.models import TaskRun
from bookreader.schemas import DebugTask, TaskRunOut
from bookreader.settings import settings

router = APIRouter(prefix="/api/debug")


@router.get("/sleep")
async def sleep(seconds: Annotated[float, Query(ge=0, le=60, allow_inf_nan=False)] = 5) -> dict[str, Any]:
    """Answer late."""
    await asyncio.sleep(seconds)
    return {"slept": seconds, "release": settings().release}


@router.post("/tasks", status_code=202)
def queue_task(task: DebugTask) -> DebugTask:
    """Queue a task that sleeps; it is queued for certain when this answers 202."""
    try:
        broker.celery.send_task(broker.DEBUG_TASK, [str(task.id), task.seconds], task_id=str(task.id))
    except (OperationalError, RedisError) as error:
        raise HTTPException(503, f"the task was not queued: {error}") from error
    return task


@router.get("/tasks")
def task_runs() -> list[TaskRunOut]:
    """List every start of such a task, in order."""
    with sessions() as db:
        return [TaskRunOut.model_validate(run) for run in db.scalars(select(TaskRun).order_by(TaskRun.run))]

"""Run the debug task: it sleeps, and leaves a row for every start so that lost and doubled runs are seen."""

import time
from uuid import UUID

from sqlalchemy import func, insert, update

from bookreader import broker
from bookreader.database import sessions
from bookreader.models import TaskRun
from bookreader.settings import settings


@broker.celery.task(name=broker.DEBUG_TASK)
def debug_task(task_id: str, seconds: float) -> None:
    """Note the start, sleep, note the end; on purpose nothing keeps a second run from being noted too."""
    with sessions.begin() as db:
        start = insert(TaskRun).values(id=UUID(task_id), release=settings().release).returning(TaskRun.run)
        run = db.scalar(start)
    time.sleep(seconds)
    with sessions.begin() as db:
        db.execute(update(TaskRun).where(TaskRun.run == run).values(finished_at=func.clock_timestamp()))

"""The app's scheduler with a quick schedule and a short lock, in the same proportions."""

from bookreader import beat, broker

EVERY_SECONDS = 0.2
beat.LOCK_SECONDS = 3.0
beat.WAIT_SECONDS = 0.1

app = broker.celery
app.conf.update(
    beat_max_loop_interval=EVERY_SECONDS,
    beat_schedule={"tick": {"task": "tests.tick", "schedule": EVERY_SECONDS}},
    broker_transport_options={"socket_connect_timeout": 0.2, "socket_timeout": 0.2},
)

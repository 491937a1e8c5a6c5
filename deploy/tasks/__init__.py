"""The commands: each task calls one function, and shows the result."""

from invoke.collection import Collection

from deploy.tasks import (
    backups,
    database,
    hosts,
    images,
    incident,
    machine,
    monitor,
    observe,
    rollout,
    secrets,
    security,
    tls,
)

# `inv backup` takes a point: the default task of its collection
BACKUP = Collection("backup", backups.list, backups.verify, backups.restore, backups.drill)
for task in (backups.copy, backups.escrow, backups.rebuild, backups.prune, backups.schedule):
    BACKUP.add_task(task)
BACKUP.add_task(backups.take, "take", default=True)

MIGRATE = Collection("migrate", database.lint, database.status, database.check)
MIGRATE.add_task(database.migrate, "apply", default=True)

HOSTS = Collection("hosts", hosts.pin, hosts.provision, hosts.check)
HOSTS.add_task(hosts.import_hosts, "import")  # which Python takes for no name

namespace = Collection(
    machine.doctor, images.build, images.push, security.scan, rollout.plan, rollout.deploy, rollout.rollback,
    rollout.resume, rollout.abort, rollout.unlock, rollout.scale, rollout.maintenance, rollout.down,
    observe.status, observe.history, observe.metrics, observe.validate, observe.logs, observe.exec,
    machine.disk, machine.prune, machine.dev,
    BACKUP, MIGRATE, HOSTS,
    Collection("images", images.pin),
    Collection("incident", incident.triage, incident.playbook),
    Collection(
        "monitor", monitor.up, monitor.down, monitor.check, monitor.page, monitor.verify, monitor.silence
    ),
    Collection("notify", secrets.notification),
    Collection("tls", tls.issue, tls.renew, tls.check),
    Collection("secrets", secrets.init, secrets.check, secrets.edit, secrets.rotate, secrets.identity),
)  # fmt: skip

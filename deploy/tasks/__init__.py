"""The doors: each task loads the settings, calls one function and shows the result."""

from invoke.collection import Collection

from deploy.tasks import images, machine, notify, observe, rollout, secrets, work

namespace = Collection()
for door in (
    machine.doctor, images.build, rollout.plan, rollout.deploy, rollout.rollback,
    rollout.resume, rollout.abort, rollout.unlock, rollout.scale, rollout.maintenance,
    observe.status, observe.history, observe.logs, observe.exec, observe.disk, work.prune, work.dev, rollout.down,
):  # fmt: skip
    namespace.add_task(door)
namespace.add_collection(Collection("images", images.pin))
namespace.add_collection(Collection("notify", notify.probe))
namespace.add_collection(Collection("secrets", secrets.init, secrets.check))

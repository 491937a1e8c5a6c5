"""The doors: each task calls one function, and shows the result."""

from invoke.collection import Collection

from deploy.tasks import hosts, images, machine, observe, rollout, secrets

namespace = Collection()
for door in (
    machine.doctor, images.build, images.push, rollout.plan, rollout.deploy, rollout.rollback,
    rollout.resume, rollout.abort, rollout.unlock, rollout.scale, rollout.maintenance, rollout.down,
    observe.status, observe.history, observe.logs, observe.exec, machine.disk, machine.prune, machine.dev,
):  # fmt: skip
    namespace.add_task(door)
namespace.add_collection(Collection("hosts", hosts.pin, hosts.check))
namespace.add_collection(Collection("images", images.pin))
namespace.add_collection(Collection("notify", secrets.notification))
namespace.add_collection(Collection("secrets", secrets.init, secrets.check))

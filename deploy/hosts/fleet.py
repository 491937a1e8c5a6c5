"""The same work on many hosts at once: each line says whose it is, and every host that failed is named."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from deploy.core import console
from deploy.core.errors import Interrupted, Locked, OpsError, Refused, to_ops_error
from deploy.hosts.host import Host

T = TypeVar("T")


def each(hosts: Iterable[Host], act: Callable[[Host], T], *, among: Collection[Host], at_once: int = 8) -> dict[str, T]:
    """Do something on every host, some at once; return the results by the hosts' names.

    All are waited for. Raises what failed; of several hosts one error that names each. Lines say whose they are where
    the hosts are `among` several.
    """
    hosts = tuple(hosts)
    if len(among) == 1:
        return {hosts[0].name: act(hosts[0])} if hosts else {}
    for host in hosts:
        host.unlock()
    results, errors = dict[str, T](), dict[str, OpsError]()
    width = max(len(host.name) for host in among)

    def named(host: Host) -> T:
        with console.speaking(f"{host.name:<{width}} | "):
            return act(host)

    with ThreadPoolExecutor(at_once) as pool:
        working: dict[str, Future[T]] = {host.name: pool.submit(named, host) for host in hosts}
        try:
            for name, work in working.items():
                try:
                    results[name] = work.result()
                except Exception as error:  # noqa: BLE001  # the other hosts report their errors as well
                    errors[name] = to_ops_error(error, name)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            console.say("interrupted: what has begun on the hosts is let go of")
            for host in hosts:
                host.close()
            pool.shutdown()
            for host in hosts:
                host.renew()  # what serves now is asked next
            raise
    if errors:
        raise combine(errors)
    return results


def raise_unreachable(unreachable: Mapping[str, OpsError], *, documented: bool = False) -> None:
    """Raise the errors of unreachable hosts, once the others were shown; do nothing when all were reached."""
    if unreachable:
        failed = combine(unreachable)
        failed.documented = documented
        raise failed


def combine(errors: Mapping[str, OpsError]) -> OpsError:
    """Make one error of those of several hosts: of their kind where they are of one."""
    if len(errors) == 1:
        name, error = next(iter(errors.items()))
        error.where = error.where if error.where.startswith(name) else f"{name}: {error.where}" if error.where else name
    else:
        kinds = {type(error) for error in errors.values()}
        kind = (
            Interrupted
            if Interrupted in kinds
            else next(iter(kinds))
            if len(kinds) == 1 and kinds <= {Refused, Locked}
            else OpsError
        )
        what = "\n".join(f"{name}: {error.what}" for name, error in errors.items())
        thens = "; ".join(dict.fromkeys(error.then for error in errors.values() if error.then))
        slugs = {error.slug for error in errors.values()}
        slug = slugs.pop() if len(slugs) == 1 else "several-causes"
        error = kind(what, where=", ".join(errors), then=thens, slug=slug)
    error.hosts = tuple(errors)
    return error

"""The Docker engine of a host, asked through its API. The only importer of the docker SDK."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import Any, cast

from deploy.core.errors import OpsError, Refused
from deploy.core.facts import Container
from deploy.core.model import BLOCK, LABEL, MADE_OF, ON_DEMAND, block_of

TIMEOUT = 60  # seconds for an answer
ATTEMPTS = 3
ITEMIZED = "1.51"  # the newest API version that names each image and volume which takes space: later ones have sums
HEALTH_CHARACTERS = 600
ROLE = f"{LABEL}.role"
STARTS = "./scripts/quickstart starts it"


class Engine:
    """Observes containers; changes are commands, so that they can be read and repeated."""

    def __init__(
        self, endpoint: str, dial: Callable[[], Any] | None = None, starts: str = STARTS,
        list_containers: Callable[[str], list[dict[str, Any]]] | None = None,
        list_resources: Callable[[], list[str]] | None = None,
    ) -> None:  # fmt: skip
        self.endpoint, self.dial, self.starts = endpoint, dial, starts
        self.list_containers, self.list_resources = list_containers, list_resources
        self.connecting, self.connected = Lock(), cast(Any, None)

    @property
    def client(self) -> Any:
        """A connection to the engine; raise Refused when it does not answer."""
        with self.connecting:  # its own: until Python 3.12 cached_property has one lock for all engines
            self.connected = self.connected or self.connect()
            return self.connected

    def connect(self) -> Any:
        """Connect to the engine; raise Refused when it does not answer."""
        from docker import DockerClient
        from docker.errors import DockerException

        try:
            return client_over(self.dial) if self.dial else DockerClient(base_url=self.endpoint, timeout=TIMEOUT)
        except (DockerException, OSError):
            raise self.silent() from None

    def silent(self) -> Refused:
        """Say why the engine does not answer: this account may not ask it, or it does not run."""
        socket = self.endpoint.removeprefix("unix://")
        if os.access(socket, os.F_OK) and not os.access(socket, os.R_OK | os.W_OK):
            then = "sudo usermod -aG docker $USER, then log in again"
            return Refused(
                "this account may not use the Docker engine", where=self.endpoint, then=then, slug="engine-denied"
            )
        own = os.environ.get("DOCKER_HOST") == self.endpoint and not os.access(socket, os.F_OK)
        then = f"unset DOCKER_HOST, or start the engine that it names; {self.starts}" if own else self.starts
        return Refused("the Docker engine does not answer", where=self.endpoint, then=then, slug="engine-down")

    def containers(self, environment: str) -> tuple[Container, ...]:
        """List one environment's containers, one-off ones left out."""
        lasting = [own for own in self.of_environment(environment) if not is_one_off(own)]
        return tuple(sorted(map(container_of, lasting), key=lambda c: (c.colour, c.service, c.number)))

    def of_environment(self, environment: str) -> list[dict[str, Any]]:
        """Describe one environment's containers, as `docker inspect` does."""
        label = f"{LABEL}={environment}"
        if self.list_containers:  # without the SDK, which takes long to import
            with self.answering(OSError):
                return self.list_containers(label)
        from docker.errors import DockerException

        with self.answering(DockerException, OSError):
            return self.inspect_all(label)

    @contextmanager
    def answering(self, *errors: type[Exception]) -> Iterator[None]:
        """Raise an OpsError that says so where the engine breaks off."""
        try:
            yield
        except errors as error:
            raise OpsError(
                f"the Docker engine broke off: {error}", where=self.endpoint, then="inv doctor", slug="engine-down"
            ) from None

    def inspect_all(self, label: str) -> list[dict[str, Any]]:
        """Describe every container with a label, as `docker inspect` does; one that is gone meanwhile is left out."""
        from docker.errors import NotFound

        found = []
        for entry in self.client.api.containers(all=True, filters={"label": [label]}):
            with suppress(NotFound):
                found.append(self.client.api.inspect_container(entry["Id"]))
        return found

    def one_offs(self, environment: str) -> tuple[str, ...]:
        """List the names of one environment's one-off containers that run; a deploy goes on while a backup runs."""
        if self.list_containers:
            own = [one for one in self.of_environment(environment) if is_one_off(one) and one["State"]["Running"]]
            of_role = {one["Name"]: one["Config"]["Labels"].get(ROLE) for one in own}
        else:
            labels = [f"{LABEL}={environment}", "com.docker.compose.oneoff=True"]
            listed = self.client.api.containers(filters={"label": labels})
            of_role = {entry["Names"][0]: entry["Labels"].get(ROLE) for entry in listed}
        return tuple(sorted(name.lstrip("/") for name, role in of_role.items() if role not in ON_DEMAND))

    def resources(self) -> frozenset[str]:
        """List the names of all networks and volumes."""
        if self.list_resources:
            with self.answering(OSError):
                return frozenset(self.list_resources())
        volumes = self.client.api.volumes()["Volumes"] or []
        return frozenset(resource["Name"] for resource in (*self.client.api.networks(), *volumes))

    def require(self) -> None:
        """Raise Refused unless the engine answers."""
        _ = self.client

    def folder(self) -> Path:
        """Where the engine keeps images and volumes."""
        return Path(self.client.api.info()["DockerRootDir"])

    def has_image(self, name: str) -> bool:
        """Tell whether there is an image under this name; a question of milliseconds, where `docker` takes 80."""
        from docker.errors import DockerException, ImageNotFound

        with self.answering(DockerException, OSError), suppress(ImageNotFound):
            return bool(self.client.api.inspect_image(name))
        return False

    def layers(self, image: str) -> Counter[str]:
        """Add up an image's layers as `docker history` does: instruction -> uncompressed bytes; none without image."""
        from docker.errors import DockerException, ImageNotFound

        sizes = Counter[str]()
        with self.answering(DockerException, OSError), suppress(ImageNotFound):
            for layer in self.client.api.history(image):
                sizes[layer["CreatedBy"]] += layer["Size"]
        return sizes

    def inspect(self, name: str) -> Container | None:
        """Look at one container; None when it is gone."""
        from docker.errors import NotFound

        try:
            container = self.client.api.inspect_container(name)
        except NotFound:
            return None
        return container_of(container)

    def memory(self, name: str) -> int:
        """Tell how many bytes of memory a container holds that cannot be given back, as `docker stats` counts them."""
        usage = self.client.api.stats(name, stream=False, one_shot=True).get("memory_stats", {})
        details = usage.get("stats", {})
        return int(usage.get("usage", 0)) - int(details.get("total_inactive_file", details.get("inactive_file", 0)))

    def usage(self) -> dict[str, Any]:
        """Return what images, volumes and build cache take, as `docker system df` has it.

        The engine fails when something goes away while it counts: containers are not counted, as none of ours
        asks for them, and it is asked again. Raises an OpsError with the engine's own words.
        """
        from docker.utils import version_lt

        api = self.client.api
        version = api.api_version if version_lt(api.api_version, ITEMIZED) else ITEMIZED
        counted = f"{api.base_url}/v{version}/system/df?type=image&type=volume&type=build-cache"
        for _ in range(ATTEMPTS):
            if (answer := api.get(counted, timeout=TIMEOUT)).ok:
                return dict(answer.json())
        raise OpsError(
            f"the Docker engine cannot say what takes space: {answer.text.strip()}",
            where=self.endpoint, then="docker system df shows the same; once that answers, the same command again",
            slug="engine-failed",
        )  # fmt: skip

    def log_file(self, name: str) -> Path | None:
        """Return the file that a container's log is kept in; None when its logging driver keeps none."""
        path = self.client.api.inspect_container(name)["LogPath"]
        return Path(path) if path else None

    def mounted(self, name: str, place: str) -> str | None:
        """Return the host's folder that a container has at one place; None when it has none there."""
        mounts = self.client.api.inspect_container(name)["Mounts"]
        return next((mount["Source"] for mount in mounts if mount["Destination"] == place), None)

    def logs(self, name: str, lines: int = 15) -> str:
        """Return the last lines that a container printed since it was started last; what it printed before is over.

        In a restart loop the run before has the cause, as long as the new one has printed nothing.
        """
        from docker.errors import DockerException

        try:
            shown = self.client.api.inspect_container(name)
            since = datetime.fromisoformat(f"{shown['State']['StartedAt'][:19]}+00:00").timestamp()
            printed = self.client.api.logs(name, tail=lines, since=max(int(since), 0))
            if not printed.strip() and shown["RestartCount"]:
                printed = self.client.api.logs(name, tail=lines)
            return bytes(printed).decode(errors="replace").strip()
        except (DockerException, OSError, ValueError):
            return ""

    def health_check(self, name: str) -> str:
        """Return what a container's health check printed last, where it failed; the container's own log lacks that."""
        from docker.errors import DockerException

        try:
            health = self.client.api.inspect_container(name)["State"].get("Health") or {}
        except (DockerException, OSError):
            return ""
        last = (health.get("Log") or [{}])[-1]
        if not last.get("ExitCode"):
            return ""
        printed = str(last.get("Output") or "").strip()[-HEALTH_CHARACTERS:]
        return f"health check ended with {last['ExitCode']}: {printed or 'it printed nothing'}"


def is_one_off(described: Mapping[str, Any]) -> bool:
    """Tell whether `docker inspect` describes a container that was run for one command. Pure."""
    return bool(described["Config"]["Labels"].get("com.docker.compose.oneoff") == "True")


def container_of(container: Mapping[str, Any]) -> Container:
    """Read what `docker inspect` says of a container. Pure."""
    labels, state = container["Config"]["Labels"], container["State"]
    return Container(
        name=container["Name"].lstrip("/"),
        service=labels.get(f"{LABEL}.service", ""),
        role=labels.get(f"{LABEL}.role", ""),
        colour=labels.get(f"{LABEL}.colour", ""),
        release=labels.get(f"{LABEL}.release", ""),
        state=state["Status"],
        health=state.get("Health", {}).get("Status", ""),
        image=container["Image"],
        restarts=container["RestartCount"],
        exit_code=state["ExitCode"],
        made_of=labels.get(MADE_OF, ""),
        out_of_memory=state["OOMKilled"],
        number=int(labels.get("com.docker.compose.container-number", 1)),
        deploy=block_of(labels.get(BLOCK, "")),
        addresses=tuple(
            joined["IPAddress"] for joined in container["NetworkSettings"]["Networks"].values() if joined["IPAddress"]
        ),
        networks=tuple(sorted(container["NetworkSettings"]["Networks"])),
        started=state["StartedAt"],
        mounts=tuple(
            (mount.get("Name") or mount.get("Source", ""), mount["Destination"]) for mount in container["Mounts"]
        ),
    )


def client_over(dial: Callable[[], Any]) -> Any:
    """Return a client that asks over channels which end at an engine, as `docker system dial-stdio` makes them."""
    from docker import DockerClient
    from docker.transport.basehttpadapter import BaseHTTPAdapter
    from urllib3.connection import HTTPConnection
    from urllib3.connectionpool import HTTPConnectionPool

    class Connection(HTTPConnection):
        sock: Any

        @property
        def is_connected(self) -> bool:
            return self.sock is not None and not (self.sock.closed or self.sock.eof_received)

        def connect(self) -> None:
            self.sock = dial()
            self.sock.settimeout(TIMEOUT)

    class Pool(HTTPConnectionPool):
        ConnectionCls = Connection

    class Adapter(BaseHTTPAdapter):
        pool = Pool("engine", maxsize=4)  # of both clients: the connection that asked for the version goes on

        def get_connection(self, *_: object) -> Pool:
            return self.pool

        def send(self, *words: Any, **more: Any) -> Any:
            try:
                return super().send(*words, **more)
            except (OSError, EOFError):
                dial().close()  # where the connection to the host broke, it is this that says so
                raise

    adapter = Adapter()

    def client(version: str) -> Any:
        docker_client = DockerClient(base_url="http://engine:1", version=version, timeout=TIMEOUT)
        docker_client.api.trust_env = False  # no proxy stands between
        docker_client.api.mount("http://engine", adapter)
        return docker_client

    return client(client("1.44").api.version(api_version=False)["ApiVersion"])

"""How machines are reached over SSH: these sections of the settings."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from deploy.core.model import must


def like(pattern: str, words: str) -> AfterValidator:
    """Refuse a text that is not wholly like the pattern, and say in words what it must be."""
    return must(lambda text: re.fullmatch(pattern, text), words)


def reached(address: str) -> str:
    """Refuse an address at which other hosts do not reach one; empty is none."""
    try:
        ip = IPv4Address(address or "192.0.2.1")
    except ValueError:
        raise ValueError("it must be an IPv4 address") from None
    if ip.is_unspecified or ip.is_loopback or ip.is_multicast:
        raise ValueError("no other host reaches one at this address")
    return address


Address = Annotated[
    str,
    like(r"[\w.-]+|[\w.%]*:[\w.%]*:[\w.:%]*", "it must be a name or an address, without a port or anything else"),
    must(
        lambda address: ":" in address or address.encode("idna"),
        "it must be a name, whose parts between the dots have 1 to 63 characters, or an address",
    ),
]
File = Annotated[Path, must(lambda path: path != Path(), "it names no file")]
HostKey = Annotated[
    str,
    like(
        r"((ssh|ecdsa)-[a-z0-9-]+ [A-Za-z0-9+/]+=*( .*)?)?",
        "it must be a public key as in a .pub file: ssh-ed25519 AAAA...",
    ),
    AfterValidator(lambda key: " ".join(key.split()[:2])),  # without the comment that a .pub file has behind it
]
Account = Annotated[str, like(r"([^\s-]\S*)?", "it must be an account: no spaces, no - first")]
Port = Annotated[int, Field(gt=0, lt=65536)]
Role = Literal["app", "worker", "edge", "data", "monitoring"]


# https://www.rfc-editor.org/rfc/rfc5737, rfc3849, rfc2606: what documents may name, and no machine has
RESERVED = [ip_network(net) for net in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")]
RESERVED_NAME = re.compile(r"(.*\.)?example(\.(com|net|org))?\.?", re.IGNORECASE)


def is_reserved(address: str) -> bool:
    """Tell whether a name or address is an example of documents, which no machine has. Pure."""
    try:
        return any(ip_address(address) in net for net in RESERVED)
    except ValueError:
        return RESERVED_NAME.fullmatch(address) is not None


class Section(BaseModel):
    """A part of the settings; a key that it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_bool_is_a_number(cls, value: object, info: ValidationInfo) -> object:
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation in (int, float):
            raise ValueError(f"it must be a number, not {str(value).lower()}")
        return value


class Machine(Section):
    """A machine that is reached over SSH: where it is, as whom, and the host key that it must show."""

    address: Address
    port: Port = 22
    user: Account = ""
    key: HostKey = ""


class Server(Machine):
    """A host of the environment: what it is there for, and where the other hosts reach it."""

    roles: list[Role] = Field(default=["app", "worker", "edge", "data", "monitoring"], min_length=1)
    private: Annotated[str, AfterValidator(reached)] = ""


class Ssh(Section):
    """How hosts are reached; times in seconds."""

    user: Account = Field(default="root", min_length=1)
    key_file: File | None = None
    sudo: bool = False
    connect_within: float = Field(default=10, gt=0)
    keepalive: float = Field(default=5, gt=0)
    parallel: int = Field(default=8, gt=0)

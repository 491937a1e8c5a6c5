"""The parts of Trivy's JSON that are judged; a key in its results that is not listed here makes a report unreadable."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Part(BaseModel):
    """A part of a report, of which these keys are needed; what is optional is left out where it is empty."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Identified(Part):
    """How a package is called everywhere."""

    purl: str = Field(default="", alias="PURL")


class Package(Part):
    """A package that was looked at; `development` needs it alone, as npm's `devDependencies`."""

    id: str = Field(default="", alias="ID")
    development: bool = Field(default=False, alias="Dev")


class Vulnerability(Part):
    """A vulnerability of one package."""

    id: str = Field(alias="VulnerabilityID")
    package: str = Field(alias="PkgName")
    package_id: str = Field(default="", alias="PkgID")
    installed: str = Field(default="", alias="InstalledVersion")
    fixed: str = Field(default="", alias="FixedVersion")
    severity: str = Field(alias="Severity")
    title: str = Field(default="", alias="Title")
    url: str = Field(default="", alias="PrimaryURL")
    path: str = Field(default="", alias="PkgPath")
    identifier: Identified = Field(default=Identified(), alias="PkgIdentifier")


class Secret(Part):
    """A secret in a file."""

    id: str = Field(alias="RuleID")
    severity: str = Field(alias="Severity")
    title: str = Field(alias="Title")
    line: int = Field(default=0, alias="StartLine")


class Cause(Part):
    """Where a misconfiguration is."""

    line: int = Field(default=0, alias="StartLine")


class Misconfiguration(Part):
    """A misconfiguration in a file."""

    id: str = Field(alias="ID")
    status: str = Field(alias="Status")
    severity: str = Field(alias="Severity")
    title: str = Field(alias="Title")
    resolution: str = Field(default="", alias="Resolution")
    url: str = Field(default="", alias="PrimaryURL")
    cause: Cause = Field(default=Cause(), alias="CauseMetadata")


class Summary(Part):
    """How many checks of a file passed and failed."""

    successes: int = Field(alias="Successes")
    failures: int = Field(alias="Failures")


class Result(Part):
    """What was found in one target; a key that is not listed here may be findings by another name."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    target: str = Field(alias="Target")
    kind: str = Field(alias="Class")
    type: str = Field(default="", alias="Type")
    packages: list[Package] = Field(default=[], alias="Packages")
    vulnerabilities: list[Vulnerability] = Field(default=[], alias="Vulnerabilities")
    secrets: list[Secret] = Field(default=[], alias="Secrets")
    summary: Summary | None = Field(default=None, alias="MisconfSummary")
    misconfigurations: list[Misconfiguration] = Field(default=[], alias="Misconfigurations")


class System(Part):
    """The distribution that an image is made of."""

    family: str = Field(alias="Family")
    name: str = Field(default="", alias="Name")
    ended: bool = Field(default=False, alias="EOSL")


class Metadata(Part):
    """What an image is."""

    size: int = Field(default=0, alias="Size")
    image: str = Field(default="", alias="ImageID")
    system: System | None = Field(default=None, alias="OS")
    layers: list[str] = Field(default=[], alias="DiffIDs")


class Report(Part):
    """What one run of Trivy found."""

    schema_version: int = Field(alias="SchemaVersion")
    artifact: str = Field(alias="ArtifactName")
    metadata: Metadata = Field(default=Metadata(), alias="Metadata")
    results: list[Result] = Field(default=[], alias="Results")

"""Run the scanners: each inspection says what it found, or why it could not; none of them ends the scan."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from deploy.config import checkout as source
from deploy.config.sections import Kind
from deploy.config.settings import Settings
from deploy.core.errors import OpsError
from deploy.core.shell import Command, docker, pipe, query
from deploy.hosts.local import LocalHost
from deploy.images import archive, bake, bases, build
from deploy.images.inventory import ImageTransfer
from deploy.release import desired
from deploy.security import linters, rules, trivy, trivy_checkout, utf16
from deploy.security.database import alone, cache_folder
from deploy.security.findings import CHECKOUT, Finding, Inspection, ScannedImage, Severity, Unreadable, as_unknown
from deploy.security.linters import Linter
from deploy.security.programs import git_that_says_how_it_ended, last_line, program, run
from deploy.security.trivy import Data
from deploy.security.trivy_report import Report

IMAGE_KINDS: tuple[Kind, ...] = ("vulnerabilities", "end-of-life", "secrets")
CHECKOUT_KINDS: tuple[Kind, ...] = ("vulnerabilities", "secrets", "misconfigurations")
DEFAULT_RULES = "[extend]\nuseDefault = true"  # in place of a .gitleaks.toml of the checkout's
# whatever attributes and git's settings say: files that are called binary, what a merge itself brings, the root commit
WHOLE = "--text --no-textconv --no-ext-diff --no-relative --root --diff-merges=first-parent"
LOG = f"{WHOLE} --no-color --no-abbrev-commit --pretty=medium --date=default HEAD"
GITLEAKS = (
    "git", "--report-format=json", "--report-path=-", "--no-banner", "--no-color", "--redact", "--exit-code=0",
    "--gitleaks-ignore-path=/dev/null", "--ignore-gitleaks-allow", f"--log-opts={LOG}",
)  # fmt: skip
NO_CHECK = 'docker-buildx 0.17 and Docker Engine 27, or later; to do without: scan.skip = ["build-check"]'
UNPROMPTED = {"BUILDX_BAKE_ENTITLEMENTS_FS": "0"}  # the bake file may name a certificate outside the checkout
ESCAPED = re.compile(r"\\x[89a-f][0-9a-f]")  # a byte of a name that is not UTF-8, as `run` reads it
COMMITS = re.compile(r"(\d+) commits? scanned")
FAILED = re.compile(r"(?m)^\S* ERR (.*)")  # in the log of gitleaks, whose exit code is 0 even so


def report_of(settings: Settings, here: LocalHost, data: Data, what: Sequence[str], *more: str) -> tuple[Report, str]:
    """Run Trivy once; return its report, and the same as text."""
    scanners = [*(() if data.unknown else ("vuln",)), "secret", *more]
    within = settings.scan.within
    words = trivy.scan(program("trivy", settings), what, str(cache_folder(settings)), scanners, within=within)
    with alone(settings):
        answer = run(words, settings, here).stdout
    return trivy.read(answer), answer


def image(
    transfer: ImageTransfer, settings: Settings, here: LocalHost, data: Data
) -> tuple[list[Inspection], ScannedImage]:
    """Inspection into one image as the engine has it: unpacked into a folder, so that its digest stays what it is."""
    name, archived = transfer.name, transfer.image
    inspected = ScannedImage(name, archived.digest, archived.config)
    try:
        report, answer = image_report(transfer, settings, here, data)
        least, bare = settings.scan.system_packages, name in settings.scan.without_packages
        inspections = trivy.image_inspections(report, name, data, least=least, packageless=bare)
        return inspections, replace(inspected, sbom=sbom(answer, settings, here))
    except (OpsError, Unreadable) as error:
        return [as_unknown(kind, name, error) for kind in IMAGE_KINDS], inspected


def image_report(transfer: ImageTransfer, settings: Settings, here: LocalHost, data: Data) -> tuple[Report, str]:
    """Return the report of an image: that of the same digest by the same scanner and database, or a new one."""
    version = run((program("trivy", settings), "--version"), settings, here).stdout.split("\n")[0]
    key = hashlib.sha256("\n".join((transfer.image.digest, version, data.updated, data.unknown)).encode()).hexdigest()
    made = cache_folder(settings) / "reports" / f"{key[:32]}.json"
    if answer := here.read(made):
        trivy.require_image(report := trivy.read(answer), transfer.image.config)
        return report, answer
    with tempfile.TemporaryDirectory(prefix="ops-scan-") as folder:
        here.run(pipe(docker("save", transfer.kept).as_query(), query("tar", "--extract", "--directory", folder)))
        archive.keep_one(Path(folder), transfer.image.config)
        report, answer = report_of(settings, here, data, ("image", "--input", folder))
    trivy.require_image(report, transfer.image.config)
    with suppress(OSError):  # another scan may write the same, or the disk be full
        here.write(made, answer)
    forget(made.parent, settings.scan.database_hours)
    return report, answer


def forget(reports: Path, hours: float) -> None:
    """Remove the reports by databases that are too old by now: no scan reads them again."""
    for path in reports.glob("*.json"):
        with suppress(OSError):  # another scan may have removed it
            if time.time() - path.stat().st_mtime > hours * 3600:
                path.unlink()


def sbom(answer: str, settings: Settings, here: LocalHost) -> str:
    """Derive the image's CycloneDX SBOM from its report."""
    with tempfile.NamedTemporaryFile("w", prefix="ops-scan-", suffix=".json") as file:
        file.write(answer)
        file.flush()
        path = program("trivy", settings)
        return run((path, "convert", "--quiet", "--format=cyclonedx", file.name), settings, here).stdout


def checkout(settings: Settings, here: LocalHost, data: Data, files: Sequence[str]) -> list[Inspection]:
    """Look at locks of dependencies, secrets and configuration in the checkout, without what git ignores."""
    try:
        left_out, built = ignored(settings, here), dockerfiles(settings, here)
        reports = {
            folder: checkout_report(folder, left_out, built, settings, here, data)
            for folder in (".", *trivy_checkout.passed_over(files))
        }
        with utf16.copied(settings.root, files) as folder:
            encoded = report_of(settings, here, data, ("fs", folder))[0] if folder else None
        report = trivy_checkout.joined(reports, encoded)
        configured = sorted({result.target for result in report.results if result.summary} & {*files})
        comments = let_through("misconfigurations", trivy.IGNORED, "HIGH", configured, settings)
        unreadable = [path for path in files if not os.access(settings.root / path, os.R_OK)]
        return trivy_checkout.inspections(report, data, files, comments, unreadable)
    except (OpsError, Unreadable) as error:
        return [as_unknown(kind, CHECKOUT, error) for kind in CHECKOUT_KINDS]


def checkout_report(
    folder: str, left_out: Mapping[str, str], built: Iterable[str], settings: Settings, here: LocalHost, data: Data
) -> Report:  # fmt: skip
    """Return the report of one folder of the checkout and what is under it; all of it is `.`."""
    skipped = [
        f"--skip-{left_out[path]}={trivy_checkout.plain(name)}"
        for path, name in trivy_checkout.under(folder, left_out).items()
    ]
    dockerfiles = map(trivy_checkout.as_dockerfile, trivy_checkout.under(folder, built).values())
    return report_of(settings, here, data, ("fs", *skipped, *dockerfiles, folder), "misconfig")[0]


def by_rules(settings: Settings, here: LocalHost) -> list[Inspection]:
    """Look at the compose files and at nginx's templates by rules of ours."""
    kind: Kind = "misconfigurations"
    try:
        model = desired.model(settings, here)
    except OpsError as error:
        of_services = as_unknown(kind, "compose files", error)
    else:
        files = [(path, build.text_of(settings.root / path)) for path in settings.compose]
        lines = rules.places([service.name for service in model.services], files)
        scope = f"{len(model.services)} services, by rules of ours"
        of_services = Inspection(kind, "compose files", scope, findings=tuple(rules.compose(model, lines)))
    texts = {path: build.text_of(path) for path in sorted((settings.root / settings.nginx).glob("*.j2"))}
    count = sum(len(rules.blocks(text)) for text in texts.values())
    findings = [one for path, text in texts.items() for one in rules.nginx(str(path.relative_to(settings.root)), text)]
    of_routes = Inspection(
        kind, "nginx templates", f"{count} blocks in {len(texts)} files, by rules of ours", findings=tuple(findings),
        unknown="" if count else f"there is no block in {settings.nginx}/*.j2",
        then=f"{settings.nginx}/site.conf.j2, or scan.skip = [\"misconfigurations\"]",
    )  # fmt: skip
    return [of_services, of_routes]


def ignored(settings: Settings, here: LocalHost) -> dict[str, str]:
    """List what git ignores, folders as `dirs`, others as `files`: environments, caches, secrets, what was built."""
    words = ("ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--directory")
    listed = run(("git", *words), settings, here).stdout.split("\0")
    folders = {path: path.endswith("/") or (settings.root / path).is_dir() for path in listed if path}
    return {".git": "dirs"} | {path.rstrip("/"): "dirs" if folder else "files" for path, folder in folders.items()}


def tracked(settings: Settings, here: LocalHost) -> list[str]:
    """List the files of the checkout that git has, or would add, and are here."""
    words = ("ls-files", "-z", "--cached", "--others", "--exclude-standard")
    listed = run(("git", *words), settings, here).stdout.split("\0")
    files = {path for path in listed if path and is_file(settings.root / path)}
    return sorted(f"./{path}" if path.startswith("-") else path for path in files)  # else it would be read as an option


def is_file(path: Path) -> bool:
    """Tell whether a file is here, or may be: in a folder that nobody lets us into, or by a name that is not UTF-8."""
    try:
        return path.is_file() or (bool(ESCAPED.search(path.name)) and not path.exists())
    except OSError:
        return True


def first_line(path: Path) -> str:
    """Read a file's first line; empty for one that is no text."""
    with path.open("rb") as file:
        return file.readline(200).decode(errors="replace")


def lint(linter: Linter, settings: Settings, here: LocalHost, files: Sequence[str]) -> Inspection:
    """Look at the files that one linter is for."""
    try:
        lines = {path: first_line(settings.root / path) if linter.scripts else "" for path in files}
    except OSError as error:
        unknown = f"{error.filename} cannot be read: {error.strerror}"
        return Inspection(linter.kind, CHECKOUT, unknown=unknown, then="chmod or chown it, then inv scan")
    built = dockerfiles(settings, here) if linter.kind == "dockerfiles" else []
    own = [path for path, line in lines.items() if linter.chooses(path, line) or path in built]
    if not own:
        then = f'where there are none on purpose: scan.skip = ["{linter.kind}"]'
        return Inspection(linter.kind, CHECKOUT, unknown=f"there is no file for {linter.program} to look at", then=then)
    try:
        done = run((program(linter.program, settings), *linter.words, *own), settings, here, linter.codes)
        findings = (*linter.findings(done.stdout), *let_through(linter.kind, linter.comment, "LOW", own, settings))
        passed_over = re.search(linter.passed_over, done.stderr) if linter.passed_over else None
        unknown = f"{linter.program} did not look at all of them: {passed_over[0]}" if passed_over else ""
        scope = f"{len(own)} files, by {linter.program}"
        return Inspection(linter.kind, CHECKOUT, scope, findings=findings, unknown=unknown)
    except (OpsError, Unreadable) as error:
        return as_unknown(linter.kind, CHECKOUT, error)


def let_through(
    kind: Kind, comment: str, severity: Severity, paths: Iterable[str], settings: Settings
) -> list[Finding]:  # fmt: skip
    """Find the comments in files by which a scanner lets findings through."""
    texts = ((path, build.text_of(settings.root / path)) for path in paths if comment)
    return [one for path, text in texts for one in linters.comments(kind, comment, severity, path, text)]


def dockerfiles(settings: Settings, here: LocalHost) -> list[str]:
    """List the Dockerfiles that the bake file builds, whatever they are called; none where it cannot be read."""
    if not (settings.root / settings.bake).is_file():
        return []
    with suppress(OpsError):  # which looking into images says
        return sorted({target.dockerfile for target in build.read_targets(settings, here) if target.dockerfile})
    return []


def history(settings: Settings, here: LocalHost) -> Inspection:
    """Inspection for secrets in every commit; a shallow clone has not all of them."""
    kind: Kind = "history"
    try:
        if run(("git", "rev-parse", "--is-shallow-repository"), settings, here).stdout.strip() != "false":
            then = "git fetch --unshallow; in GitHub Actions fetch-depth: 0"
            return Inspection(kind, CHECKOUT, unknown="this clone has not the whole history", then=then)
        words = (program("gitleaks", settings), *GITLEAKS, ".")
        with git_that_says_how_it_ended(cache_folder(settings)) as path:
            done = run(words, settings, here, GITLEAKS_CONFIG_TOML=DEFAULT_RULES, PATH=path, GIT_NO_REPLACE_OBJECTS="1")
        answer = linters.parse("gitleaks", done.stdout, linters.gitleaks)
        count = int(match[1]) if (match := COMMITS.search(done.stderr)) else 0
        unknown = "" if count else "gitleaks does not say that it looked at a commit"
        if failed := FAILED.search(done.stderr):
            unknown = f"gitleaks saw {count} commits and then failed: {failed[1]}"
        then = "git fsck; a clone that has every file: git clone without --filter" if unknown else ""
        return Inspection(kind, CHECKOUT, f"{count} commits, by gitleaks", findings=answer, unknown=unknown, then=then)
    except (OpsError, Unreadable) as error:
        return as_unknown(kind, CHECKOUT, error)


def build_check(settings: Settings, here: LocalHost) -> Inspection:
    """Have BuildKit check the Dockerfiles of the bake file, where buildx can, with the base images of `inv build`."""
    kind: Kind = "build-check"
    try:
        if "--call" not in run(("docker", "buildx", "bake", "--help"), settings, here).stdout:
            version = run(("docker", "buildx", "version"), settings, here).stdout.split()[1:2]
            what = f"buildx {''.join(version)} has no `bake --call=check`, so that no Dockerfile was looked at"
            return Inspection(kind, CHECKOUT, unknown=what, then=NO_CHECK)
        references = bases.references(settings.root, settings.build.bases, build.contexts(settings), here)
        held = {
            "DOCKER_HOST": here.endpoint,
            "BUILDX_BUILDER": "default",
        }  # as for `inv build`, whatever the shell says
        variables = build.variables(settings, source.read(settings.root, here)) | UNPROMPTED | held
        file = Command(bake.check(str(settings.root / settings.bake), references))
        words = bake.without(set(build.declared(settings)) - variables.keys(), file).argv
        done = run(words, settings, here, (0, 1), **variables)
        if not (stdout := done.stdout.strip()):
            unknown = f"BuildKit checked nothing: {last_line(done.stderr)}"
            return Inspection(kind, CHECKOUT, unknown=unknown, then=NO_CHECK)
        findings, checked = linters.parse("BuildKit", stdout, linters.build_check), json.loads(stdout)["target"]
        missing = sorted({target.name for target in build.read_targets(settings, here)} - checked.keys())
        unknown = f"BuildKit says nothing of {', '.join(missing)}" if missing else ""
        unknown = unknown if checked else "the bake file names no target"
        return Inspection(kind, CHECKOUT, f"{len(checked)} targets, by BuildKit", findings=findings, unknown=unknown)
    except (OpsError, Unreadable) as error:
        return as_unknown(kind, CHECKOUT, error)

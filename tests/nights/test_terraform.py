"""Servers by Terraform, from nothing to the settings and back, at an API on loopback in place of AWS's."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from deploy.config.loader import load
from deploy.hosts.local import LocalHost
from deploy.provisioning import imported
from tests.support import terraform
from tests.support.terraform import REGION

BUCKET = "shop-prod-backups"
TOML = (
    'domain = "www.shop.test"  # stays\n\n[hosts.app1]\naddress = "192.0.2.1"  # an example\nkey = "ssh-ed25519 AAAA"\n'
)
HOSTS = {"app1": {"volume_gb": 20}, "app2": {"roles": ["app", "edge", "worker"], "size": "t3.small"}}
TWICE = ["-input=false", "-no-color", "-var-file=prod.tfvars.json"]
APPLY = ["-auto-approve", "-parallelism=20", *TWICE]


def written(folder: Path) -> Path:
    """Write an environment that has the host of an example."""
    environments = folder / "deploy" / "environments"
    environments.mkdir(parents=True)
    (environments.parent / "app.toml").write_text('app = "shop"\ncompose = ["c.yml"]\n')
    (environments / "prod.toml").write_text(TOML)
    return environments / "prod.toml"


def test_hosts_are_made_imported_and_taken_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Apply, an empty second plan, the hosts in the settings, a second import, destroy."""
    aws = terraform.copied("aws", tmp_path)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "operator")], check=True)
    variables = {
        "app": "shop", "environment": "prod", "hosts": HOSTS, "ssh_from": ["10.1.0.0/16"], "backup_bucket": BUCKET,
        "ssh_public_key": (tmp_path / "operator.pub").read_text(), "image": "ami-12c6146b",
        "dns_zone": "shop.test", "domains": ["www.shop.test"],
    }  # fmt: skip
    (aws.module / "prod.tfvars.json").write_text(json.dumps(variables))
    with terraform.cloud(tmp_path / "moto") as there:
        aws.more = {"AWS_ENDPOINT_URL": there["AWS_ENDPOINT_URL"]}
        terraform.ask(there, "client('route53').create_hosted_zone(Name='shop.test', CallerReference='1')")
        aws.do("apply", *APPLY)
        again = aws.run("plan", "-detailed-exitcode", *TWICE)
        assert (again.returncode, "No changes" in again.stdout) == (0, True), again.stdout + again.stderr
        output = imported.read(str(aws.module), LocalHost())
        assert (tmp_path / "operator").read_text() not in (aws.module / "terraform.tfstate").read_text()

        file = written(tmp_path)
        monkeypatch.setenv("OPS_ROOT", str(tmp_path))
        rows = imported.write(load("prod"), imported.parse(output), remove=False)
        assert [(row.name, row.change, row.pin) for row in rows] == [("app1", "changed", True), ("app2", "added", True)]
        content, hosts = file.read_text(), load("prod").hosts
        assert "# stays" in content
        rows = imported.write(load("prod"), imported.parse(output), remove=False)
        assert ([row.change for row in rows], file.read_text()) == (["unchanged", "unchanged"], content)
        assert (len(hosts["app1"].roles), hosts["app2"].roles) == (5, ["app", "worker", "edge"])

        machines = terraform.ask(there, "client('ec2').describe_instances()")["Reservations"]
        running = [machine for one in machines for machine in one["Instances"]]
        assert {machine["PrivateIpAddress"] for machine in running} == {host.private for host in hosts.values()}
        addresses = {one["PublicIp"] for one in terraform.ask(there, "client('ec2').describe_addresses()")["Addresses"]}
        assert addresses == {host.address for host in hosts.values()}
        records = terraform.ask(
            there,
            "[row for zone in client('route53').list_hosted_zones()['HostedZones']"
            " for row in client('route53').list_resource_record_sets(HostedZoneId=zone['Id'])['ResourceRecordSets']]",
        )
        site = next(record for record in records if record["Name"] == "www.shop.test.")
        assert {record["Value"] for record in site["ResourceRecords"]} == addresses
        shut = terraform.ask(there, f"client('s3').get_public_access_block(Bucket='{BUCKET}')")
        assert all(shut["PublicAccessBlockConfiguration"].values())
        assert f"s3:https://s3.{REGION}.amazonaws.com/{BUCKET}" in str(output)

        aws.do("destroy", *APPLY)
        machines = terraform.ask(there, "client('ec2').describe_instances()")["Reservations"]
        assert {machine["State"]["Name"] for one in machines for machine in one["Instances"]} <= {"terminated"}
        assert terraform.ask(there, "client('s3').list_buckets()")["Buckets"] == []

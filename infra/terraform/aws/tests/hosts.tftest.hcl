# No cloud is asked: the provider is mocked. What these hold, `terraform apply` against a real API holds as well.

mock_provider "aws" {
  mock_data "aws_ami" {
    defaults = { id = "ami-0123456789abcdef0" }
  }
}

variables {
  app            = "bookreader"
  environment    = "prod"
  ssh_public_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDCzmM9mXY2qsJfYbHbZ8kqkX0J1n0m2o3p4q5r6s7t8 operator"
  ssh_from       = ["198.51.100.0/24"]
  hosts = {
    app1 = { volume_gb = 20 }
    app2 = { roles = ["app", "worker"], size = "t3.large" }
  }
}

run "hosts" {
  assert {
    condition     = [for host in output.hosts : host.name] == ["app1", "app2"]
    error_message = "every host is in the output, in the order of their names"
  }
  assert {
    condition     = output.hosts[1].roles == toset(["app", "worker"]) && length(output.hosts[0].roles) == 5
    error_message = "roles are those that were asked for; all of them where none were"
  }
  assert {
    condition     = output.environment == "prod" && output.backup_repository == ""
    error_message = "the output names its environment, and no bucket where there is none"
  }
  assert {
    condition     = [for host in aws_instance.host : host.instance_type] == ["t3.medium", "t3.large"]
    error_message = "a host has the size that was asked for"
  }

  assert {
    condition = alltrue([
      for rule in aws_vpc_security_group_ingress_rule.ssh :
      rule.cidr_ipv4 == "198.51.100.0/24" && rule.from_port == 22 && rule.to_port == 22
    ])
    error_message = "port 22 is for operators alone"
  }
  assert {
    condition     = toset([for rule in aws_vpc_security_group_ingress_rule.web : rule.to_port]) == toset([80, 443])
    error_message = "visitors reach 80 and 443, and nothing else"
  }
  assert {
    condition     = [for host in aws_instance.host : length(host.vpc_security_group_ids)] == [2, 1]
    error_message = "80 and 443 are open on hosts with an edge alone"
  }

  assert {
    condition     = alltrue([for host in values(aws_instance.host) : host.root_block_device[0].encrypted])
    error_message = "root disks are encrypted"
  }
  assert {
    condition     = strcontains(local.mounts["app1"], "by-id/nvme-Amazon_") && keys(local.mounts) == ["app1"]
    error_message = "a host with a volume mounts that, and no other host mounts any"
  }
  assert {
    condition     = keys(aws_ebs_volume.data) == ["app1"]
    error_message = "a volume for data where one was asked for"
  }
  assert {
    condition     = alltrue([for disk in aws_ebs_volume.data : disk.encrypted && disk.final_snapshot])
    error_message = "it is encrypted, and leaves a snapshot when it goes"
  }
  assert {
    condition     = alltrue([for host in aws_instance.host : host.metadata_options[0].http_tokens == "required"])
    error_message = "instance metadata asks for a token"
  }
}

run "backups_and_names" {
  variables {
    backup_bucket = "bookreader-prod-backups"
    dns_zone      = "example.org"
    domains       = ["example.org", "www.example.org"]
  }

  assert {
    condition = alltrue([
      for bucket in aws_s3_bucket_versioning.backups : bucket.versioning_configuration[0].status == "Enabled"
    ]) && length(aws_s3_bucket_versioning.backups) == 1
    error_message = "what is deleted from the bucket can be had back"
  }
  assert {
    condition = alltrue([
      for block in aws_s3_bucket_public_access_block.backups :
      block.block_public_acls && block.block_public_policy && block.ignore_public_acls && block.restrict_public_buckets
    ])
    error_message = "nobody reads backups without being let in"
  }
  assert {
    condition     = endswith(output.backup_repository, ".amazonaws.com/bookreader-prod-backups")
    error_message = "the output names what backup.offsite is set to"
  }

  assert {
    condition = alltrue([
      for record in aws_route53_record.site : record.records == toset([aws_eip.host["app1"].public_ip])
    ])
    error_message = "names lead to hosts with an edge alone"
  }
  assert {
    condition     = keys(aws_route53_record.site) == ["example.org", "www.example.org"]
    error_message = "each of the site's names has its record"
  }
}

run "bad_input" {
  command = plan

  variables {
    app            = "Book Reader"
    environment    = "../prod"
    ssh_public_key = "-----BEGIN OPENSSH PRIVATE KEY-----"
    ssh_from       = ["everywhere"]
    network        = "10.20.0.0"
    dns_zone       = "example.org"
    domains        = ["www.example.com"]
    hosts          = { app1 = { roles = ["web"] } }
  }

  expect_failures = [
    var.app, var.environment, var.ssh_public_key, var.ssh_from, var.network, var.domains, var.hosts
  ]
}

run "no_host" {
  command = plan

  variables {
    hosts = {}
  }

  expect_failures = [var.hosts]
}

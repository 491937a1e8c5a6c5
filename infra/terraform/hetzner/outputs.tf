# What `inv hosts.import` reads, the same in every module.

output "environment" {
  description = "The environment whose hosts these are."
  value       = var.environment
}

output "hosts" {
  description = "The hosts: name, public address, private address, roles."
  value = [
    for name, host in var.hosts : {
      name    = name
      address = hcloud_server.host[name].ipv4_address
      private = hcloud_server_network.host[name].ip
      roles   = host.roles
    }
  ]
}

output "first_user" {
  description = "The account that the image lets the operator's key into."
  value       = "root"
}

# the provider makes no buckets: this one is made by hand, in the console or by any client of S3
output "backup_repository" {
  description = "What `backup.offsite` is set to; empty without a bucket."
  value       = var.backup_bucket == "" ? "" : "s3:https://${var.location}.your-objectstorage.com/${var.backup_bucket}"
}

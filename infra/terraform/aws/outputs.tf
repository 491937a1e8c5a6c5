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
      address = aws_eip.host[name].public_ip
      private = aws_instance.host[name].private_ip
      roles   = host.roles
    }
  ]
}

output "first_user" {
  description = "The account that the image lets the operator's key into."
  value       = "admin"
}

output "backup_repository" {
  description = "What `backup.offsite` is set to; empty without a bucket."
  value = join("", [
    for bucket in aws_s3_bucket.backups : "s3:https://s3.${bucket.region}.amazonaws.com/${bucket.bucket}"
  ])
}

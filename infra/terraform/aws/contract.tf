# What every provider's module takes: the same file in each of them. Nothing here is a secret, and nothing may be:
# whatever Terraform is given stands in its state.

variable "app" {
  description = "The app's name, as in deploy/app.toml; it stands in front of every name."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,30}$", var.app))
    error_message = "It must be lower-case letters, digits and hyphens, a letter first, 31 at most."
  }
}

variable "environment" {
  description = "The environment whose hosts these are: a file in deploy/environments."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9_-]*$", var.environment))
    error_message = "It must be lower-case letters, digits, _ and -, a letter or digit first."
  }
}

variable "hosts" {
  description = "By name: roles, the provider's size, GB of disk where it can be chosen, GB of a data volume."
  type = map(object({
    roles     = optional(set(string), ["app", "worker", "edge", "data", "monitoring"])
    size      = optional(string)
    disk_gb   = optional(number, 40)
    volume_gb = optional(number, 0)
  }))

  validation {
    condition     = length(var.hosts) > 0
    error_message = "There must be a host."
  }
  validation {
    condition     = alltrue([for name in keys(var.hosts) : can(regex("^[a-z][a-z0-9-]{0,30}$", name))])
    error_message = "A host's name must be lower-case letters, digits and hyphens, a letter first, 31 at most."
  }
  validation {
    condition = alltrue([
      for host in values(var.hosts) : length(host.roles) > 0
      && length(setsubtract(host.roles, ["app", "worker", "edge", "data", "monitoring"])) == 0
    ])
    error_message = "A host's roles must be some of app, worker, edge, data, monitoring."
  }
}

variable "network" {
  description = "The private network of the hosts; they reach each other in it, and nobody else does."
  type        = string
  default     = "10.20.0.0/24"

  validation {
    condition     = can(cidrhost(var.network, 10))
    error_message = "It must be a network with room for hosts, as in 10.20.0.0/24."
  }
}

variable "ssh_public_key" {
  description = "The public key of the operator who logs in first."
  type        = string

  validation {
    condition     = can(regex("^(ssh|ecdsa)-[a-z0-9-]+ [A-Za-z0-9+/]+=*( .*)?$", trimspace(var.ssh_public_key)))
    error_message = "It must be a public key as in a .pub file: ssh-ed25519 AAAA..."
  }
}

variable "ssh_from" {
  description = "The networks that may reach port 22; 0.0.0.0/0 is everybody."
  type        = set(string)

  validation {
    condition     = length(var.ssh_from) > 0 && alltrue([for net in var.ssh_from : can(cidrnetmask(net))])
    error_message = "It must be networks of version 4, as in 198.51.100.7/32."
  }
}

variable "dns_zone" {
  description = "A zone that is there already, in which `domains` get their records; empty: no records."
  type        = string
  default     = ""
}

variable "domains" {
  description = "The site's names in that zone; each leads to every host with the role edge."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for name in var.domains : name == var.dns_zone || endswith(name, ".${var.dns_zone}")])
    error_message = "Each must be in dns_zone."
  }
}

variable "backup_bucket" {
  description = "A bucket for backups, by a name that nobody else in the world has; empty: none."
  type        = string
  default     = ""
}

variable "image" {
  description = "The system of new hosts, by the provider's id; empty: Debian 13. A host that runs keeps its own."
  type        = string
  default     = ""
}

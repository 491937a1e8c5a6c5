# Checked by its text alone: no machine that this was made on has the provider, and no account was asked.
# The token comes from the environment (HCLOUD_TOKEN): no file here holds it.

terraform {
  required_version = ">= 1.9"

  required_providers {
    hcloud = {
      source  = "hetznercloud/hcloud"
      version = "~> 1.56"
    }
  }
}

variable "location" {
  description = "Where the hosts are, as in fsn1; the network is that of central Europe."
  type        = string
  default     = "fsn1"
}

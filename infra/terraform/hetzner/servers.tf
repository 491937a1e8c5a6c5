locals {
  name    = "${var.app}-${var.environment}"
  edges   = [for name, host in var.hosts : name if contains(host.roles, "edge")]
  volumes = { for name, host in var.hosts : name => host.volume_gb if host.volume_gb > 0 }

  mounts = {
    for name, disk in hcloud_volume.data : name => replace(
      file("${path.module}/../volume.sh"), "@DISK@", "scsi-0HC_Volume_${disk.id}"
    )
  }
}

resource "hcloud_ssh_key" "operator" {
  name       = local.name
  public_key = trimspace(var.ssh_public_key)
}

resource "hcloud_server" "host" {
  for_each = var.hosts

  name        = "${local.name}-${each.key}"
  server_type = coalesce(each.value.size, "cx23")
  image       = var.image == "" ? "debian-13" : var.image
  location    = var.location
  ssh_keys    = [hcloud_ssh_key.operator.id]
  user_data   = lookup(local.mounts, each.key, null)
  firewall_ids = concat(
    [hcloud_firewall.host.id], contains(local.edges, each.key) ? [hcloud_firewall.edge.id] : []
  )

  public_net {
    ipv4_enabled = true
    ipv6_enabled = false
  }

  lifecycle {
    ignore_changes = [image, user_data, ssh_keys] # each of them would replace a host that serves
  }
}

resource "hcloud_server_network" "host" {
  for_each = var.hosts

  server_id = hcloud_server.host[each.key].id
  subnet_id = hcloud_network_subnet.this.id
}

resource "hcloud_volume" "data" {
  for_each = local.volumes

  name     = "${local.name}-${each.key}-data"
  size     = each.value
  location = var.location
}

resource "hcloud_volume_attachment" "data" {
  for_each = local.volumes

  volume_id = hcloud_volume.data[each.key].id
  server_id = hcloud_server.host[each.key].id
  automount = false
}

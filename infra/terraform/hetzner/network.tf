resource "hcloud_network" "this" {
  name     = local.name
  ip_range = var.network
}

resource "hcloud_network_subnet" "this" {
  network_id   = hcloud_network.this.id
  type         = "cloud"
  network_zone = "eu-central"
  ip_range     = var.network
}

# From outside: 22, and 80 and 443 of edges. The private network is behind no firewall of Hetzner's.
resource "hcloud_firewall" "host" {
  name = "${local.name}-host"

  rule {
    description = "SSH of operators"
    direction   = "in"
    protocol    = "tcp"
    port        = "22"
    source_ips  = var.ssh_from
  }
}

resource "hcloud_firewall" "edge" {
  name = "${local.name}-edge"

  dynamic "rule" {
    for_each = toset(["80", "443"])

    content {
      description = "Visitors, port ${rule.value}"
      direction   = "in"
      protocol    = "tcp"
      port        = rule.value
      source_ips  = ["0.0.0.0/0"]
    }
  }
}

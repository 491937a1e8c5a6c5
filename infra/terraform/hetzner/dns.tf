resource "hcloud_zone_rrset" "site" {
  for_each = var.domains

  zone    = var.dns_zone
  name    = each.value == var.dns_zone ? "@" : trimsuffix(each.value, ".${var.dns_zone}")
  type    = "A"
  ttl     = 60
  records = [for name in local.edges : { value = hcloud_server.host[name].ipv4_address }]
}

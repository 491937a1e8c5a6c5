data "aws_route53_zone" "this" {
  count = var.dns_zone == "" ? 0 : 1

  name = var.dns_zone
}

resource "aws_route53_record" "site" {
  for_each = var.domains

  zone_id = data.aws_route53_zone.this[0].zone_id
  name    = each.value
  type    = "A"
  ttl     = 60
  records = [for name in local.edges : aws_eip.host[name].public_ip]
}

resource "aws_vpc" "this" {
  cidr_block           = var.network
  enable_dns_hostnames = true
  tags                 = { Name = local.name }
}

# what is in no other group gets none of the open doors that this one has by default
resource "aws_default_security_group" "closed" {
  vpc_id = aws_vpc.this.id
}

resource "aws_internet_gateway" "this" {
  vpc_id = aws_vpc.this.id
  tags   = { Name = local.name }
}

resource "aws_subnet" "this" {
  vpc_id     = aws_vpc.this.id
  cidr_block = var.network
  tags       = { Name = local.name }
}

resource "aws_route_table" "this" {
  vpc_id = aws_vpc.this.id
  tags   = { Name = local.name }

  route {
    cidr_block = "0.0.0.0/0"
    gateway_id = aws_internet_gateway.this.id
  }
}

resource "aws_route_table_association" "this" {
  subnet_id      = aws_subnet.this.id
  route_table_id = aws_route_table.this.id
}

# From outside: 22, and 80 and 443 of edges. Among the hosts: everything, since data and apps are reached there.
resource "aws_security_group" "host" {
  name        = "${local.name}-host"
  description = "Every host of ${local.name}"
  vpc_id      = aws_vpc.this.id
  tags        = { Name = "${local.name}-host" }
}

resource "aws_security_group" "edge" {
  name        = "${local.name}-edge"
  description = "Hosts of ${local.name} with an edge"
  vpc_id      = aws_vpc.this.id
  tags        = { Name = "${local.name}-edge" }
}

resource "aws_vpc_security_group_ingress_rule" "ssh" {
  for_each = var.ssh_from

  security_group_id = aws_security_group.host.id
  description       = "SSH of operators"
  cidr_ipv4         = each.value
  ip_protocol       = "tcp"
  from_port         = 22
  to_port           = 22
}

resource "aws_vpc_security_group_ingress_rule" "among" {
  security_group_id            = aws_security_group.host.id
  referenced_security_group_id = aws_security_group.host.id
  ip_protocol                  = "-1"
}

resource "aws_vpc_security_group_ingress_rule" "web" {
  for_each = toset(["80", "443"])

  security_group_id = aws_security_group.edge.id
  description       = "Visitors, port ${each.value}"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = each.value
  to_port           = each.value
}

resource "aws_vpc_security_group_egress_rule" "out" {
  security_group_id = aws_security_group.host.id
  description       = "Packages, images, certificates, backups"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "-1"
}

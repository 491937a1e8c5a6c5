locals {
  name    = "${var.app}-${var.environment}"
  edges   = [for name, host in var.hosts : name if contains(host.roles, "edge")]
  volumes = { for name, host in var.hosts : name => host.volume_gb if host.volume_gb > 0 }
  image   = var.image == "" ? data.aws_ami.debian[0].id : var.image

  # https://docs.aws.amazon.com/ebs/latest/userguide/identify-nvme-ebs-device.html
  mounts = {
    for name, disk in aws_ebs_volume.data : name => replace(
      file("${path.module}/../volume.sh"), "@DISK@", "nvme-Amazon_Elastic_Block_Store_${replace(disk.id, "-", "")}"
    )
  }
}

# https://wiki.debian.org/Cloud/AmazonEC2Image: the account that publishes Debian's images
data "aws_ami" "debian" {
  count = var.image == "" ? 1 : 0

  owners      = ["136693071363"]
  most_recent = true

  filter {
    name   = "name"
    values = ["debian-13-amd64-*"]
  }
}

resource "aws_key_pair" "operator" {
  key_name   = local.name
  public_key = trimspace(var.ssh_public_key)
}

resource "aws_instance" "host" {
  for_each = var.hosts

  ami           = local.image
  instance_type = coalesce(each.value.size, "t3.medium")
  key_name      = aws_key_pair.operator.key_name
  subnet_id     = aws_subnet.this.id
  tags          = { Name = "${local.name}-${each.key}" }
  user_data     = lookup(local.mounts, each.key, null)
  vpc_security_group_ids = concat(
    [aws_security_group.host.id], contains(local.edges, each.key) ? [aws_security_group.edge.id] : []
  )

  metadata_options {
    http_tokens                 = "required" # IMDSv2: a request that an app can be tricked into gets no credentials
    http_put_response_hop_limit = 1          # and none from within a container
  }

  root_block_device {
    encrypted   = true
    volume_size = each.value.disk_gb
    volume_type = "gp3"
  }

  lifecycle {
    ignore_changes = [ami, user_data] # a newer image must not replace a host that serves
  }
}

# the address stays when the host is stopped, or made again
resource "aws_eip" "host" {
  for_each = var.hosts

  domain = "vpc"
  tags   = { Name = "${local.name}-${each.key}" }

  depends_on = [aws_internet_gateway.this]
}

resource "aws_eip_association" "host" {
  for_each = var.hosts

  allocation_id = aws_eip.host[each.key].id
  instance_id   = aws_instance.host[each.key].id
}

resource "aws_ebs_volume" "data" {
  for_each = local.volumes

  availability_zone = aws_subnet.this.availability_zone
  size              = each.value
  type              = "gp3"
  encrypted         = true
  final_snapshot    = true
  tags              = { Name = "${local.name}-${each.key}-data" }
}

resource "aws_volume_attachment" "data" {
  for_each = local.volumes

  device_name = "/dev/sdf"
  volume_id   = aws_ebs_volume.data[each.key].id
  instance_id = aws_instance.host[each.key].id
}

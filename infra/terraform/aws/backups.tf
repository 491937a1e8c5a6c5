# restic encrypts what it sends. Its key and the one of AWS stay out of Terraform, whose state would hold them.

locals {
  buckets = toset(var.backup_bucket == "" ? [] : [var.backup_bucket])
}

resource "aws_s3_bucket" "backups" {
  for_each = local.buckets

  bucket = each.value
}

resource "aws_s3_bucket_public_access_block" "backups" {
  for_each = local.buckets

  bucket                  = aws_s3_bucket.backups[each.value].id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

# what is deleted or overwritten, by whomever, can be had for 30 days more
resource "aws_s3_bucket_versioning" "backups" {
  for_each = local.buckets

  bucket = aws_s3_bucket.backups[each.value].id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "backups" {
  for_each = local.buckets

  bucket     = aws_s3_bucket.backups[each.value].id
  depends_on = [aws_s3_bucket_versioning.backups]

  rule {
    id     = "old-versions"
    status = "Enabled"

    filter {}

    noncurrent_version_expiration {
      noncurrent_days = 30
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "backups" {
  for_each = local.buckets

  bucket = aws_s3_bucket.backups[each.value].id

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

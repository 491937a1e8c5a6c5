# Region and credentials come from the environment (AWS_REGION, AWS_PROFILE, ...): no file here holds them.

terraform {
  required_version = ">= 1.9"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }
}

# The stock AWS provider, twice: a provider block speaks to one Region. Where Keystead is, the environment says:
# AWS_ENDPOINT_URL_KMS and AWS_ENDPOINT_URL_STS.
terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.95" # older ones crash on a custom key store that has no XKS proxy
    }
  }
}

# The access key of the environment belongs to a user that may assume this role, and nothing else.
provider "aws" {
  region = "us-east-1"
  assume_role {
    role_arn     = "arn:aws:iam::${var.account}:role/terraform"
    session_name = "terraform"
  }
}

provider "aws" {
  alias  = "europe"
  region = "eu-central-1"
  assume_role {
    role_arn     = "arn:aws:iam::${var.account}:role/terraform"
    session_name = "terraform"
  }
}

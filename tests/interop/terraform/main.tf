# What the stock AWS provider can say about keys, on a server whose URL is var.endpoint.
terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

variable "endpoint" {}
variable "description" { default = "one" }
variable "team" { default = "payments" }
variable "days" { default = 100 }
variable "who" { default = "admin" }
variable "material" { sensitive = true }
variable "valid_to" {}

# Asks STS who it is before anything else.
provider "aws" {
  region = "us-east-1"
  endpoints {
    kms = var.endpoint
    sts = var.endpoint
  }
}

provider "aws" {
  alias  = "elsewhere"
  region = "eu-central-1"
  endpoints {
    kms = var.endpoint
    sts = var.endpoint
  }
}

data "aws_caller_identity" "me" {}

locals {
  account = data.aws_caller_identity.me.account_id
  # Spaces and order are the user's: they have to come back as they went.
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      { Sid = "own", Effect = "Allow", Principal = { AWS = "arn:aws:iam::${local.account}:root" }, Action = "kms:*", Resource = "*" },
      { Sid = "use", Effect = "Allow", Principal = { AWS = "arn:aws:iam::${local.account}:user/${var.who}" }, Action = ["kms:Encrypt", "kms:Decrypt"], Resource = "*" },
    ]
  })
}

resource "aws_kms_key" "symmetric" {
  description             = var.description
  enable_key_rotation     = true
  rotation_period_in_days = var.days
  deletion_window_in_days = 7
  tags                    = { team = var.team }
}

resource "aws_kms_key" "signing" {
  customer_master_key_spec = "ECC_NIST_P256"
  key_usage                = "SIGN_VERIFY"
}

resource "aws_kms_key" "mac" {
  customer_master_key_spec = "HMAC_256"
  key_usage                = "GENERATE_VERIFY_MAC"
}

resource "aws_kms_key" "primary" {
  description  = "primary"
  multi_region = true
  policy       = local.policy
}

resource "aws_kms_replica_key" "replica" {
  provider                = aws.elsewhere
  primary_key_arn         = aws_kms_key.primary.arn
  description             = "replica"
  deletion_window_in_days = 7
  tags                    = { team = var.team }
}

resource "aws_kms_external_key" "imported" {
  description             = "brought along"
  key_material_base64     = var.material
  enabled                 = true
  valid_to                = var.valid_to
  deletion_window_in_days = 7
}

resource "aws_kms_key_policy" "signing" {
  key_id = aws_kms_key.signing.key_id
  policy = local.policy
}

resource "aws_kms_alias" "symmetric" {
  name          = "alias/terraform/${var.team}"
  target_key_id = aws_kms_key.symmetric.key_id
}

resource "aws_kms_grant" "reader" {
  name              = "reader"
  key_id            = aws_kms_key.symmetric.key_id
  grantee_principal = "arn:aws:iam::${local.account}:user/${var.who}"
  operations        = ["Decrypt", "DescribeKey"]
  constraints {
    encryption_context_equals = { purpose = "test" }
  }
}

resource "aws_kms_ciphertext" "sealed" {
  key_id    = aws_kms_key.symmetric.key_id
  plaintext = "a secret"
  context   = { purpose = "test" }
}

data "aws_kms_key" "by_alias" {
  key_id = aws_kms_alias.symmetric.name
}

data "aws_kms_public_key" "signing" {
  key_id = aws_kms_key.signing.key_id
}

output "key" { value = aws_kms_key.symmetric.key_id }
output "by_alias" { value = data.aws_kms_key.by_alias.arn }
output "imported" { value = aws_kms_external_key.imported.id }
output "replica" { value = aws_kms_replica_key.replica.arn }
output "pem" { value = data.aws_kms_public_key.signing.public_key_pem }
output "sealed" { value = aws_kms_ciphertext.sealed.ciphertext_blob }

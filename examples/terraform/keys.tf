data "aws_caller_identity" "me" {}

locals {
  account = data.aws_caller_identity.me.account_id
  # A policy comes back byte for byte as it went, so no plan finds a difference that is none.
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      { Sid = "own", Effect = "Allow", Principal = { AWS = "arn:aws:iam::${local.account}:root" }, Action = "kms:*", Resource = "*" },
      { Sid = "use", Effect = "Allow", Principal = { AWS = "arn:aws:iam::${local.account}:user/${var.reader}" }, Action = ["kms:Encrypt", "kms:Decrypt"], Resource = "*" },
    ]
  })
}

# A symmetric key that rotates, with an alias and a grant.

resource "aws_kms_key" "data" {
  description             = var.description
  enable_key_rotation     = true
  rotation_period_in_days = var.rotation_days
  deletion_window_in_days = 7
  tags                    = { team = var.team }
}

resource "aws_kms_alias" "data" {
  name          = "alias/${var.team}/data"
  target_key_id = aws_kms_key.data.key_id
}

resource "aws_kms_grant" "reader" {
  name              = "reader"
  key_id            = aws_kms_key.data.key_id
  grantee_principal = "arn:aws:iam::${local.account}:user/${var.reader}"
  operations        = ["Decrypt", "DescribeKey"]
  constraints {
    encryption_context_equals = { table = "cards" }
  }
}

resource "aws_kms_ciphertext" "sealed" {
  key_id    = aws_kms_key.data.key_id
  plaintext = "a secret"
  context   = { table = "cards" }
}

data "aws_kms_key" "by_alias" {
  key_id = aws_kms_alias.data.name
}

# Keys that sign, one with a policy of its own; that others encrypt for; that agree on secrets; that make MACs.

resource "aws_kms_key" "signing" {
  customer_master_key_spec = "ECC_NIST_P256"
  key_usage                = "SIGN_VERIFY"
  deletion_window_in_days  = 7
}

resource "aws_kms_key_policy" "signing" {
  key_id = aws_kms_key.signing.key_id
  policy = local.policy
}

data "aws_kms_public_key" "signing" {
  key_id = aws_kms_key.signing.key_id
}

resource "aws_kms_key" "releases" {
  customer_master_key_spec = "RSA_2048"
  key_usage                = "SIGN_VERIFY"
  deletion_window_in_days  = 7
}

resource "aws_kms_key" "mailbox" {
  customer_master_key_spec = "RSA_2048"
  key_usage                = "ENCRYPT_DECRYPT"
  deletion_window_in_days  = 7
}

resource "aws_kms_key" "handshake" {
  customer_master_key_spec = "ECC_NIST_P384"
  key_usage                = "KEY_AGREEMENT"
  deletion_window_in_days  = 7
}

resource "aws_kms_key" "cookies" {
  customer_master_key_spec = "HMAC_256"
  key_usage                = "GENERATE_VERIFY_MAC"
  deletion_window_in_days  = 7
}

# A multi-Region key and its replica.

resource "aws_kms_key" "orders" {
  description             = "Orders, in two Regions"
  multi_region            = true
  policy                  = local.policy
  deletion_window_in_days = 7
}

resource "aws_kms_replica_key" "orders_europe" {
  provider                = aws.europe
  primary_key_arn         = aws_kms_key.orders.arn
  description             = "Orders, in Europe"
  deletion_window_in_days = 7
  tags                    = { team = var.team }
}

# A key whose material you bring, and its replica, which needs the same.

resource "aws_kms_external_key" "imported" {
  description             = "Its material was made elsewhere"
  key_material_base64     = var.material
  enabled                 = true
  multi_region            = true
  valid_to                = var.material_expires
  deletion_window_in_days = 7
}

resource "aws_kms_replica_external_key" "imported_europe" {
  provider                = aws.europe
  primary_key_arn         = aws_kms_external_key.imported.arn
  key_material_base64     = var.material
  enabled                 = true
  valid_to                = var.material_expires
  deletion_window_in_days = 7
}

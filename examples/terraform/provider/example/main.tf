# Two key stores, keys of several origins, and who may use them. Terraform shows and corrects what others change.
terraform {
  required_providers {
    keystead = { source = "keystead/keystead" }
  }
}

# The server and its token come from KEYSTEAD_URL and KEYSTEAD_TOKEN.
provider "keystead" {}

variable "description" { default = "Encrypts the data keys of the payments database" }
variable "rotation_days" { default = 365 }
variable "team" { default = "payments" }

# An HSM would be of type pkcs11:
#   pkcs11 = jsonencode({ module = "libsofthsm2.so", token = "keystead", pin = { fromFile = "/etc/keystead/hsm.pin" } })
# This one is in the server's memory, for trials.
resource "keystead_key_store" "trial" {
  name            = "trial"
  type            = "memory"
  memory          = jsonencode({})
  keep_on_destroy = true # it can leave only when its last key has been destroyed
}

resource "keystead_key" "data" {
  name                 = "payments-data"
  description          = var.description
  aliases              = ["${var.team}/data", "${var.team}/cards"]
  tags                 = { team = var.team }
  rotation_enabled     = true
  rotation_period_days = var.rotation_days
  deletion_window_days = 7
}

resource "keystead_key" "ledger" {
  name                 = "ledger"
  key_store            = keystead_key_store.trial.name
  deletion_window_days = 7
}

# Its material is yours: `keystead import-material customer-data ...` brings it. It never passes through Terraform.
resource "keystead_key" "imported" {
  name                 = "customer-data"
  origin               = "EXTERNAL"
  valid_days           = 90
  deletion_window_days = 7
}

resource "keystead_principal" "billing" {
  name = "billing"
  tags = { team = var.team }
  policies = {
    use = jsonencode({
      Version   = "2012-10-17"
      Statement = [{ Effect = "Allow", Action = ["kms:Encrypt", "kms:Decrypt"], Resource = keystead_key.data.arn }]
    })
  }
}

output "data" { value = keystead_key.data.arn }
output "imported_origin" { value = keystead_key.imported.origin }
output "billing" { value = keystead_principal.billing.arn }

# A key store behind somebody else's proxy, and a key that is useless without the one that they hold. How the proxy is
# reached is in the settings of the server (`xksConnections`): the KMS API has no words for it.

resource "aws_kms_custom_key_store" "bank" {
  custom_key_store_name  = "${var.team} bank"
  custom_key_store_type  = "EXTERNAL_KEY_STORE"
  xks_proxy_connectivity = "PUBLIC_ENDPOINT"
  xks_proxy_uri_endpoint = var.proxy_endpoint
  xks_proxy_uri_path     = var.proxy_path
  xks_proxy_authentication_credential {
    access_key_id         = var.proxy_access_key_id
    raw_secret_access_key = var.proxy_secret
  }
  lifecycle {
    ignore_changes = [xks_proxy_authentication_credential] # the provider crashes on a change of it: see README.md
  }
}

resource "aws_kms_key" "outside" {
  description             = "Its outer key is the bank's"
  custom_key_store_id     = aws_kms_custom_key_store.bank.id
  xks_key_id              = var.external_key
  deletion_window_in_days = 7
}

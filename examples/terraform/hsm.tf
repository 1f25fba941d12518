# A key store on HSMs of your own, and a key that is made in it and never leaves it. The server connects the store when
# it is made (`autoConnect` in its settings), because the provider never does.

resource "aws_kms_custom_key_store" "hsm" {
  custom_key_store_name    = "${var.team} HSM"
  cloud_hsm_cluster_id     = var.cluster
  key_store_password       = var.cluster_pin
  trust_anchor_certificate = var.cluster_certificate
}

resource "aws_kms_key" "in_hsm" {
  description             = "Made in the HSM"
  custom_key_store_id     = aws_kms_custom_key_store.hsm.id
  deletion_window_in_days = 7
}

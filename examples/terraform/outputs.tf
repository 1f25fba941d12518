output "data" { value = aws_kms_key.data.key_id }
output "data_by_alias" { value = data.aws_kms_key.by_alias.arn }
output "sealed" { value = aws_kms_ciphertext.sealed.ciphertext_blob }
output "signing_pem" { value = data.aws_kms_public_key.signing.public_key_pem }
output "replica" { value = aws_kms_replica_key.orders_europe.arn }
output "imported" { value = aws_kms_external_key.imported.id }
output "key_store" { value = aws_kms_custom_key_store.hsm.id }
output "in_hsm" { value = aws_kms_key.in_hsm.key_id }

variable "endpoint" {
  description = "Where Keystead serves its KMS API, and STS."
  default     = "http://127.0.0.1:8470"
}

variable "account" {
  description = "The account of the server, as `keystead init --account` was told."
  default     = "000000000000"
}

variable "team" {
  description = "Whose keys these are: in tags and aliases."
  default     = "payments"
}

variable "description" {
  default = "Encrypts the data keys of the payments database"
}

variable "rotation_days" {
  default = 365
}

variable "reader" {
  description = "The user that may decrypt, by a key policy and by a grant."
  default     = "reader"
}

variable "material" {
  description = "32 octets in Base64, imported into a key. Terraform keeps them in its state: see README.md."
  sensitive   = true
}

variable "material_expires" {
  description = "When the imported material is to be forgotten: RFC 3339, in UTC and whole seconds, with a Z."
}

variable "cluster" {
  description = "A cluster in the settings of the server; an HSM of your own."
}

variable "cluster_certificate" {
  description = "The certificate of that cluster, in PEM."
}

variable "cluster_pin" {
  description = "The PIN of the cluster's user. Terraform keeps it in its state: see README.md."
  sensitive   = true
}

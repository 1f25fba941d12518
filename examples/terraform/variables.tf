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

variable "proxy_endpoint" {
  description = "The endpoint of an external key store proxy; how it is reached, the settings of the server say."
  default     = "https://xks.bank.example"
}

variable "proxy_path" {
  description = "The path of the proxy, as `keystead xks config` tells it."
}

variable "proxy_access_key_id" {
  description = "Of the credential that the proxy knows."
}

variable "proxy_secret" {
  description = "The secret of that credential. Terraform keeps it in its state: see README.md."
  sensitive   = true
}

variable "external_key" {
  description = "A key of the external key manager, by the name under which the proxy exposes it."
  default     = "payments-2026"
}

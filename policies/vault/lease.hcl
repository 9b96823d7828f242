# What the lease token of tenant @name@ may do: ask for its own leases and keep them, and itself,
# alive. It ends with the delivery, and every lease it made ends with it.
path "auth/token/renew-self" {
  capabilities = ["update"]
}

path "sys/leases/renew" {
  capabilities = ["update"]
}

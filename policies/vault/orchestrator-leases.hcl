
# Dynamic secrets: mint a tenant's lease token through its role, look leases and tokens up, end
# them. It can read no leased path itself.
path "auth/token/create/colibri-lease" {
  capabilities = ["update"]
}

path "auth/token/roles/colibri-lease" {
  capabilities = ["read"]
}

path "auth/token/lookup-accessor" {
  capabilities = ["update"]
}

path "auth/token/revoke-accessor" {
  capabilities = ["update"]
}

path "sys/leases/lookup" {
  capabilities = ["update"]
}

path "sys/leases/revoke" {
  capabilities = ["update"]
}

path "sys/policies/acl/colibri-lease-*" {
  capabilities = ["read", "delete"]
}

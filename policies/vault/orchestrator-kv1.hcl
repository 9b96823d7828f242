# What colibri's own token may do at Vault or OpenBao: find collections, mint a token for
# one of them through a role. It can read no tenant's secrets itself, make no token
# outside the role, and write no policy. Rendered by: colibri source policies vault --print

# Which collections there are. KV version 1 has no versions to look at.
path "@mount@/@folder@" {
  capabilities = ["list"]
}

path "@mount@/@folder@/" {
  capabilities = ["list"]
}

# A tenant's token, as the role allows: used up by one read, dead after a minute or two.
path "auth/token/create/colibri-tenant" {
  capabilities = ["update"]
}

path "auth/token/roles/colibri-tenant" {
  capabilities = ["read"]
}

# Tenants' policies: compared, and deleted when a tenant leaves; never written.
path "sys/policies/acl/colibri-tenant-*" {
  capabilities = ["read", "delete"]
}

path "sys/policies/acl/colibri-orchestrator" {
  capabilities = ["read"]
}

# Its own token.
path "auth/token/lookup-self" {
  capabilities = ["read"]
}

path "auth/token/renew-self" {
  capabilities = ["update"]
}

path "auth/token/revoke-self" {
  capabilities = ["update"]
}

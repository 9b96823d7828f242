# What colibri's own token may do at Vault or OpenBao: find collections, see their versions, mint
# a token for one of them through a role. It can read no tenant's secrets itself, make no token
# outside the role, and write no policy. Rendered by: colibri source policies vault --print

# Which collections there are, and at which version: no values.
path "@mount@/metadata/@folder@" {
  capabilities = ["list"]
}

path "@mount@/metadata/@folder@/" {
  capabilities = ["list"]
}

path "@mount@/metadata/@folder@/+" {
  capabilities = ["read"]
}

# OpenBao: all versions by one request. Vault has no such path, and reads them one by one.
path "@mount@/detailed-metadata/@folder@" {
  capabilities = ["list"]
}

path "@mount@/detailed-metadata/@folder@/" {
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

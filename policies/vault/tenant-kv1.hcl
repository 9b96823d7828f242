# What a token for one collection may do: read that collection, nothing beside it.
path "@mount@/@folder@/@name@" {
  capabilities = ["read"]
}

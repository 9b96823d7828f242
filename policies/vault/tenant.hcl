# What a token for one collection may do: read that collection, nothing beside it.
path "@mount@/data/@folder@/@name@" {
  capabilities = ["read"]
}

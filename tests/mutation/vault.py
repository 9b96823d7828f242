"""Mutations of the Vault source: each rule that keeps tenants and tokens apart, broken once."""

from __future__ import annotations

from tests.mutation.runner import Mutation

HERE = "vault_svc/adapters/sources/vault/"
FAULTS = "tests/vault/test_faults.py::"
RECORDED = "tests/vault/test_recordings.py::"
APART = "tests/vault/test_apart.py::"
ENVIRONMENT = "tests/vault/test_environment.py::"
HOSTILE = "tests/vault/test_hostile.py::"
EXCHANGE = "tests/vault/test_exchange.py::"
LOGIN = "tests/vault/test_login.py::"
SOURCE = "tests/vault/test_source.py::"
WRITER = "tests/vault/test_writer.py::"

VAULT = (
    Mutation(
        "what the role made is not looked at",
        HERE + "client.py",
        '        if auth.get("policies") != [policy] or auth.get("num_uses") != uses:\n',
        "        if False:\n",
        (RECORDED + "test_a_mint_that_gave_something_else_is_refused",),
        "a role that was widened would go unnoticed",
    ),
    Mutation(
        "redirects followed",
        HERE + "wire.py",
        "        return transport.exchange(prepared, timeout)\n",
        "        prepared._cookies = self.session.cookies\n"
        "        return self.session.send(prepared, stream=True, timeout=timeout)\n",
        (FAULTS + "test_no_redirect_is_followed",),
        "the token would go to whoever the server names",
    ),
    Mutation(
        "a tenant's token for two reads",
        HERE + "client.py",
        "    def mint(self, name: str, *, uses: int = 1) -> str:\n",
        "    def mint(self, name: str, *, uses: int = 2) -> str:\n",
        (APART + "test_a_tenants_token_reads_its_own_and_is_used_up_by_it",),
        "a token taken from memory would still read",
    ),
    Mutation(
        "the host's authorities trusted beside the login's own",
        HERE + "session.py",
        "    if not ca:\n        _trust_the_hosts(context)\n",
        "    _trust_the_hosts(context)\n    if not ca:\n",
        (ENVIRONMENT + "test_only_the_pinned_authority_counts",),
        "whoever gets a certificate from any authority could stand in between",
    ),
    Mutation(
        "the namespace left out",
        HERE + "wire.py",
        '        sent |= {"X-Vault-Namespace": self.namespace} if self.namespace else {}\n',
        "",
        (ENVIRONMENT + "test_the_namespace_goes_along_with_all_but_the_whole_servers_health",),
        "another namespace's tenant of the same name would be read",
    ),
    Mutation(
        "a dripping answer waited for",
        HERE + "exchange.py",
        "        self._sock.give(self._seconds)\n",
        "        self._sock.give(None)\n",
        (HOSTILE + "test_an_answer_that_drips_is_given_up_in_time",),
        "a server could hold a run and its tenants' locks for days",
    ),
    Mutation(
        "a dripping proxy waited for",
        HERE + "timed.py",
        "        if time.monotonic() > self.until:\n",
        "        if False:\n",
        (HOSTILE + "test_a_proxy_that_drips_is_given_up_in_time",),
        "whoever is in between could hold a run and its tenants' locks for days",
    ),
    Mutation(
        "bytes after an answer taken for the next one",
        HERE + "connections.py",
        " or not found[1].is_alive()",
        "",
        (EXCHANGE + "test_what_follows_an_answer_is_no_answer_to_the_next_request",),
        "one tenant could be answered with what was another's",
    ),
    Mutation(
        "bytes that TLS has unpacked taken for the next answer",
        HERE + "exchange.py",
        "        return not (unpacked or self._waiting.poll(0))\n",
        "        return not self._waiting.poll(0)\n",
        (EXCHANGE + "test_over_tls_too_what_follows_an_answer_is_no_answer_to_the_next_request",),
        "one tenant could be answered with what was another's",
    ),
    Mutation(
        "bytes that came with an answer forgotten",
        HERE + "reading.py",
        " and self._stays and not self._more and not self._ends_oddly()\n",
        " and self._stays and not self._ends_oddly()\n",
        (EXCHANGE + "test_a_connection_is_given_up_for_what_came_with_an_answer",),
        "the rest of it would be the head of the next tenant's answer",
    ),
    Mutation(
        "a connection kept after an answer with an odd end",
        HERE + "reading.py",
        " and not self._more and not self._ends_oddly()\n",
        " and not self._more\n",
        (EXCHANGE + "test_what_comes_late_after_an_odd_answer_is_no_answer_to_the_next_request",),
        "what it told of would be the next tenant's answer",
    ),
    Mutation(
        "an answer without an end of its own taken for whole",
        HERE + "reading.py",
        "        return odd or self.status < _LEAST_FINAL\n",
        "        return self.status < _LEAST_FINAL\n",
        (EXCHANGE + "test_an_answer_whose_end_does_not_come_or_makes_no_sense_is_incomplete",),
        "a delivery could be made of the first half of an answer",
    ),
    Mutation(
        "a jail taken unseen for holding what its receipt says",
        HERE + "source.py",
        "    return ref if same and ref.is_held() else ",
        "    return ref if same else ",
        (SOURCE + "test_a_jail_is_looked_at_only_where_the_source_has_what_it_should_hold",),
        "a file that was changed in its jail would be left there",
    ),
    Mutation(
        "a request sent with what its parts brought along",
        HERE + "exchange.py",
        "    if not all(map(_HEADER.fullmatch, (host, *headers.values()))):",
        "    if not headers:",
        (EXCHANGE + "test_nothing_is_sent_that_would_be_a_second_request",),
        "a name or token with a line break would ask for something else",
    ),
    Mutation(
        "one broken path speaks for the server",
        HERE + "governor.py",
        "                if of_all and error.code != _ONE_ANSWER:\n",
        "                if error.code != _ONE_ANSWER:\n",
        (HOSTILE + "test_one_path_the_server_can_not_serve_is_one_tenants",),
        "one tenant's spoiled entry would keep all the others from their secrets",
    ),
    Mutation(
        "a row's place not compared",
        HERE + "places.py",
        "if self.ref(ref.name).collection_id != ref.collection_id or not is_name(",
        "if not is_name(",
        (SOURCE + "test_a_row_of_another_mount_is_a_mismatch",),
        "a tenant would get what another mount has under its name",
    ),
    Mutation(
        "our own token left alive",
        HERE + "session.py",
        "                        session.client.revoke()\n",
        "                        pass\n",
        (SOURCE + "test_a_session_ends_the_token_it_made",),
        "each run would leave a token that mints tenants' tokens",
    ),
    Mutation(
        "any wrapping token unwrapped",
        HERE + "login.py",
        '        if not (path.startswith(f"auth/{auth_mount}/role/")'
        ' and path.endswith("/secret-id")):\n',
        "        if False:\n",
        (LOGIN + "test_a_wrapping_token_of_something_else_is_not_unwrapped",),
        "somebody in between could give us an account of theirs",
    ),
    Mutation(
        "written over another's write",
        HERE + "writer.py",
        "client.place.path(collection), data, cas=version, mount_point",
        "client.place.path(collection), data, cas=None, mount_point",
        (WRITER + "test_a_writer_that_never_gets_through_says_busy",),
        "two operators would lose each other's secrets",
    ),
)

"""What every source promises its services: one suite, each source behind a bench of its own.

A source joins by a function that makes a Bench; sources without a writer leave `writer` None
and the tests that need one are not collected for them.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.kit.fake_bw import FakeBw
from tests.kit.places import private_directory
from tests.kit.stores import new_store, resolve_one, revealed, values
from tests.kit.vault import Double, World
from tests.vault import place as vault_place
from tests.vaultwarden.place import fake_source
from vault_svc.domain.secret import CollectionRef, SecretValue
from vault_svc.errors import CODES, ColibriError
from vault_svc.ports.secret_source import SecretSource, SecretWriter


@dataclass
class Bench:
    """A source to be asked, and the operator's hand that fills it."""

    source: Callable[[], SecretSource]
    fill: Callable[[str, Mapping[str, str]], CollectionRef]
    break_one: Callable[[CollectionRef], None]
    writer: Callable[[], SecretWriter] | None = None
    missing: CollectionRef = field(
        default_factory=lambda: CollectionRef(str(uuid.uuid4()), "missing")
    )
    close: Callable[[], None] = lambda: None


def embedded(home: Path) -> Bench:
    store = new_store(home)

    def fill(name: str, texts: Mapping[str, str]) -> CollectionRef:
        return store.source().change(name, values(**texts), create=True)[0]

    def break_one(ref: CollectionRef) -> None:
        whole = store.file(ref.name).read_bytes()
        store.file(ref.name).write_bytes(whole[: len(whole) // 2])

    return Bench(store.source, fill, break_one, store.source)


def vaultwarden(home: Path) -> Bench:
    """Over a bw that answers as the real one: tests/vaultwarden asks the real one."""
    fake = FakeBw(home).empty()

    def fill(name: str, texts: Mapping[str, str]) -> CollectionRef:
        return CollectionRef(fake.fill(name, texts), name)

    return Bench(lambda: fake_source(fake, home), fill, lambda ref: fake.spoil(ref.collection_id))


def vault(home: Path) -> Bench:
    """Over a double that recordings of the real one hold to its answers."""
    del home
    double = Double()
    world = World(double.url, double.root, server=double).prepared()
    world.install("acme", "beta")

    def fill(name: str, texts: Mapping[str, str]) -> CollectionRef:
        world.fill(name, texts)
        return world.place.ref(name)

    def break_one(ref: CollectionRef) -> None:
        double.fault(f"/data/tenants/{ref.name}", body=b'{"data":{"data":{"API":"cana', cut=True)

    return Bench(
        lambda: vault_place.source(world),
        fill,
        break_one,
        lambda: vault_place.writer(world),
        world.place.ref("missing"),
        double.__exit__,
    )


BENCHES: dict[str, Callable[[Path], Bench]] = {
    "embedded": embedded,
    "vault": vault,
    "vaultwarden": vaultwarden,
}
WRITERS = ("embedded", "vault")


@pytest.fixture(params=sorted(BENCHES))
def bench(request, tmp_path) -> Iterator[Bench]:
    with private_directory() if request.param == "vaultwarden" else nullcontext(tmp_path) as home:
        made = BENCHES[request.param](home)
        yield made
        made.close()


@pytest.fixture(params=WRITERS)
def written(request, tmp_path) -> Iterator[Bench]:
    made = BENCHES[request.param](tmp_path)
    yield made
    made.close()


def revision_of(bench: Bench, ref: CollectionRef) -> int:
    """Return the number in a resolved revision; Vault's has the time of its birth behind it."""
    return int(resolve_one(bench.source(), ref).revision.partition("@")[0])


def code_of(call) -> str:
    with pytest.raises(ColibriError) as caught:
        call()
    return caught.value.code


def test_its_name_is_the_rows(request, bench):
    assert bench.source().name == request.node.callspec.params["bench"]


def test_a_collection_is_located_by_its_exact_name_and_by_its_id(bench):
    ref = bench.fill("acme", {"API": "one"})
    bench.fill("acme-dev", {"API": "two"})
    assert bench.source().locate("acme") == ref
    assert bench.source().locate(ref.collection_id) == ref


@pytest.mark.parametrize("wrong", ["acm", "acme2", "ACME", "acme ", "*", "", "a" * 300, "a\nb"])
def test_nothing_but_the_exact_name_is_found(bench, wrong):
    bench.fill("acme", {"API": "one"})
    assert code_of(lambda: bench.source().locate(wrong)) == "collection_not_found"


def test_an_unknown_id_is_not_found(bench):
    bench.fill("acme", {"API": "one"})
    assert code_of(lambda: bench.source().locate(str(uuid.uuid4()))) == "collection_not_found"


def test_the_nearest_name_is_in_the_hint(bench):
    bench.fill("acme", {"API": "one"})
    with pytest.raises(ColibriError) as caught:
        bench.source().locate("acne")
    assert "acme" in caught.value.hint


def test_all_collections_are_listed_by_name(bench):
    refs = [bench.fill(name, {"API": name}) for name in ("zoo", "acme", "beta")]
    assert bench.source().collections() == tuple(sorted(refs, key=lambda ref: ref.name))


def test_each_is_resolved_whole_and_in_the_order_asked(bench):
    texts = {
        "zoo": {"A": "1", "B": "line\nline", "C": "ü€😀", "D": " spaced ", "E": "#=\"'$`\\"},
        "acme": {"A": "other"},
        "beta": {"A": "third"},
    }
    refs = [bench.fill(name, texts[name]) for name in texts]
    wanted = [refs[2], refs[0], refs[1], refs[0]]
    found = list(bench.source().resolve(wanted))
    assert [ref for ref, _ in found] == wanted
    assert [revealed(one) for _, one in found] == [texts[ref.name] for ref in wanted]
    assert [one.collection_id for _, one in found] == [ref.collection_id for ref in wanted]


def test_one_failure_is_that_collections_alone(bench):
    acme, broken, zoo = (bench.fill(name, {"API": name}) for name in ("acme", "broken", "zoo"))
    bench.break_one(broken)
    found = [one for _, one in bench.source().resolve([acme, broken, bench.missing, zoo])]
    assert revealed(found[0]) == {"API": "acme"}
    assert found[1].code == "source_incomplete"
    assert found[2].code == "collection_not_found"
    assert revealed(found[3]) == {"API": "zoo"}
    assert all(CODES[error.code].status in {5, 6} for error in found[1:3])


def test_an_error_never_quotes_a_value(bench):
    ref = bench.fill("acme", {"API": "canary-value"})
    bench.break_one(ref)
    found = resolve_one(bench.source(), ref)
    assert "canary" not in found.line() + repr(found)


def test_a_name_with_another_id_is_a_mismatch(bench):
    acme, beta = bench.fill("acme", {"API": "one"}), bench.fill("beta", {"API": "two"})
    crossed = CollectionRef(beta.collection_id, acme.name)
    assert resolve_one(bench.source(), crossed).code == "server_mismatch"


def test_an_empty_collection_is_an_empty_set(bench):
    ref = bench.fill("acme", {})
    assert revealed(resolve_one(bench.source(), ref)) == {}


def test_nothing_asked_is_nothing_done(bench):
    assert list(bench.source().resolve([])) == []


def test_the_revision_tells_changed_from_unchanged(bench):
    ref = bench.fill("acme", {"API": "one"})
    first = resolve_one(bench.source(), ref).revision
    assert resolve_one(bench.source(), ref).revision == first
    bench.fill("acme", {"API": "two"})
    assert resolve_one(bench.source(), ref).revision != first


def test_a_found_set_does_not_show_its_values(bench):
    found = resolve_one(bench.source(), bench.fill("acme", {"API": "canary-value"}))
    assert "canary" not in f"{found!r} {found} {found.values}"


def test_ending_access_says_in_words_what_ended(bench):
    ended = bench.source().end_access(bench.fill("acme", {"API": "one"}), for_good=True)
    assert isinstance(ended, tuple)
    assert all(isinstance(word, str) for word in ended)


def test_a_created_collection_is_empty_and_its_name_taken(written):
    ref = written.writer().create("acme")
    assert revealed(resolve_one(written.source(), ref)) == {}
    assert code_of(lambda: written.writer().create("acme")) == "collection_taken"


def test_a_change_needs_the_collection_unless_told_to_make_it(written):
    assert code_of(lambda: written.writer().change("acme", values(A="1"))) == (
        "collection_not_found"
    )
    ref, _ = written.writer().change("acme", values(A="1"), create=True)
    assert written.writer().change("acme", values(B="2"), create=True)[0] == ref
    assert revealed(resolve_one(written.source(), ref)) == {"A": "1", "B": "2"}


def test_the_revision_of_a_change_is_the_one_resolved(written):
    ref, first = written.writer().change("acme", values(A="1"), create=True)
    assert revision_of(written, ref) == first
    assert written.writer().change("acme", values(A="1")) == (ref, first)
    _, second = written.writer().change("acme", values(A="2"))
    assert second > first
    assert revision_of(written, ref) == second


def test_unset_needs_the_variable(written):
    written.writer().create("acme")
    assert code_of(lambda: written.writer().change("acme", values(A=None))) == "secret_missing"


@pytest.mark.parametrize("name", ["lower", "1A", "A-B", "LD_PRELOAD", "PATH", "_", "A" * 129, ""])
def test_a_name_that_is_no_variable_is_refused(written, name):
    written.writer().create("acme")
    assert code_of(lambda: written.writer().change("acme", {name: SecretValue("x")})) == (
        "secret_name_refused"
    )


@pytest.mark.parametrize("text", ["a\0b", "\udc80", "x" * 131_001])
def test_a_value_no_file_could_carry_is_refused(written, text):
    written.writer().create("acme")
    assert code_of(lambda: written.writer().change("acme", {"A": SecretValue(text)})) == (
        "secret_value_unrepresentable"
    )


def test_infos_show_no_value(written):
    written.writer().change("acme", values(B="canary", A="é"), create=True)
    infos = written.writer().infos("acme")
    assert [(info.name, info.length) for info in infos] == [("A", 2), ("B", 6)]
    assert "canary" not in repr(infos)


def test_a_rotated_identity_changes_nothing_that_can_be_seen(tmp_path):
    written = embedded(tmp_path)
    refs = [written.fill(name, {"API": name}) for name in ("acme", "beta")]
    before = [(one.revision, revealed(one)) for _, one in written.source().resolve(refs)]
    assert written.writer().rotate_identity() == 2
    after = [(one.revision, revealed(one)) for _, one in written.source().resolve(refs)]
    assert before == after

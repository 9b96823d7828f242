"""bw's answers, held against what its sync stored: whatever is silently missing is noticed."""

from __future__ import annotations

import copy
import uuid

import pytest

from vault_svc.adapters.sources.vaultwarden import answers
from vault_svc.adapters.sources.vaultwarden.answers import Lists, Stored
from vault_svc.errors import CODES, ColibriError


def at(number: int) -> str:
    return str(uuid.UUID(int=number, version=4))


ORG, OTHER_ORG, USER = at(1), at(2), at(3)
ACME, BETA, UNSEEN = at(11), at(12), at(13)
KEY, NOTE, OTHER = at(21), at(22), at(23)
SEALED = "2.aaaa|bbbb|cccc"
VALUE = "canary-value"


class World:
    """A whole, right answer; tests take pieces out of it."""

    def __init__(self) -> None:
        self.organizations = [
            {"object": "organization", "id": ORG, "name": "Acme", "status": 2, "type": 2,
             "enabled": True},
        ]  # fmt: skip
        self.collections = [self.collection(ACME, "acme"), self.collection(BETA, "beta")]
        self.items = [
            self.item(KEY, "API_KEY", ACME, 1, login={"password": VALUE, "uris": []}),
            self.item(NOTE, "note", ACME, 2, notes=f"A={VALUE}"),
            self.item(OTHER, "OTHER", BETA, 1, login={"password": VALUE}),
        ]
        self.state = {
            f"user_{USER}_organizations_organizations": {ORG: {"id": ORG, "type": 2}},
            f"user_{USER}_collection_collections": {
                ACME: self.stored_collection(), BETA: self.stored_collection(),
            },
            f"user_{USER}_ciphers_ciphers": {
                KEY: self.stored(ACME, 1, login={"password": SEALED, "uris": []}),
                NOTE: self.stored(ACME, 2, notes=SEALED),
                OTHER: self.stored(BETA, 1, login={"password": SEALED}),
            },
        }  # fmt: skip
        self.complained = False

    @staticmethod
    def collection(collection_id: str, name: str) -> dict:
        return {
            "object": "collection", "id": collection_id, "organizationId": ORG, "name": name,
        }  # fmt: skip

    @staticmethod
    def stored_collection() -> dict:
        return {
            "organizationId": ORG, "name": SEALED, "readOnly": True, "manage": False,
            "hidePasswords": False,
        }  # fmt: skip

    @staticmethod
    def item(item_id: str, name: str, where: str, kind: int, **more) -> dict:
        return {
            "object": "item", "id": item_id, "name": name, "organizationId": ORG,
            "collectionIds": [where], "type": kind, "fields": [],
            "revisionDate": "2026-11-21T03:24:00.000Z", **more,
        }  # fmt: skip

    @staticmethod
    def stored(where: str, kind: int, **more) -> dict:
        return {
            "organizationId": ORG, "collectionIds": [where], "type": kind, "name": SEALED,
            "viewPassword": True, "deletedDate": None, "fields": [], **more,
        }  # fmt: skip

    @property
    def ciphers(self) -> dict:
        return self.state[f"user_{USER}_ciphers_ciphers"]

    @property
    def kept(self) -> dict:
        return self.state[f"user_{USER}_collection_collections"]

    def lists(self) -> Lists:
        return Lists(self.organizations, self.collections, self.items, complained=self.complained)

    def stored_rows(self) -> Stored:
        return answers.stored(self.state, USER)

    def checked(self):
        return answers.checked(self.lists(), self.stored_rows(), ORG)

    def refused(self) -> ColibriError:
        with pytest.raises(ColibriError) as caught:
            self.checked()
        assert CODES[caught.value.code].status == 6
        assert VALUE not in caught.value.line()
        return caught.value


@pytest.fixture
def world() -> World:
    return World()


def test_a_whole_answer_is_split_by_collection(world):
    content = world.checked()
    assert [ref.name for ref in content.collections] == ["acme", "beta"]
    assert {item.id for item in content.items[ACME]} == {KEY, NOTE}
    assert [item.id for item in content.items[BETA]] == [OTHER]
    assert content.broken == {}
    assert VALUE not in f"{content!r}{world.lists()!r}"


LISTS = ("organizations", "collections", "items")
SHAPES = (None, {}, "x", 1, [None], [[]], [{}], [{"object": "x"}])


@pytest.mark.parametrize(
    ("which", "shape"),
    # items None: they were not asked for
    [(which, shape) for which in LISTS for shape in SHAPES if (which, shape) != ("items", None)],
)
def test_another_shape_is_a_failure(world, which, shape):
    setattr(world, which, shape)
    assert world.refused().code == "source_incomplete"


@pytest.mark.parametrize(
    ("member", "value"),
    [
        *(("id", value) for value in (None, 1, "../x", [])),
        *(("name", value) for value in (None, 1, [])),
        *(("object", value) for value in (None, 1, "secret", [])),
    ],
)
@pytest.mark.parametrize("which", LISTS)
def test_a_row_without_plain_id_name_and_kind_is_a_failure(world, which, member, value):
    getattr(world, which)[0][member] = value
    assert world.refused().code == "source_incomplete"


@pytest.mark.parametrize("member", ["id", "name", "object"])
@pytest.mark.parametrize("which", LISTS)
def test_a_row_that_lacks_id_name_or_kind_is_a_failure(world, which, member):
    del getattr(world, which)[0][member]
    assert world.refused().code == "source_incomplete"


@pytest.mark.parametrize(
    "change", [{"status": 1}, {"status": None}, {"enabled": False}, {"enabled": 1}, {"id": at(99)}]
)
def test_an_organisation_that_is_not_ours_confirmed_and_enabled_is_forbidden(world, change):
    world.organizations[0] |= change
    assert world.refused().code == "source_forbidden"


def test_no_organisation_at_all_is_forbidden(world):
    world.organizations = []
    assert world.refused().code == "source_forbidden"


def test_a_wrong_name_is_answered_with_the_organisations_there_are(world):
    with pytest.raises(ColibriError) as caught:
        answers.organization(world.organizations, "acme")
    assert caught.value.code == "source_forbidden"
    assert "'Acme'" in caught.value.hint


def test_two_organisations_of_one_name_are_told_apart_by_id(world):
    world.organizations.append(world.organizations[0] | {"id": OTHER_ORG})
    assert answers.organization(world.organizations, ORG)["id"] == ORG
    with pytest.raises(ColibriError) as caught:
        answers.organization(world.organizations, "Acme")
    assert caught.value.code == "usage"


def test_a_collection_of_another_organisation_is_a_failure(world):
    world.collections[0]["organizationId"] = OTHER_ORG
    assert world.refused().code == "source_incomplete"


def test_a_collection_that_was_not_synced_is_a_failure(world):
    world.collections.append(world.collection(UNSEEN, "from nowhere"))
    assert world.refused().code == "source_incomplete"


def test_a_collection_twice_is_a_failure(world):
    world.collections.append(world.collection(ACME, "acme"))
    assert world.refused().code == "source_incomplete"


@pytest.mark.parametrize("how", ["missing", "", "[error: cannot decrypt]"])
def test_a_collection_whose_name_is_not_decrypted_is_broken_alone(world, how):
    if how == "missing":
        del world.collections[0]
    else:
        world.collections[0]["name"] = how
    content = world.checked()
    assert content.broken.keys() == {ACME}
    assert [ref.name for ref in content.collections] == ["beta"]


def test_no_collection_decrypted_is_a_failure_of_all(world):
    """As when the server hands out another organisation key: bw lists none, and ends with 0."""
    world.collections = []
    assert world.refused().code == "source_incomplete"


def test_an_organisation_without_collections_is_empty(world):
    world.collections, world.items = [], []
    world.kept.clear()
    world.ciphers.clear()
    content = world.checked()
    assert (content.collections, dict(content.items)) == ((), {})


@pytest.mark.parametrize(
    "change",
    [
        {"organizationId": OTHER_ORG}, {"organizationId": None}, {"collectionIds": [BETA]},
        {"collectionIds": []}, {"collectionIds": None}, {"collectionIds": [ACME, BETA]},
        {"collectionIds": "x"}, {"collectionIds": ["x"]}, {"type": 2}, {"id": OTHER},
        {"deletedDate": "2026-11-21T03:24:00.000Z"}, {"id": at(99)},
    ],
)  # fmt: skip
def test_an_item_that_is_not_where_the_sync_put_it_is_a_failure(world, change):
    world.items[0] |= change
    assert world.refused().code == "source_incomplete"


def test_a_silently_missing_item_breaks_its_collections_and_no_other(world):
    """bw ends with 0 and lists 2 of 3 items when one item's key cannot be decrypted."""
    del world.items[0]
    content = world.checked()
    assert content.broken.keys() == {ACME}
    assert content.broken[ACME].code == "source_incomplete"
    assert KEY in content.broken[ACME].message


def test_no_items_at_all_breaks_every_collection_that_has_some(world):
    """bw serve once answered 200 with an empty list right after a sync (bw.md 7)."""
    world.items = []
    assert world.checked().broken.keys() == {ACME, BETA}


@pytest.mark.parametrize(("number", "broken"), [(0, ACME), (1, ACME), (2, BETA)])
def test_an_empty_name_breaks_that_collection_alone(world, number, broken):
    world.items[number]["name"] = ""
    content = world.checked()
    assert content.broken.keys() == {broken}
    assert "name" in content.broken[broken].message


@pytest.mark.parametrize("notes", [{}, {"notes": None}, {"notes": ""}])
def test_silently_missing_notes_break_that_collection_alone(world, notes):
    del world.items[1]["notes"]
    world.items[1] |= notes
    content = world.checked()
    assert content.broken.keys() == {ACME}
    assert "notes" in content.broken[ACME].message


@pytest.mark.parametrize("login", [{}, {"password": None}, {"password": ""}, None])
def test_a_silently_missing_password_breaks_that_collection_alone(world, login):
    world.items[0]["login"] = login
    content = world.checked()
    assert content.broken[ACME].code == "source_incomplete"
    assert "password" in content.broken[ACME].message
    assert BETA not in content.broken


def test_a_silently_missing_field_is_noticed_too(world):
    world.ciphers[KEY]["fields"] = [{"type": 1, "name": SEALED, "value": SEALED}]
    world.items[0]["fields"] = [{"type": 1, "name": "x"}]
    assert "custom field" in world.checked().broken[ACME].message


def test_a_hidden_password_is_forbidden_with_what_to_do(world):
    world.ciphers[KEY]["viewPassword"] = False
    world.items[0]["login"] = {}
    error = world.checked().broken[ACME]
    assert error.code == "source_forbidden"
    assert "view passwords" in error.hint


def test_a_password_the_server_never_had_is_no_damage(world):
    world.ciphers[KEY]["login"] = {"password": None}
    world.items[0]["login"] = {}
    (item,) = [item for item in world.checked().items[ACME] if item.id == KEY]
    assert item.password is None


def test_complaints_that_nothing_explains_are_a_failure_of_all(world):
    world.complained = True
    assert world.refused().code == "source_incomplete"
    del world.items[0]
    assert world.checked().broken.keys() == {ACME}


@pytest.mark.parametrize(("when", "word"), [("deletedDate", "trash"), ("archivedDate", "archived")])
def test_what_is_in_the_trash_is_counted_and_not_used(world, when, word):
    world.ciphers[KEY][when] = "2026-11-21T03:24:00.000Z"
    del world.items[0]
    (item,) = [item for item in world.checked().items[ACME] if item.id == KEY]
    assert word in item.gone
    assert item.password is None


def test_what_is_in_the_trash_and_listed_all_the_same_is_a_failure(world):
    world.ciphers[KEY]["deletedDate"] = "2026-11-21T03:24:00.000Z"
    assert world.refused().code == "source_incomplete"


def test_an_item_also_in_a_collection_we_do_not_see_keeps_both_ids(world):
    """So that the item contract refuses it as shared."""
    world.ciphers[KEY]["collectionIds"] = [ACME, UNSEEN]
    world.items[0]["collectionIds"] = [UNSEEN, ACME]
    (item,) = [item for item in world.checked().items[ACME] if item.id == KEY]
    assert set(item.collection_ids) == {ACME, UNSEEN}


def test_what_belongs_to_others_is_not_looked_at(world):
    world.ciphers[at(31)] = world.stored(ACME, 1) | {"organizationId": OTHER_ORG}
    world.ciphers[at(32)] = world.stored(ACME, 1) | {"organizationId": None}
    assert {item.id for item in world.checked().items[ACME]} == {KEY, NOTE}


def test_an_organisation_that_is_called_by_our_id_does_not_stand_in_our_way(world):
    """Whoever may invite the account could otherwise stop every delivery."""
    world.organizations.append(world.organizations[0] | {"id": OTHER_ORG, "name": ORG})
    assert world.checked().organization_id == ORG


@pytest.mark.parametrize("home", [OTHER_ORG, None])
def test_what_bw_complains_of_may_be_of_others_but_never_of_ours(world, home):
    """bw decrypts other organisations' items as well: a broken one there must not stop ours."""
    world.ciphers[at(31)] = world.stored(ACME, 1) | {"organizationId": home}
    world.complained = True
    assert world.checked().broken == {}
    del world.items[0]["login"]["password"]
    assert world.checked().broken.keys() == {ACME}


@pytest.mark.parametrize("part", ["password", "name", "notes", "field"])
def test_bws_placeholder_for_what_it_cannot_decrypt_is_no_value(world, part):
    spoiled = "[error: cannot decrypt]"
    world.ciphers[KEY] |= {"notes": SEALED, "fields": [{"type": 0, "value": SEALED}]}
    world.items[0] |= {"notes": "n", "fields": [{"type": 0, "value": "v"}]}
    at_part = {"password": world.items[0]["login"], "field": world.items[0]["fields"][0]}
    at_part.get(part, world.items[0])["value" if part == "field" else part] = spoiled
    assert world.checked().broken.keys() == {ACME}


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("2026-11-21T03:24:00.000Z", "2026-11-21T03:24:00.000Z"),
        ("x\x1b[31m\n", ""), ("2" * 41, ""), (1, ""), ([], ""), (None, ""),
    ],
)  # fmt: skip
def test_a_revision_is_a_date_or_nothing_because_it_stands_in_receipts(world, given, kept):
    world.items[0]["revisionDate"] = given
    (item,) = [item for item in world.checked().items[ACME] if item.id == KEY]
    assert item.revision == kept


WRONG = (
    None, 1, 1.5, True, "x", "", [], {}, [1], [None], {"a": 1}, [[]], "\ud800", "\x1b[31m\n",
    float("nan"), 10**400,
)  # fmt: skip


def everywhere(document, so_far=()):
    """Yield the path of every member and element."""
    pairs = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in pairs:
        yield (*so_far, key)
        if isinstance(value, dict | list):
            yield from everywhere(value, (*so_far, key))


def full() -> World:
    made = World()
    made.items[0]["fields"] = [{"type": 1, "name": "f", "value": "v"}]
    made.ciphers[KEY]["fields"] = [{"type": 1, "name": SEALED, "value": SEALED}]
    return made


PARTS = ("organizations", "collections", "items", "state")


@pytest.mark.parametrize(
    ("part", "path"), [(part, path) for part in PARTS for path in everywhere(vars(full())[part])]
)
def test_no_wrong_type_anywhere_is_more_than_a_refusal(part, path):
    """Every member of every answer and of the state, replaced by each of these."""
    whole = full().checked()
    for value in WRONG:
        world = full()
        place = vars(world)[part]
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value
        try:
            content = world.checked()
        except ColibriError as error:
            assert CODES[error.code].status == 6
            assert VALUE not in error.line()
            continue
        for ref in content.collections:
            if ref.collection_id not in content.broken:
                assert_no_other_value(content.items[ref.collection_id], whole, value)


def assert_no_other_value(found, whole, planted) -> None:
    """A value is the one that was there, the planted one, or nothing."""
    right = {
        item.password.reveal() for each in whole.items.values() for item in each if item.password
    }
    for item in found:
        if item.password is not None:
            assert item.password.reveal() in {
                *right,
                *([planted] if isinstance(planted, str) else []),
            }


def test_rights_and_role_are_told(world):
    world.kept[ACME] |= {"readOnly": False}
    world.kept[BETA] |= {"hidePasswords": True}
    world.state[f"user_{USER}_organizations_organizations"][ORG]["type"] = 0
    content = world.checked()
    assert (content.role, content.writable, content.hiding) == (0, ("acme",), ("beta",))


@pytest.mark.parametrize("table", ["organizations_organizations", "ciphers_ciphers"])
@pytest.mark.parametrize("spoiled", [[1], "x", {"a": 1}])
def test_a_state_of_another_shape_is_a_failure(world, table, spoiled):
    state = copy.deepcopy(world.state)
    state[f"user_{USER}_{table}"] = spoiled
    with pytest.raises(ColibriError):
        answers.stored(state, USER)

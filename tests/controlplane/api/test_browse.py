"""Looking over many keys: search, summary, and what the caller may do, over HTTP and through the client."""

from __future__ import annotations

import base64
import os
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from controlplane.client import Client
from controlplane.errors import InvalidInput, NotFound, PreconditionFailed, Unauthenticated
from controlplane.schema.browse import Access, AttentionReason, KeySort, ObjectRows, ObjectSort
from controlplane.schema.documents import declare
from controlplane.schema.keys import DesiredKey, KeyState
from controlplane.schema.meta import Key, Kind
from tests.harness import TOKEN, Server, document, eventually, refusal


@pytest.fixture
async def client(shared_server: Server) -> AsyncIterator[Client]:
    async with Client(shared_server.url, TOKEN) as client:
        yield client


@pytest.fixture
def team(shared_server: Server) -> str:
    """A tag that three keys of the test's own have: ``a`` enabled, ``b`` disabled, ``c`` pending deletion."""
    team = f"t-{uuid.uuid4()}"
    declared = [
        document("Key", f"{team}-{end}", tags={"team": team}, aliases=[f"{team}/{end}"], enabled=end != "b")
        for end in "abc"
    ]
    shared_server.apply(team, declared)
    shared_server.ok("POST", f"/v1/keys/{team}-c/actions/schedule-deletion", {"windowDays": 9})
    return team


@pytest.mark.parametrize(
    "path",
    ["/v1/search/keys", "/v1/search/keystores", "/v1/summary", "/v1/access", "/v1/keys/a/actions", "/v1/keys/a/about"],
)
def test_nobody_looks_without_a_token(shared_server: Server, path: str) -> None:
    assert shared_server.rest("GET", path, token=None).status == 401


async def test_a_search_answers_rows_with_what_a_list_shows(client: Client, team: str) -> None:
    found = await client.search_keys(f"-l team={team}")
    assert (found.matching, found.offset) == (3, 0)
    assert found.total >= 3
    assert found.version > 0
    states = {row.name.removeprefix(f"{team}-"): row.state for row in found.items}
    assert states == {"a": KeyState.ENABLED, "b": KeyState.DISABLED, "c": KeyState.PENDING_DELETION}
    first, _, last = found.items
    assert first.aliases == (f"{team}/a",)
    assert (first.tags, first.spec_set, first.deletion) == ({"team": team}, team, None)
    assert last.deletion is not None
    assert last.deletion.window_days == 9


async def test_the_server_sorts_cuts_and_counts(client: Client, team: str) -> None:
    found = await client.search_keys(f"-l team={team}", sort=KeySort.STATE, descending=True, offset=1, limit=1)
    assert [row.name for row in found.items] == [f"{team}-a"]
    assert (found.offset, found.matching) == (1, 3)


async def test_a_filter_that_means_nothing_is_refused_with_what_would_be_right(client: Client) -> None:
    with pytest.raises(InvalidInput, match="fits no key state; there are Creating, Enabled"):
        await client.search_keys("state:gone")


async def test_refused_uses_show_in_the_row_and_call_for_a_person(
    client: Client, shared_server: Server, team: str
) -> None:
    kms = shared_server.kms()
    assert refusal(kms.encrypt, KeyId=f"alias/{team}/c", Plaintext=b"x").type == "KMSInvalidStateException"
    (row,) = (await client.search_keys(f"-l team={team} state:pending")).items
    assert row.refused == 1
    assert row.refused_last_at is not None
    summary = await client.summary()
    reasons = {each.name: each.reason for each in summary.attention}
    assert reasons[f"{team}-c"] is AttentionReason.USED_WHILE_PENDING_DELETION
    assert summary.attention_counts[AttentionReason.USED_WHILE_PENDING_DELETION] >= 1
    assert summary.attention_total == sum(summary.attention_counts.values())


async def test_the_summary_counts_every_key_and_every_use(client: Client, shared_server: Server, team: str) -> None:
    before = await client.summary()
    assert before.keys == sum(before.states.values()) == sum(before.stores.values())
    assert before.states[KeyState.PENDING_DELETION] >= 1
    kms = shared_server.kms()
    kms.encrypt(KeyId=f"alias/{team}/a", Plaintext=b"x")
    refusal(kms.encrypt, KeyId=f"alias/{team}/b", Plaintext=b"x")
    after = await client.summary()
    assert sum(after.rates.allowed) > sum(before.rates.allowed) or after.rates.allowed[-1] >= 1
    assert sum(after.rates.refused) >= 1
    assert len(after.rates.allowed) == len(after.rates.refused) == 60


def test_a_store_that_does_not_connect_calls_for_a_person(shared_server: Server) -> None:
    name = f"t-{uuid.uuid4()}"
    shared_server.ok("PUT", f"/v1/keystores/{name}", document("KeyStore", name, type="memory", memory={"nonsense": 1}))

    def told() -> Any:
        attention = shared_server.ok("GET", "/v1/summary")["attention"]
        return next((each for each in attention if each["name"] == name), None)

    said = eventually(told, "the store calls for a person")
    assert said["reason"] == "StoreNotConnected"
    shared_server.ok("DELETE", f"/v1/keystores/{name}")


async def test_who_asks_is_told_who_it_is_and_what_it_may(client: Client) -> None:
    access = await client.access()
    assert access.principal.endswith(":user/admin")
    assert {each.action: each.allowed for each in access.may} == {
        "keystead:Read": True,
        "keystead:Plan": True,
        "keystead:Apply": True,
        "keystead:ReadAudit": True,
    }


async def test_actions_that_the_state_does_not_allow_say_why(client: Client, team: str) -> None:
    pending = {each.action: each for each in await client.actions(Kind.KEY, f"{team}-c")}
    assert pending["cancel-deletion"].allowed
    assert not pending["disable"].allowed
    assert pending["disable"].why.endswith("is pending deletion.")
    live = {each.action: each for each in await client.actions(Kind.KEY, f"alias/{team}/a")}
    assert live["disable"].allowed
    assert live["cancel-deletion"].why.endswith("is not pending deletion.")


async def test_a_put_keeps_the_spec_set_and_refuses_a_version_that_has_passed(client: Client, team: str) -> None:
    key = await client.get(Kind.KEY, f"{team}-a")
    assert isinstance(key, Key)
    spec = DesiredKey(**{name: getattr(key.spec, name) for name in key.spec.__struct_fields__} | {"description": "new"})
    put = await client.put(declare(key.metadata.name, spec), version=key.metadata.resource_version)
    assert isinstance(put, Key)
    assert (put.spec.description, put.metadata.spec_set) == ("new", team)
    with pytest.raises(PreconditionFailed, match="read it again"):
        await client.put(declare(key.metadata.name, key.spec), version=key.metadata.resource_version)


async def test_a_wrong_token_is_no_caller(shared_server: Server) -> None:
    async with Client(shared_server.url, "wrong") as client:
        with pytest.raises(Unauthenticated):
            await client.access()


async def test_what_goes_with_a_key_is_one_request(client: Client, shared_server: Server, team: str) -> None:
    kms = shared_server.kms()
    kms.encrypt(KeyId=f"alias/{team}/a", Plaintext=b"x")
    kms.create_grant(
        KeyId=kms.describe_key(KeyId=f"alias/{team}/a")["KeyMetadata"]["KeyId"],
        GranteePrincipal="arn:aws:iam::000000000000:user/web",
        Operations=["Decrypt"],
        Name="web",
    )
    about = await client.key_about(f"{team}-a")
    assert about.state is KeyState.ENABLED
    assert about.last_use is not None
    assert about.last_use.operation == "Encrypt"
    assert [(grant.name, grant.grantee_principal) for grant in about.grants] == [
        ("web", "arn:aws:iam::000000000000:user/web")
    ]
    assert {each.action for each in about.actions} >= {"enable", "disable", "rotate"}
    assert about.related == ()


async def test_the_keys_of_a_multi_region_key_know_each_other(client: Client, shared_server: Server) -> None:
    name = f"t-{uuid.uuid4()}"
    shared_server.apply(
        name,
        [
            document("Key", name, multiRegion=True),
            document("Key", f"{name}-eu", multiRegion=True, replicaOf=name, region="eu-central-1"),
        ],
    )
    (replica,) = (await client.key_about(name)).related
    assert (replica.name, replica.region, replica.primary) == (f"{name}-eu", "eu-central-1", False)
    (primary,) = (await client.key_about(f"{name}-eu")).related
    assert (primary.name, primary.primary) == (name, True)


async def test_material_that_expires_soon_calls_for_a_person(client: Client, shared_server: Server) -> None:
    """Imported with an expiry of three days, as a person does."""
    name = f"t-{uuid.uuid4()}"
    shared_server.ok("PUT", f"/v1/keys/{name}", document("Key", name, origin="EXTERNAL"))
    import_into(shared_server, name, datetime.now(UTC) + timedelta(days=3))
    (row,) = (await client.search_keys(name)).items
    assert row.expires_at is not None
    attention = {each.name: each for each in (await client.summary()).attention}
    assert attention[name].reason is AttentionReason.MATERIAL_EXPIRES_SOON
    assert attention[name].at == row.expires_at


def import_into(server: Server, name: str, valid_to: datetime) -> None:
    """Import 32 random octets, wrapped here as anyone would."""
    given = server.ok(
        "POST",
        f"/v1/keys/{name}/import/parameters",
        {"wrappingKeySpec": "RSA_2048", "wrappingAlgorithm": "RSAES_OAEP_SHA_256"},
    )
    public = serialization.load_der_public_key(base64.b64decode(given["publicKey"]))
    assert isinstance(public, rsa.RSAPublicKey)
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    wrapped = public.encrypt(os.urandom(32), oaep)
    server.ok(
        "POST",
        f"/v1/keys/{name}/import",
        {
            "importToken": given["importToken"],
            "encryptedKeyMaterial": base64.b64encode(wrapped).decode(),
            "validTo": valid_to.replace(microsecond=0).isoformat(),
        },
    )


# ---- objects that are no keys ----------------------------------------------------------------------------------------


@pytest.fixture
def people(shared_server: Server) -> str:
    """The beginning of the names of three principals: ``a`` and ``b`` of one team, ``c`` of another, a role."""
    start = f"t-{uuid.uuid4().hex[:8]}"
    tags = {"a": "Web", "b": "web", "c": "ops"}
    declared = [
        document("Principal", f"{start}-{end}", tags={"team": team}, **({"type": "role"} if end == "c" else {}))
        for end, team in tags.items()
    ]
    shared_server.apply(start, declared)
    return start


@pytest.mark.parametrize(
    ("filter", "ends"),
    [
        ("{0}", "abc"),
        ("{0} !{0}-b", "ac"),
        ("{0} -l team=web", "ab"),
        ("{0} !-l team=web", "c"),
        ("{0} -l type=role", "c"),
        ("-l set={0}", "abc"),
        ("-f {0}c", "c"),
        ("{0} -l nothing", ""),
    ],
)
async def test_every_list_is_filtered_by_the_server_with_the_terms_of_keys(
    client: Client, people: str, filter: str, ends: str
) -> None:
    found = await client.search_objects(Kind.PRINCIPAL, filter.format(people))
    assert "".join(item.metadata.name.removeprefix(f"{people}-") for item in found.items) == ends
    assert found.matching == len(ends) <= found.total


async def test_every_list_is_sorted_and_cut_by_the_server(client: Client, people: str) -> None:
    asked = {"filter": people, "sort": ObjectSort.TYPE, "descending": False}
    found = await client.search_objects(Kind.PRINCIPAL, **asked, offset=1, limit=1)  # type: ignore[arg-type]
    assert (found.offset, found.matching, [item.metadata.name for item in found.items]) == (1, 3, [f"{people}-a"])
    turned = await client.search_objects(Kind.PRINCIPAL, people, descending=True)
    assert [item.metadata.name for item in turned.items] == [f"{people}-{end}" for end in "cba"]


async def test_what_only_keys_have_is_refused_in_the_filter_of_others(client: Client) -> None:
    with pytest.raises(InvalidInput, match="state: finds keys only; here are word"):
        await client.search_objects(Kind.KEY_STORE, "state:enabled")
    with pytest.raises(NotFound, match="there is no kind nothing; there are keys"):
        await client._ask("GET", "/v1/search/nothing", ObjectRows)


async def test_key_stores_are_searched_with_how_many_keys_each_has(client: Client, team: str) -> None:
    found = await client.search_objects(Kind.KEY_STORE, "standard", sort=ObjectSort.KEYS)
    assert found.keys["standard"] >= 3


async def test_actions_on_a_key_store_say_what_is_not_possible(client: Client) -> None:
    may = {each.action: each for each in await client.actions(Kind.KEY_STORE, "standard")}
    assert may["reconcile"].allowed
    assert "belongs to the server" in may["pause"].why
    assert "belongs to the server" in may["disconnect"].why
    admin = {each.action: each for each in await client.actions(Kind.PRINCIPAL, "admin")}
    assert admin["pause"].allowed


async def test_every_object_can_be_looked_at_now(client: Client, people: str) -> None:
    for kind, name in ((Kind.KEY_STORE, "standard"), (Kind.PRINCIPAL, f"{people}-a")):
        assert (await client.reconcile(name, kind)).metadata.name == name
    with pytest.raises(NotFound, match="there is no action disable on a Principal; there is reconcile"):
        await client._ask("POST", f"/v1/principals/{people}-a/actions/disable", Access, b"{}")

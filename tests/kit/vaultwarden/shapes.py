"""The API's JSON as Vaultwarden 1.37 writes it, field for field; compared with a real one."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

from tests.kit.vaultwarden.account import Account
from tests.kit.vaultwarden.crypto import Kdf
from tests.kit.vaultwarden.items import PART
from tests.kit.vaultwarden.store import Cipher, Collection, Membership, Store
from tests.kit.vaultwarden.world import Access, Role

API_VERSION = "2026.6.0"
TOKEN_SECONDS = 7200
Json = dict[str, Any]


def error(message: str) -> Json:
    """Return a refusal as Vaultwarden's own code writes it."""
    return {
        "message": message,
        "validationErrors": {"": [message]},
        "errorModel": {"message": message, "object": "error"},
        "error": "",
        "error_description": "",
        "exceptionMessage": None,
        "exceptionStackTrace": None,
        "innerExceptionMessage": None,
        "object": "error",
    }


def catcher(code: int, reason: str, description: str) -> Json:
    """Return a refusal as the web framework below Vaultwarden writes it."""
    return {"error": {"code": code, "reason": reason, "description": description}}


UNAUTHORIZED = catcher(401, "Unauthorized", "The request requires user authentication.")
NOT_FOUND = catcher(404, "Not Found", "The requested resource could not be found.")


ALIVE = "2026-11-21T00:00:00.000000Z"
VERSION = "1.37.2"
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
    <meta charset="utf-8">
    <meta name="color-scheme" content="light dark">
    <title>{title}</title>
</head>
<body align="center">
    <div role="main" align="center">
        <h1>{code}: {reason}</h1>
        <p>{description}</p>
        <hr />
    </div>
    <div role="contentinfo" align="center">
        <small>Rocket</small>
    </div>
</body>
</html>"""


def page(refusal: Json) -> str:
    """Return a refusal for callers that do not ask for JSON."""
    fields = refusal["error"]
    return _PAGE.format(title=f"{fields['code']} {fields['reason']}", **fields)


def bearer(store: Store, account: Account, user_id: str, device: str, url: str, key: bytes) -> str:
    """Return a signed token that carries what clients read and what the server checks."""
    now = int(store.now())
    claims = {
        "nbf": now, "exp": now + TOKEN_SECONDS, "iss": f"{url}|login", "sub": user_id,
        "premium": True, "name": account.name, "email": account.email, "email_verified": True,
        "sstamp": store.stamp, "device": device, "devicetype": "Linux CLI",
        "client_id": f"user.{user_id}", "scope": ["api"], "amr": ["Application"],
    }  # fmt: skip
    text = f"{_part({'typ': 'JWT', 'alg': 'HS256'})}.{_part(claims)}"
    return f"{text}.{_text(_signed(text, key))}"


def claims_of(token: str, key: bytes) -> Json | None:
    """Return a token's claims, or None when it is not one of ours."""
    text, _, signature = token.rpartition(".")
    if not hmac.compare_digest(_text(_signed(text, key)), signature):
        return None
    middle = text.split(".")[1]
    claims: Json = json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))
    return claims


def _part(value: Json) -> str:
    return _text(json.dumps(value).encode())


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _signed(text: str, key: bytes) -> bytes:
    return hmac.digest(key, text.encode(), hashlib.sha256)


def token(account: Account, access_token: str) -> Json:
    """Return the answer to an API key; no refresh token, clients send the key again."""
    unlock = {
        "Kdf": {
            "KdfType": account.kdf.kind,
            "Iterations": account.kdf.iterations,
            "Memory": account.kdf.memory,
            "Parallelism": account.kdf.parallelism,
        },
        "MasterKeyEncryptedUserKey": account.akey,
        "MasterKeyWrappedUserKey": account.akey,
        "Salt": account.email,
    }
    pair = {
        "wrappedPrivateKey": account.private_key,
        "publicKey": account.public_key,
        "Object": "publicKeyEncryptionKeyPair",
    }
    return {
        "access_token": access_token,
        "expires_in": TOKEN_SECONDS,
        "token_type": "Bearer",
        "Key": account.akey,
        "PrivateKey": account.private_key,
        "Kdf": account.kdf.kind,
        "KdfIterations": account.kdf.iterations,
        "KdfMemory": account.kdf.memory,
        "KdfParallelism": account.kdf.parallelism,
        "ResetMasterPassword": False,
        "ForcePasswordReset": False,
        "scope": "api",
        "AccountKeys": {"publicKeyEncryptionKeyPair": pair, "Object": "privateKeys"},
        "UserDecryptionOptions": {
            "HasMasterPassword": True,
            "MasterPasswordUnlock": unlock,
            "Object": "userDecryptionOptions",
        },
    }


def prelogin(kdf: Kdf) -> Json:
    """Return how a client must hash before it can log in with a password."""
    return {
        "kdf": kdf.kind,
        "kdfIterations": kdf.iterations,
        "kdfMemory": kdf.memory,
        "kdfParallelism": kdf.parallelism,
        "kdfSettings": {
            "kdfType": kdf.kind,
            "iterations": kdf.iterations,
            "memory": kdf.memory,
            "parallelism": kdf.parallelism,
        },
        "salt": None,
    }


def config(url: str) -> Json:
    """Return what clients ask before they log in."""
    return {
        "version": API_VERSION,
        "gitHash": "00000000",
        "server": {"name": "Vaultwarden", "url": "https://github.com/dani-garcia/vaultwarden"},
        "settings": {"disableUserRegistration": False, "suppressOnboardingInterstitials": False},
        "environment": {
            "vault": url,
            "api": f"{url}/api",
            "identity": f"{url}/identity",
            "notifications": f"{url}/notifications",
            "sso": "",
            "cloudRegion": None,
        },
        "push": {"pushTechnology": 0, "vapidPublicKey": None},
        "featureStates": {"pm-19148-innovation-archive": True},
        "communication": None,
        "object": "config",
    }


def sync(store: Store, account: Account, user_id: str, url: str) -> Json:
    """Return the account's whole view in one document."""
    unlock = {
        "kdf": {
            "kdfType": account.kdf.kind,
            "iterations": account.kdf.iterations,
            "memory": account.kdf.memory,
            "parallelism": account.kdf.parallelism,
        },
        "masterKeyEncryptedUserKey": account.akey,
        "masterKeyWrappedUserKey": account.akey,
        "salt": account.email,
    }
    return {
        "profile": profile(store, account, user_id),
        "folders": [],
        "collections": [collection_details(store, each) for each in store.visible_collections()],
        "policies": [],
        "ciphers": [cipher(store, each, url) for each in store.visible_ciphers()],
        "domains": None,
        "sends": [],
        "userDecryption": {"masterPasswordUnlock": unlock},
        "object": "sync",
    }


def profile(store: Store, account: Account, user_id: str) -> Json:
    """Return the account and its organisations."""
    pair = {
        "wrappedPrivateKey": account.private_key,
        "publicKey": account.public_key,
        "signedPublicKey": None,
        "object": "publicKeyEncryptionKeyPair",
    }
    return {
        "_status": 0,
        "accountKeys": {
            "publicKeyEncryptionKeyPair": pair,
            "securityState": None,
            "signatureKeyPair": None,
            "object": "privateKeys",
        },
        "id": user_id,
        "name": account.name,
        "email": account.email,
        "emailVerified": True,
        "premium": True,
        "premiumFromOrganization": False,
        "culture": "en-US",
        "twoFactorEnabled": False,
        "key": account.akey,
        "privateKey": account.private_key,
        "securityStamp": store.stamp,
        "organizations": [membership(each, user_id) for each in store.memberships.values()],
        "providers": [],
        "providerOrganizations": [],
        "forcePasswordReset": False,
        "avatarColor": None,
        "usesKeyConnector": False,
        "creationDate": "2026-11-01T00:00:00.000000Z",
        "object": "profile",
    }


_YES = (
    "usersGetPremium", "use2fa", "useTotp", "usePolicies", "useApi", "selfHost",
    "usePasswordManager", "useCustomPermissions", "useDisableSMAdsForUsers",
    "limitCollectionDeletion", "allowAdminAccessToAllCollectionItems",
    "hasPublicAndPrivateKeys",
)  # fmt: skip
_NO = (
    "useDirectory", "useEvents", "useGroups", "useScim", "resetPasswordEnrolled",
    "useResetPassword", "ssoBound", "useSso", "useKeyConnector", "useSecretsManager",
    "useActivateAutofillPolicy", "useAdminSponsoredFamilies", "useRiskInsights", "useInviteLinks",
    "useMyItems", "useOrganizationDomains", "usePam", "usePhishingBlocker",
    "familySponsorshipAvailable", "keyConnectorEnabled", "accessSecretsManager",
    "limitItemDeletion", "userIsManagedByOrganization", "userIsClaimedByOrganization",
)  # fmt: skip
_NULL = (
    "identifier", "maxCollections", "providerId", "providerName", "providerType",
    "familySponsorshipFriendlyName", "keyConnectorUrl", "familySponsorshipLastSyncDate",
    "familySponsorshipValidUntil", "familySponsorshipToDelete",
)  # fmt: skip
_PERMISSIONS = (
    "accessEventLogs", "accessImportExport", "accessReports", "createNewCollections",
    "editAnyCollection", "deleteAnyCollection", "manageGroups", "managePolicies", "manageSso",
    "manageUsers", "manageResetPassword", "manageScim",
)  # fmt: skip


def membership(row: Membership, user_id: str) -> Json:
    """Return an organisation in a profile."""
    return {
        **dict.fromkeys(_YES, True),
        **dict.fromkeys(_NO, False),
        **dict.fromkeys(_NULL),
        "seats": 20,
        "limitCollectionCreation": row.role not in {Role.OWNER, Role.ADMIN},
        "productTierType": 3,
        "maxStorageGb": 32767,
        "permissions": dict.fromkeys(_PERMISSIONS, False),
        "id": row.id,
        "name": row.name,
        "key": row.key,
        "organizationUserId": row.member,
        "userId": user_id,
        "status": row.status,
        "type": int(row.role),
        "enabled": row.enabled,
        "object": "profileOrganization",
    }


def collection(row: Collection) -> Json:
    """Return a collection in a list."""
    return {
        "externalId": None,
        "id": row.id,
        "organizationId": row.organization,
        "name": row.name,
        "type": 0,
        "defaultUserCollectionEmail": None,
        "object": "collection",
    }


def collection_details(store: Store, row: Collection) -> Json:
    """Return a collection in a sync: with what the account may do."""
    access, role = store.access(row.id), store.memberships[row.organization].role
    return {
        **collection(row),
        "object": "collectionDetails",
        "readOnly": access in {Access.READ, Access.HIDDEN},
        "hidePasswords": access is Access.HIDDEN,
        "manage": role is not Role.USER and access is Access.WRITE,
    }


def cipher(store: Store, row: Cipher, url: str) -> Json:
    """Return an item in a sync."""
    request, seen = row.request, store.seen_in(row)
    own = request["organizationId"] is None or store.full_access(request["organizationId"])
    accesses = {store.access(each) for each in seen}
    writes = own or Access.WRITE in accesses
    views = own or bool(accesses - {Access.HIDDEN})
    kind = request["type"]
    data = dict(request[PART[kind]])
    if kind == 1:
        data["uri"] = data["uris"][0]["uri"] if data["uris"] else None
    others = (*PART.values(), "bankAccount", "driversLicense", "passport")
    return {
        **dict.fromkeys(others),
        "object": "cipherDetails",
        "id": row.id,
        "type": kind,
        "creationDate": row.created,
        "revisionDate": row.revised,
        "deletedDate": row.deleted,
        "reprompt": 0,
        "organizationId": request["organizationId"],
        "key": request["key"],
        "attachments": [attachment(each, row, url) for each in row.attachments] or None,
        "organizationUseTotp": True,
        "collectionIds": seen,
        "name": request["name"],
        "notes": request["notes"],
        "fields": request["fields"],
        "passwordHistory": [],
        "folderId": None,
        "favorite": False,
        "archivedDate": None,
        "edit": writes,
        "viewPassword": views,
        "permissions": {"delete": writes, "restore": writes},
        PART[kind]: data,
    }


def attachment(row: Json, of: Cipher, url: str) -> Json:
    """Return a file's description; the file itself is never read here."""
    size = int(row["size"])
    return {
        "id": row["id"],
        "url": f"{url}/attachments/{of.id}/{row['id']}?token=t",
        "fileName": row["fileName"],
        "size": str(size),
        "sizeName": f"{size:.2f} bytes" if size <= 1024 else f"{size / 1024:.2f} KB",
        "key": row["key"],
        "object": "attachment",
    }


def listing(rows: list[Json]) -> Json:
    """Return rows as lists come."""
    return {"data": rows, "object": "list", "continuationToken": None}

"""Bitwarden's client-side cryptography, as its clients do it (bw.md 9.1)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes, padding, serialization
from cryptography.hazmat.primitives.asymmetric import padding as rsa_padding
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand


@dataclass(frozen=True)
class Kdf:
    """How a master password becomes a key; memory in MiB, as the API counts it."""

    kind: int
    iterations: int
    memory: int | None = None
    parallelism: int | None = None

    def master_key(self, password: str, email: str) -> bytes:
        """Return 32 bytes; the salt is the e-mail, normalised (hashed for Argon2id)."""
        salt = email.strip().lower().encode()
        if self.kind == 0:
            return hashlib.pbkdf2_hmac("sha256", password.encode(), salt, self.iterations)
        assert self.memory is not None
        assert self.parallelism is not None
        derive = Argon2id(
            salt=hashlib.sha256(salt).digest(), length=32, iterations=self.iterations,
            lanes=self.parallelism, memory_cost=self.memory * 1024,
        )  # fmt: skip
        return derive.derive(password.encode())


# The smallest that clients accept (bw.md 9.3): tests are no place for slow password hashing.
PBKDF2 = Kdf(0, 5000)
ARGON2ID = Kdf(1, 2, memory=16, parallelism=1)


def b64(raw: bytes) -> str:
    """Return standard base64 as text."""
    return base64.b64encode(raw).decode()


def stretched(master_key: bytes) -> bytes:
    """Return the 64 bytes that wrap the user key: HKDF-Expand twice, never Extract."""
    return b"".join(
        HKDFExpand(hashes.SHA256(), 32, info).derive(master_key) for info in (b"enc", b"mac")
    )


def password_hash(master_key: bytes, password: str) -> str:
    """Return what a client shows the server instead of the master password."""
    return b64(hashlib.pbkdf2_hmac("sha256", master_key, password.encode(), 1))


def seal(plain: bytes | str, key: bytes) -> str:
    """Return an EncString of type 2 under a 64-byte key: AES-256-CBC, then HMAC-SHA256."""
    raw = plain.encode() if isinstance(plain, str) else plain
    iv = os.urandom(16)
    pad = padding.PKCS7(128).padder()
    padded = pad.update(raw) + pad.finalize()
    encryptor = Cipher(algorithms.AES(key[:32]), modes.CBC(iv)).encryptor()
    sealed = encryptor.update(padded) + encryptor.finalize()
    mac = hmac.digest(key[32:], iv + sealed, "sha256")
    return f"2.{b64(iv)}|{b64(sealed)}|{b64(mac)}"


def seal_bytes(plain: bytes, key: bytes) -> bytes:
    """Return attachment bytes: type, iv, mac, ciphertext, without base64."""
    iv, sealed, mac = (base64.b64decode(part) for part in seal(plain, key)[2:].split("|"))
    return b"\x02" + iv + mac + sealed


def spoiled(sealed: str) -> str:
    """Return an EncString whose MAC is wrong and whose form is right."""
    head, mac = sealed.rsplit("|", 1)
    raw = bytearray(base64.b64decode(mac))
    raw[0] ^= 1
    return f"{head}|{b64(bytes(raw))}"


class KeyPair:
    """An RSA-2048 pair as accounts have it."""

    def __init__(self) -> None:
        self._private = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def public(self) -> str:
        """Return the public key, base64 of SPKI DER."""
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return b64(self._private.public_key().public_bytes(serialization.Encoding.DER, form))

    def wrapped(self, user_key: bytes) -> str:
        """Return the private key (PKCS8 DER) under the user key."""
        der = self._private.private_bytes(
            serialization.Encoding.DER,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return seal(der, user_key)


def seal_for(plain: bytes, public: str) -> str:
    """Return an EncString of type 4: RSA-OAEP with SHA-1, as organisation keys are shared."""
    key = serialization.load_der_public_key(base64.b64decode(public))
    assert isinstance(key, rsa.RSAPublicKey)
    sha1 = hashes.SHA1()
    oaep = rsa_padding.OAEP(mgf=rsa_padding.MGF1(sha1), algorithm=sha1, label=None)
    return f"4.{b64(key.encrypt(plain, oaep))}"

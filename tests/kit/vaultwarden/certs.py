"""A certificate authority of the test's own, and certificates that are right or wrong."""

from __future__ import annotations

import datetime as dt
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

LOOPBACK = "127.0.0.1"


class Authority:
    """A CA whose certificate is `home/NAME.pem`; its key never touches the disk."""

    def __init__(self, home: Path, name: str = "ca") -> None:
        self.home = home
        self.file = home / f"{name}.pem"
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(f"colibri test {name}")
        self._certificate = self._signed(self._name, self._key.public_key(), ca=True, days=2)
        self.file.write_bytes(_pem(self._certificate))

    def issue(self, name: str, *, host: str = LOOPBACK, days: int = 2) -> tuple[Path, Path]:
        """Write a certificate for host and its key (0600); days below 0 make it expired."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = self._signed(_name(host), key.public_key(), ca=False, days=days, host=host)
        certificate, private = self.home / f"{name}.crt", self.home / f"{name}.key"
        certificate.write_bytes(_pem(made))
        private.touch(mode=0o600)
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return certificate, private

    def _signed(
        self,
        subject: x509.Name,
        public: ec.EllipticCurvePublicKey,
        *,
        ca: bool,
        days: int,
        host: str = "",
    ) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=3))
            .not_valid_after(now + dt.timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(_usage(ca=ca), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(identifier, critical=False)
        )
        if host:
            builder = builder.add_extension(_alternative(host), critical=False)
        return builder.sign(self._key, hashes.SHA256())


def _alternative(host: str) -> x509.SubjectAlternativeName:
    try:
        return x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))])
    except ValueError:
        return x509.SubjectAlternativeName([x509.DNSName(host)])


def _usage(*, ca: bool) -> x509.KeyUsage:
    others = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    never = dict.fromkeys((*others, "encipher_only", "decipher_only"), False)
    return x509.KeyUsage(digital_signature=not ca, key_cert_sign=ca, crl_sign=ca, **never)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)

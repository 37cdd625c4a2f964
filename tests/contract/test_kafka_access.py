"""What `DAYMARK_KAFKA_...` do, on a listener of a real broker that asks for all of it: TLS, our certificate, a password."""

import asyncio
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from shared.bus import Bus, Letter, TopicSpec, open_bus
from shared.bus.kafka_clients import Cluster
from shared.errors import Unavailable
from shared.settings import Settings
from tests.contract.ledger import Ledger
from tests.servers.kafka import Broker, own_broker

PASSWORD = "only for us"


@dataclass(frozen=True)
class Authority:
    """Somebody who vouches for others, and the files of whom they vouched for."""

    directory: Path
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def made(cls, directory: Path) -> "Authority":
        key, name = ec.generate_private_key(ec.SECP256R1()), _named("authority")
        builder = _builder(name, name, key).add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        usage = x509.KeyUsage(*(each in (5, 6) for each in range(9)))  # signs certificates and lists, and nothing else
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        made = cls(
            directory, key, builder.add_extension(usage, True).add_extension(identifier, False).sign(key, SHA256())
        )
        (directory / "ca.pem").write_bytes(made.certificate.public_bytes(Encoding.PEM))
        return made

    def vouches_for(self, name: str) -> None:
        """`<name>.pem`, `<name>.key`, and both in `<name>.both`."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_named(name), self.certificate.subject, key)
        at = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
        by = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        certificate = builder.add_extension(at, False).add_extension(by, False).sign(self.key, SHA256())
        told = certificate.public_bytes(Encoding.PEM)
        kept = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        for suffix, content in (("pem", told), ("key", kept), ("both", kept + told)):
            (self.directory / f"{name}.{suffix}").write_bytes(content)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
    )


@pytest.fixture(scope="module")
def guarded() -> Iterator[tuple[str, Path]]:
    """`kafka://` URL of a listener that lets in who has a certificate and the password, and where the files are."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def more(broker: Broker) -> str:
        authority = Authority.made(broker.directory)
        authority.vouches_for("broker")
        authority.vouches_for("daymark")
        here, own = broker.directory, broker.port
        return f"""
listeners=CLIENTS://127.0.0.1:{own},CONTROLLER://127.0.0.1:{own + 1},GUARDED://127.0.0.1:{port}
advertised.listeners=CLIENTS://127.0.0.1:{own},GUARDED://127.0.0.1:{port}
listener.security.protocol.map=CLIENTS:PLAINTEXT,CONTROLLER:PLAINTEXT,GUARDED:SASL_SSL
listener.name.guarded.ssl.keystore.type=PEM
listener.name.guarded.ssl.keystore.location={here}/broker.both
listener.name.guarded.ssl.truststore.type=PEM
listener.name.guarded.ssl.truststore.location={here}/ca.pem
listener.name.guarded.ssl.client.auth=required
listener.name.guarded.sasl.enabled.mechanisms=PLAIN
listener.name.guarded.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \\
  user_daymark="{PASSWORD}";
"""

    with own_broker(more) as broker:
        yield f"kafka://127.0.0.1:{port}", broker.directory


def allowed(directory: Path, **differs: Any) -> Settings:
    told: dict[str, Any] = {
        "kafka_tls": True,
        "kafka_ca_file": directory / "ca.pem",
        "kafka_certificate_file": directory / "daymark.pem",
        "kafka_key_file": directory / "daymark.key",
        "kafka_sasl": "PLAIN",
        "kafka_user": "daymark",
        "kafka_password": PASSWORD,
    }
    return Settings(**{name: value for name, value in (told | differs).items() if value is not None})


@pytest.mark.kafka
@pytest.mark.slow
async def test_every_client_of_the_bus_comes_in_with_our_certificate_and_password(guarded: tuple[str, Path]) -> None:
    url, directory = guarded
    ledger = Ledger()
    async with open_bus(url, access=allowed(directory).kafka_access()) as bus:
        await bus.apply_topics([TopicSpec("guarded", 1)])
        await said(bus, Letter("guarded", "k", b"hello"))
        subscription = await bus.subscribe("hearers", ["guarded"], ledger.claim)
        async with asyncio.timeout(30):
            while not ledger.kept:
                ledger.keep(await subscription.batch(max_records=5, wait_s=1))
        await subscription.abandon()
    assert ledger.values() == [b"hello"]


async def said(bus: Bus, letter: Letter) -> None:
    publisher = await bus.publisher()
    await publisher.publish([letter])
    await publisher.abandon()


@pytest.mark.kafka
@pytest.mark.slow
async def test_without_any_part_of_the_access_nobody_comes_in(guarded: tuple[str, Path]) -> None:
    url, directory = guarded
    for differs in (
        {"kafka_password": "another"},
        {"kafka_user": "somebody"},
        {"kafka_certificate_file": None, "kafka_key_file": None},
        {"kafka_ca_file": None},  # whom the machine trusts never vouched for this broker
        {"kafka_sasl": None, "kafka_user": None, "kafka_password": None},
    ):
        async with open_bus(url, access=allowed(directory, **differs).kafka_access()) as bus:
            with pytest.raises(Unavailable) as refused:
                await bus.ping()
            assert PASSWORD not in str(refused.value)


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_scram_is_spoken_over_tls_or_without(mechanism: str) -> None:
    for tls in (False, True):
        settings = Settings(kafka_tls=tls, kafka_sasl=mechanism, kafka_user="ann", kafka_password="x")
        made = Cluster("k:9092", settings.kafka_access()).arguments
        assert made["security_protocol"] == ("SASL_SSL" if tls else "SASL_PLAINTEXT")
        assert (made["sasl_mechanism"], made["sasl_plain_username"], made["sasl_plain_password"]) == (
            mechanism,
            "ann",
            "x",
        )
        assert ("ssl_context" in made) is tls

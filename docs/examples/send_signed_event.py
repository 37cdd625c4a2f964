"""Tell Daymark of a deploy by the topic `daymark.inbound`, signed with Ed25519.

    export DAYMARK_DATABASE_URL=postgresql://...        # the admin's: only to register the key, once
    .venv/bin/python docs/examples/send_signed_event.py register deployer.key
    export DAYMARK_BUS_URL=kafka://127.0.0.1:9092
    .venv/bin/python docs/examples/send_signed_event.py deployed deployer.key sig_... servicenow CHG0041

`register` makes the private key where it is new (mode 600), and lets the principal `local|deployer` report deploys and
rollbacks with it. `deployed` signs one event and sends it. Sending uses Daymark's own bus only to be short: any Kafka client
will do, for what matters are the headers, the value to the byte, and a key (the CR's name) that keeps one CR in order.
"""

import asyncio
import json
import os
import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shared import keys
from shared.bus import Letter, open_bus
from shared.contracts.inbound import TOPIC
from shared.contracts.signing import signed_headers


def private_key(file: Path) -> Ed25519PrivateKey:
    """The key in `file`; a new one is written there when it does not exist."""
    if not file.exists():
        raw = Ed25519PrivateKey.generate().private_bytes_raw()
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(raw)
    return Ed25519PrivateKey.from_private_bytes(file.read_bytes())


async def register(key: Ed25519PrivateKey) -> str:
    """Register the public half for the principal `local|deployer`; the id to sign under."""
    public = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    admin = await asyncpg.connect(os.environ["DAYMARK_DATABASE_URL"])
    try:
        principal = await keys.grant(admin, "deployer", name="The deployer", roles=["integration"], product="*")
        return await keys.register_signing_key(
            admin, principal, public, scopes=["report_deployed", "report_rolled_back"]
        )
    finally:
        await admin.close()


async def deployed(key: Ed25519PrivateKey, key_id: str, source: str, external_id: str) -> None:
    """Say that this CR went live just now."""
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    data = json.dumps({"source": source, "external_id": external_id, "deployed_at": now}).encode()
    headers = signed_headers(
        key,
        key_id,
        source="https://deployer.example",
        id=str(uuid.uuid4()),  # yours, and the same when you send the same event again
        time=now,  # within five minutes of Daymark's
        type="inbound.cr.deployed.v1",
        data=data,
    )
    async with open_bus(os.environ.get("DAYMARK_BUS_URL") or os.environ["DAYMARK_DATABASE_URL"]) as bus:
        publisher = await bus.publisher()
        try:
            await publisher.publish([Letter(TOPIC, f"{source}/{external_id}", data, headers)])
        finally:
            await publisher.abandon()


def main(arguments: list[str]) -> None:
    match arguments:
        case ["register", file]:
            print(asyncio.run(register(private_key(Path(file)))))
        case ["deployed", file, key_id, source, external_id]:
            asyncio.run(deployed(private_key(Path(file)), key_id, source, external_id))
            print(f"sent: {source} {external_id} was deployed")
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])

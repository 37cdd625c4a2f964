"""A client of the bus that cannot be revived ends the process with 70, for whoever supervises it to start it anew."""

import asyncio
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from shared.bus import BusBroken
from shared.consumer import Consumer
from shared.contracts import CRWithdrawn
from shared.telemetry import Telemetry


class _Ended(BaseException):
    pass


class _Broken:
    """A bus whose members hear nothing for good."""

    async def subscribe(self, *_: object) -> Any:
        async def batch(**_: object) -> NoReturn:
            raise BusBroken("silent after three rebuilds")

        async def abandon() -> None: ...

        return SimpleNamespace(batch=batch, abandon=abandon)


async def test_a_broken_bus_ends_the_process_with_70(monkeypatch: pytest.MonkeyPatch) -> None:
    codes: list[int] = []

    def end(code: int) -> NoReturn:
        codes.append(code)
        raise _Ended

    async def step(*_: object) -> None: ...

    monkeypatch.setattr("shared.consumer.os._exit", end)
    db, telemetry = SimpleNamespace(service="intake"), Telemetry("intake", version="test")
    consumer = Consumer(db, _Broken(), telemetry, on={CRWithdrawn: step}, raw={})  # type: ignore[arg-type]
    with pytest.raises(_Ended):
        await asyncio.wait_for(consumer.run(), 10)
    assert codes == [70]

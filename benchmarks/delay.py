"""A TCP proxy that delays the data that clients send: `python -m benchmarks.delay PORT TARGET`."""

import asyncio
import sys
from collections import deque

# The delay of each round trip, in seconds
DELAY = 0.020


class End(asyncio.Protocol):
    """One end of a connection. Its data is sent to `other` in order, `delay` seconds after it arrives."""

    other: "End"
    transport: asyncio.Transport

    def __init__(self, delay: float) -> None:
        self.delay = delay
        self.waiting: deque[bytes] = deque()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.later(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.later(b"")

    def later(self, data: bytes) -> None:
        self.waiting.append(data)
        if self.delay:
            asyncio.get_running_loop().call_later(self.delay, self.deliver)
        else:
            self.deliver()

    def deliver(self) -> None:
        """Sends the oldest data, because timers may fire in another order. Empty data closes the connection."""
        data = self.waiting.popleft()
        if data:
            self.other.transport.write(data)
        else:
            self.other.transport.close()


class Client(End):
    def __init__(self, target: int) -> None:
        super().__init__(DELAY)
        self.target = target

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.pause_reading()
        self.connecting = asyncio.create_task(self.connect())

    async def connect(self) -> None:
        loop = asyncio.get_running_loop()
        _, self.other = await loop.create_connection(lambda: End(0), "127.0.0.1", self.target)
        self.other.other = self
        self.transport.resume_reading()


async def main(port: int, target: int) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: Client(target), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:])))

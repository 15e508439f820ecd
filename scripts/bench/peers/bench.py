"""The benchmark's programs on Python's asyncio.

bench.py asyncio|uvloop NAME ARGS...: the same work, arguments and figures as NAME.lua.
"""
import asyncio
import random
import sys
from time import perf_counter as now


def each(started, n):
    print("ns", (now() - started) * 1e9 / n)


async def switch(tasks, yields):
    async def worker():
        for _ in range(yields):
            await asyncio.sleep(0)

    started = now()
    await asyncio.gather(*[worker() for _ in range(tasks)])
    each(started, tasks * yields)


async def spawn(n, batch):
    async def same(x):
        return x

    started = now()
    for _ in range(n // batch):
        results = await asyncio.gather(*[same(i) for i in range(batch)])
        assert len(results) == batch
    each(started, n // batch * batch)


async def await_(n):
    async def same(x):
        return x

    started, total = now(), 0
    for _ in range(n):
        total += await same(1)
    each(started, n)
    assert total == n


async def timers(n, ms):
    async def sleeper():
        await asyncio.sleep(random.random() * ms / 1000)

    random.seed(1)
    started = now()
    tasks = [asyncio.create_task(sleeper()) for _ in range(n)]
    for task in tasks:
        await task
    print("over", now() - started - ms / 1000)


async def processes(n, rounds, pipe=None):
    async def quiet():
        process = await asyncio.create_subprocess_exec("/bin/true")
        return await process.wait()

    async def loud():
        process = await asyncio.create_subprocess_exec("/bin/echo", "x", stdout=asyncio.subprocess.PIPE)
        out, _ = await process.communicate()
        assert out == b"x\n"
        return process.returncode

    started = now()
    for _ in range(rounds):
        codes = await asyncio.gather(*[loud() if pipe else quiet() for _ in range(n)])
        assert not any(codes)
    print("us", (now() - started) * 1e6 / (n * rounds))


async def queue(n, size):
    async def produce():
        for i in range(n):
            await items.put(i)

    async def consume():
        total = 0
        for _ in range(n):
            total += await items.get()
        return total

    items = asyncio.Queue(size)
    started = now()
    producer = asyncio.create_task(produce())
    total = await consume()
    await producer
    each(started, n)
    assert total == n * (n - 1) // 2


async def lock(tasks, times, mode):
    async def alone():
        own = asyncio.Lock()
        for _ in range(times):
            async with own:
                pass

    async def contended():
        for _ in range(times):
            async with shared:
                await asyncio.sleep(0)

    shared = asyncio.Lock()
    worker = contended if mode == "contended" else alone
    started = now()
    await asyncio.gather(*[worker() for _ in range(tasks)])
    each(started, tasks * times)


async def echo(port):
    """The server on streams."""

    async def serve(reader, writer):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


async def echo_protocol(port):
    """The server on protocols: callbacks instead of tasks."""

    class Echo(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, data):
            self.transport.write(data)

    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


async def tls(certificate, key, port):
    """The TLS server on streams."""
    import ssl

    async def serve(reader, writer):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    server = await asyncio.start_server(serve, "127.0.0.1", port, backlog=1024, ssl=context)
    await server.serve_forever()


async def udp(port):
    """A UDP server: asyncio has protocols for that, and nothing else."""

    class Echo(asyncio.DatagramProtocol):
        def connection_made(self, transport):
            self.transport = transport

        def datagram_received(self, data, addr):
            self.transport.sendto(data, addr)

    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", port))
    await loop.create_future()
    transport.close()


def same(x):
    return x


async def executor(n, batch):
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, same, 0)
    started = now()
    if batch == 1:
        for i in range(n):
            await loop.run_in_executor(None, same, i)
    else:
        for _ in range(n // batch):
            await asyncio.gather(*[loop.run_in_executor(None, same, i) for i in range(batch)])
    each(started, n // batch * batch)


async def json(what, path, n):
    import json
    with open(path, encoding="utf-8") as f:
        text = f.read()
    value = json.loads(text)
    started = now()
    if what == "decode":
        for _ in range(n):
            value = json.loads(text)
    else:
        for _ in range(n):
            json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    print("us", (now() - started) * 1e6 / n)
    assert len(value) == 620


async def client(mode, url, n, at_once):
    import time

    import aiohttp
    left = n

    async def worker(session):
        nonlocal left
        while left > 0:
            left -= 1
            async with session.get(url) as response:
                assert len(await response.read()) == 13

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=at_once)) as session:
        cpu, started = time.process_time(), now()
        await asyncio.gather(*[worker(session) for _ in range(at_once)])
        print("us", (time.process_time() - cpu) * 1e6 / n)
        print("each", (now() - started) * 1e6 / n)


PROGRAMS = {"switch": switch, "spawn": spawn, "await": await_, "timers": timers, "queue": queue,
            "lock": lock, "echo": echo, "echo-protocol": echo_protocol,
            "udp": udp, "processes": processes, "tls": tls, "json": json,
            "executor": executor, "client": client}

if __name__ == "__main__":
    loop, name, *args = sys.argv[1:]
    if loop == "uvloop":
        import uvloop
        uvloop.install()
    asyncio.run(PROGRAMS[name](*[int(a) if a.isdigit() else a for a in args]))

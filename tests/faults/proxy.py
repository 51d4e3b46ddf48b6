"""A TCP proxy between worker processes and their database, which misbehaves when it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading

CHUNK = 65_536


class Proxy:
    """Listens on a free port of this host and forwards to a database server.

    `forwards` cleared: a black hole, as of a broken link: nothing is passed on, and nobody is told.
    `delay_seconds`: each packet is late. `cut_all()`: every connection is reset. `cut_replies_to`:
    a statement with these words reaches the server, and the connection dies before the answer.
    """

    def __init__(self, *, host="", port=0, unix_socket=""):
        self.target = (host, port, unix_socket)
        self.delay_seconds = 0.0
        self.cuts = 0
        self._words, self._cuts_left = b"", 0
        self._links = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self):
        self._thread.start()
        self._call(self._listen())
        return self

    def __exit__(self, *exc_info):
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def as_database(self):
        """The part of a DATABASES entry that leads here."""
        return {"HOST": "127.0.0.1", "PORT": str(self.port), "OPTIONS": {}}

    def blackhole(self):
        """From now on pass nothing on, in either direction, of old and new connections."""
        self._loop.call_soon_threadsafe(self._may_pass.clear)

    def blackhole_present(self):
        """Pass nothing on for the connections that there are; those to come are not hindered."""
        for link in list(self._links):
            link.is_dead = True

    def forward(self):
        """Pass everything on again, what was kept back included."""
        self._loop.call_soon_threadsafe(self._may_pass.set)

    def cut_all(self):
        """Reset every connection."""
        self._call(self._cut_all())

    def cut_replies_to(self, words, *, times=1):
        """Cut the next so many connections that send these words, before the server's answer."""
        self._words, self._cuts_left = words, times

    # On the loop

    def _call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _listen(self):
        self._may_pass = asyncio.Event()
        self._may_pass.set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self):
        self._server.close()
        await self._cut_all()
        mine = asyncio.current_task()
        others = [task for task in asyncio.all_tasks() if task is not mine]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader, writer):
        host, port, unix_socket = self.target
        try:
            if unix_socket:
                upstream = await asyncio.open_unix_connection(unix_socket)
            else:
                upstream = await asyncio.open_connection(host, port)
        except OSError:
            writer.close()
            return
        link = _Link(writer, upstream[1])
        self._links.add(link)
        try:
            await asyncio.gather(
                self._pass(reader, upstream[1], link, is_request=True),
                self._pass(upstream[0], writer, link, is_request=False),
            )
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._links.discard(link)
            link.close()

    async def _pass(self, reader, writer, link, *, is_request):
        while data := await reader.read(CHUNK):
            if is_request and self._cuts_left and self._words in data:
                self._cuts_left -= 1
                link.is_doomed = True
            if not is_request and link.is_doomed:
                self.cuts += 1
                link.reset()
                return
            if self.delay_seconds:
                await asyncio.sleep(self.delay_seconds)
            await self._may_pass.wait()
            if link.is_dead:
                continue
            writer.write(data)
            await writer.drain()
        with contextlib.suppress(OSError):
            writer.close()

    async def _cut_all(self):
        for link in list(self._links):
            link.reset()


class _Link:
    """One client's connection and ours to the server."""

    def __init__(self, client, server):
        self.client, self.server = client, server
        self.is_doomed = self.is_dead = False

    def reset(self):
        """Close with a reset: whoever reads or writes gets an error at once."""
        with contextlib.suppress(OSError):
            self.client.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
        self.client.transport.abort()
        self.server.transport.abort()

    def close(self):
        self.client.close()
        self.server.close()

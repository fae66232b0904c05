# A server of the same four pages as the Go origin, for any ASGI server.
import asyncio, hashlib, os, urllib.request

ORIGIN = os.environ["ORIGIN"]


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    path = scope["path"]
    if path == "/early":
        await send({"type": "http.response.start", "status": 413, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b"too large"})
        return
    if path == "/slow":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        gone = asyncio.ensure_future(leave(receive))
        while not gone.done():
            await send({"type": "http.response.body", "body": b"data: x\n\n", "more_body": True})
            await asyncio.sleep(0.05)
        url = ORIGIN + "/left?" + scope["query_string"].decode()
        await asyncio.get_event_loop().run_in_executor(None, lambda: urllib.request.urlopen(url).read())
        return
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    digest = hashlib.sha256(body).hexdigest().encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-sum", digest)]})
    await send({"type": "http.response.body", "body": body})


async def leave(receive):
    while (await receive())["type"] != "http.disconnect":
        pass

#!/usr/bin/env bash
# starlette-context 0.4.0: an X-Request-Id that is no UUID makes a server answer 400 with no body.
#
# RequestIdPlugin checks the header by default, so a tracing id of another form ends the request
# before the application sees it, with nothing that names the header.  The OpenAI-compatible
# server of llama-cpp-python (0.3.36) uses it so: clients that send ids of their own get no answer there.
#
# Seen with starlette-context 0.4.0, starlette 0.46.2, Python 3.11, on 2026-11-30.
# Exit status 0: as described; 1: it behaves otherwise now.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q starlette-context==0.4.0 starlette==0.46.2 httpx==0.28.1
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys


def check(what, found, expected):
    print("%s: %s" % (what, found))
    if found != expected:
        raise SystemExit("expected: %s" % (expected,))


from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette_context import plugins
from starlette_context.middleware import RawContextMiddleware
from starlette.middleware import Middleware


async def page(request):
    return PlainTextResponse("here")


app = Starlette(routes=[Route("/", page)], middleware=[Middleware(RawContextMiddleware, plugins=(plugins.RequestIdPlugin(),))])
client = TestClient(app)


def answer(value):
    reply = client.get("/", headers={} if value is None else {"X-Request-Id": value})
    return reply.status_code, reply.text


check("no header", answer(None), (200, "here"))
check("a UUID", answer("0b7f0d3e-5a3c-4f7e-9d53-0a9c1f2e3d4c"), (200, "here"))
check("a UUID without dashes", answer("0b7f0d3e5a3c4f7e9d530a9c1f2e3d4c"), (200, "here"))
check("another id", answer("job-12345-1"), (400, ""))
PYTHON
echo "as described"

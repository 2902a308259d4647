#!/usr/bin/env bash
# LiteLLM proxy 1.108.7: one 401 of the only deployment is a 429 for everybody for 5 seconds.
#
# A status that says nothing about load (the worker refuses one request) puts the deployment into cooldown;
# with no other, all clients get 429 "No deployments available", Retry-After 5, and the worker is not
# asked.  X-Request-Id of a client is not passed on.
#
# Seen with litellm[proxy] 1.108.7, Python 3.11, on 2026-11-30.
# Exit status 0: as described; 1: it behaves otherwise now.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q 'litellm[proxy]==1.108.7'
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import http.server, json, os, socket, subprocess, sys, threading, time, urllib.error, urllib.request

FOLDER = sys.argv[1]
CHAT = "/v1/chat/completions"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Worker:
    """An inference server that notes what it gets; status() says how it answers."""

    def __init__(self, status=lambda path: 200):
        self.seen = []
        worker = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def answer(self, status, body):
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def do_GET(self):
                self.answer(200, {"object": "list", "model_path": "m", "data": [{"id": "m", "object": "model", "owned_by": "us"}]})

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
                worker.seen.append((self.path, body, dict(self.headers)))
                code = status(self.path)
                choice = {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
                self.answer(code, {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice],
                                   "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}
                            if code == 200 else {"error": {"message": "busy", "type": "x", "code": code}})

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = "http://127.0.0.1:%d" % self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def chats(self):
        return [s for s in self.seen if s[0] == CHAT]


def ask(url, body=None, headers={}):
    """Status, text and headers; status 0 without an answer"""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.status, reply.read().decode(), dict(reply.headers)
    except urllib.error.HTTPError as reply:
        return reply.code, reply.read().decode(), dict(reply.headers)
    except OSError as error:
        return 0, str(error), {}


def until(condition, what, seconds=120):
    end = time.time() + seconds
    while not condition():
        if time.time() > end:
            raise SystemExit("never came true: " + what)
        time.sleep(0.1)


def chat(number=0, **more):
    text = "The same beginning for each request, as prompts with a common rubric have it. " * 20
    return {"model": "m", "messages": [{"role": "user", "content": text + str(number)}], "max_tokens": 5, **more}


def check(what, found, expected):
    print("%s: %s" % (what, found))
    if found != expected:
        raise SystemExit("expected: %s" % (expected,))


def serve(command, ready, **env):
    """Runs a server until the block ends; ready(url) says when it is up"""
    port = free_port()
    url = "http://127.0.0.1:%d" % port
    command = [w.replace("PORT2", str(free_port())).replace("PORT", str(port)) for w in command]
    command[0] = os.path.join(FOLDER, "venv/bin", command[0])
    log = open(os.path.join(FOLDER, "log"), "a")
    process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **env})
    until(lambda: ready(url), "server is up")
    return url, process


def stop(process):
    process.terminate()
    process.wait(30)


status = [200]
worker = Worker(lambda path: status[0])
config = os.path.join(FOLDER, "config.yaml")
with open(config, "w") as file:
    file.write("""model_list:
  - model_name: m
    litellm_params: {model: openai/m, api_base: "%s/v1", api_key: none}
general_settings: {master_key: sk-right}
""" % worker.url)
KEY = {"Authorization": "Bearer sk-right"}
url, proxy = serve(["litellm", "--config", config, "--host", "127.0.0.1", "--port", "PORT"],
                   lambda u: ask(u + "/health/liveliness")[0] == 200, LITELLM_LOCAL_MODEL_COST_MAP="True")
try:
    check("at first", ask(url + CHAT, chat(), {**KEY, "X-Request-Id": "id-1"})[0], 200)
    check("X-Request-Id arrived", "x-request-id" in [h.lower() for h in worker.chats()[-1][2]], False)
    status[0] = 401
    check("the worker refuses one request", ask(url + CHAT, chat(), KEY)[0], 401)
    status[0] = 200
    before = len(worker.chats())
    code, text, headers = ask(url + CHAT, chat(), KEY)
    check("the next client, with a worker that is well", code, 429)
    check("Retry-After", {k.lower(): v for k, v in headers.items()}.get("retry-after"), "5")
    check("asked the worker", len(worker.chats()) - before, 0)
    until(lambda: ask(url + CHAT, chat(), KEY)[0] == 200, "answers come again", 30)
finally:
    stop(proxy)
PYTHON
echo "as described"

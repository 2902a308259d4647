#!/usr/bin/env bash
# LiteLLM proxy 1.108.7: a client that has gone is not told to the server, which generates to the end for nobody.
#
# The client closes its connection (a statement was cancelled, a time limit is over); LiteLLM goes on waiting for
# the answer, so that the GPU is busy with it.  Only general_settings: cancel_on_disconnect: true, which is off as it
# comes, closes the connection to the server.
#
# Seen with litellm[proxy] 1.108.7, Python 3.11, on 2026-11-30.
# LITELLM=DIR takes the environment that is in DIR, or makes it there.
# Exit status 0: as described; 1: it behaves otherwise now.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
venv=${LITELLM:-$folder/venv}
if [ ! -e "$venv/bin/litellm" ]; then
  python3 -m venv "$venv"
  "$venv/bin/pip" install -q 'litellm[proxy]==1.108.7'
fi
"$venv/bin/python" - "$folder" "$venv" <<'PYTHON'
import http.server, json, os, select, socket, subprocess, sys, threading, time, urllib.error, urllib.request

FOLDER, VENV = sys.argv[1:]
CHAT = "/v1/chat/completions"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Worker:
    """An inference server that notes what it gets; status() says how it answers."""

    def __init__(self, status=lambda path: 200):
        self.seen = []
        self.seconds = 0        # that an answer takes
        self.working = 0
        self.told = 0           # that the client has gone
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
                worker.working += 1
                readable = select.select([self.connection], [], [], worker.seconds)[0]
                worker.working -= 1
                if readable and not self.connection.recv(1, socket.MSG_PEEK):
                    worker.told += 1
                    return
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


def until(condition, what, seconds=600):
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
    command[0] = os.path.join(VENV, "bin", command[0])
    log = open(os.path.join(FOLDER, "log"), "a")
    process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **env})
    until(lambda: ready(url), "server is up")
    return url, process


def stop(process):
    process.terminate()
    process.wait(30)


def run(general):
    """How many of 8 requests whose clients go the worker hears of"""
    worker = Worker()
    config = os.path.join(FOLDER, "config.yaml")
    with open(config, "w") as file:
        file.write("""model_list:
  - model_name: m
    litellm_params: {model: hosted_vllm/m, api_base: "%s/v1", api_key: none}
general_settings: {master_key: sk-right%s}
""" % (worker.url, general))
    url, proxy = serve(["litellm", "--config", config, "--host", "127.0.0.1", "--port", "PORT"],
                       lambda u: ask(u + "/health/liveliness")[0] == 200, LITELLM_LOCAL_MODEL_COST_MAP="True")
    try:
        check("an answer", ask(url + CHAT, chat(), {"Authorization": "Bearer sk-right"})[0], 200)
        worker.seconds = 15
        clients = []
        for n in range(8):
            s = socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1])))
            data = json.dumps(chat(n)).encode()
            s.sendall(b"POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk-right\r\nContent-Type: application/json\r\n"
                      b"Content-Length: %d\r\n\r\n%s" % (CHAT.encode(), len(data), data))
            clients.append(s)
        until(lambda: worker.working == 8, "8 requests are at the worker")
        for s in clients:
            s.close()
        until(lambda: worker.working == 0, "the worker has done with them")
        return worker.told
    finally:
        stop(proxy)


check("as it comes: the worker hears of", run(""), 0)
check("with cancel_on_disconnect: true", run(", cancel_on_disconnect: true"), 8)
PYTHON
echo "as described"

#!/usr/bin/env bash
# sglang-router 0.3.2: --max-concurrent-requests does not bound what runs at once.
#
# It is a bucket of N tokens that is filled again at N a second, whether requests end or not.  With a
# limit of 2, ten requests of 6 s that come half a second apart all run at once.  And of twelve that
# come together under a limit of 4, with a queue of 100 and --queue-timeout-secs 60, eight get 408
# with an empty body within a second: they wait for one token, not for the queue's time.
#
# Seen with sglang-router 0.3.2, Python 3.11, on 2026-11-30.
# Exit status 0: as described; 1: it behaves otherwise now.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q sglang-router==0.3.2
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


from concurrent.futures import ThreadPoolExecutor

lock = threading.Lock()
running = {"now": 0, "most": 0, "seconds": 6}


def slow(path):
    with lock:
        running["now"] += 1
        running["most"] = max(running["most"], running["now"])
    time.sleep(running["seconds"])
    with lock:
        running["now"] -= 1
    return 200


def start(limit):
    return serve(["python", "-m", "sglang_router.launch_router", "--host", "127.0.0.1", "--port", "PORT", "--prometheus-port", "PORT2", "--worker-urls", worker.url, "--max-concurrent-requests", str(limit), "--queue-size", "100", "--queue-timeout-secs", "60"], lambda u: ask(u + "/v1/models")[0] == 200)


def late(number):
    time.sleep(number * 0.5)
    return ask(url + CHAT, chat(number))[0]


worker = Worker(slow)
url, router = start(2)
try:
    with ThreadPoolExecutor(20) as pool:
        check("limit 2, half a second apart", list(pool.map(late, range(10))), [200] * 10)
    check("running at once", running["most"] > 2 * 2, True)
finally:
    stop(router)
running["seconds"] = 2
url, router = start(4)
try:
    with ThreadPoolExecutor(20) as pool:
        replies = list(pool.map(lambda n: ask(url + CHAT, chat(n))[:2], range(12)))
    refused = [text for status, text in replies if status == 408]
    print("limit 4, twelve together: %d answered, %d x 408" % (sum(s == 200 for s, t in replies), len(refused)))
    check("some are refused although the queue has room", len(refused) > 0, True)
    check("with words", sorted(set(refused)), [""])
finally:
    stop(router)
PYTHON
echo "as described"

"""A client that sees every byte, and the simulator as a process; for
selftest.py, and for whoever wants to drive the simulator from Python."""
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import tempfile
import time

WORK = tempfile.mkdtemp(prefix="simtest.")
running = []                    # processes to be killed if a test fails

# Seconds that nothing takes, on however busy a machine: who waits for so long waits in vain
LONG = 120


class Reply:
    """status 0: no HTTP reply; end: closed, reset, timeout or whole"""

    def __init__(self):
        self.status, self.headers, self.body, self.end = 0, {}, b"", ""

    def json(self):
        return json.loads(self.body)

    def text(self):
        return self.json()["choices"][0]["message"]["content"]

    def score(self):
        return re.findall(r"<score>\s*(.*?)\s*</score>", self.text())[-1]

    def __repr__(self):
        return f"{self.status} {self.end} {self.headers} {self.body[:300]!r}"


class Conn:
    """A client that sees every byte"""

    def __init__(self, sim, timeout=LONG, control=False):
        if sim.unix and not control:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(timeout)
            self.sock.connect(sim.unix)
        else:
            port = sim.control_port if control else sim.port
            self.sock = socket.create_connection(("127.0.0.1", port), timeout)
            if sim.tls and not control:
                ctx = ssl.create_default_context()
                ctx.check_hostname = False
                ctx.verify_mode = ssl.CERT_NONE
                self.sock = ctx.wrap_socket(self.sock)
        self.rest = b""

    def send(self, method, path, body=None, headers=None):
        head = {"Host": "sim", **(headers or {})}
        if body is not None:
            head.setdefault("Content-Type", "application/json")
            head["Content-Length"] = len(body)
        lines = [f"{method} {path} HTTP/1.1"] + [f"{k}: {v}" for k, v in head.items()]
        self.sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + (body or b""))

    def more(self, reply):
        try:
            data = self.sock.recv(65536)
        except socket.timeout:
            reply.end = "timeout"
            return False
        except (ConnectionResetError, BrokenPipeError, ssl.SSLError):
            reply.end = "reset"
            return False
        if not data:
            reply.end = "closed"
            return False
        self.rest += data
        return True

    def recv(self, head_only=False):
        reply = Reply()
        while b"\r\n\r\n" not in self.rest:
            if not self.more(reply):
                reply.body = self.rest
                return reply
        if not self.rest.startswith(b"HTTP/1."):
            while self.more(reply):
                pass
            reply.body = self.rest
            return reply
        head, self.rest = self.rest.split(b"\r\n\r\n", 1)
        lines = head.decode("latin-1").split("\r\n")
        reply.status = int(lines[0].split()[1])
        for line in lines[1:]:
            k, v = line.split(":", 1)
            reply.headers[k.lower()] = v.strip()
        if head_only:
            return reply
        if reply.headers.get("transfer-encoding") == "chunked":
            return self.chunks(reply)
        want = int(reply.headers.get("content-length", "0"))
        while len(self.rest) < want:
            if not self.more(reply):
                reply.body = self.rest
                return reply
        reply.body, self.rest = self.rest[:want], self.rest[want:]
        reply.end = "whole"
        return reply

    def chunks(self, reply):
        while True:
            while b"\r\n" not in self.rest:
                if not self.more(reply):
                    return reply
            size, self.rest = self.rest.split(b"\r\n", 1)
            n = int(size, 16)
            while len(self.rest) < n + 2:
                if not self.more(reply):
                    reply.body += self.rest
                    return reply
            reply.body += self.rest[:n]
            self.rest = self.rest[n + 2:]
            if n == 0:
                reply.end = "whole"
                return reply

    def silent(self, seconds=0.3):
        """Nothing comes for so long, neither a byte nor the end"""
        reply = Reply()
        self.sock.settimeout(seconds)
        self.more(reply)
        self.sock.settimeout(LONG)
        return reply.end == "timeout"

    def ask(self, *args, **kw):
        self.send(*args, **kw)
        return self.recv()

    def close(self):
        self.sock.close()


class Sim:
    binary = "simulator"
    started = 0

    def __init__(self, *options, unix=None, tls=False):
        Sim.started += 1
        self.file = os.path.join(WORK, f"port{Sim.started}")
        self.unix, self.tls = unix, tls
        where = ["--unix", unix] if unix else ["--port", "0"]
        self.proc = subprocess.Popen(
            [self.binary, *where, "--control-port", "0", "--port-file", self.file,
             "--die-with-parent", *map(str, options)])
        running.append(self.proc)
        end = time.monotonic() + LONG
        while not os.path.exists(self.file):
            if self.proc.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"simulator did not start: {options}")
            time.sleep(0.01)
        words = open(self.file).read().split()
        self.port = 0 if unix else int(words[0])
        self.control_port = int(words[1])

    def ctl(self, method, path, body=None):
        c = Conn(self, control=True, timeout=2 * LONG)
        r = c.ask(method, path, body=None if body is None else json.dumps(body).encode())
        c.close()
        return r

    def control(self, **settings):
        r = self.ctl("POST", "/sim/control", settings)
        if r.status != 200:
            raise RuntimeError(f"control {settings}: {r}")
        return r.json()

    def stats(self):
        return self.ctl("GET", "/sim/stats").json()

    def wait(self, query, ms=LONG * 1000):
        return self.ctl("GET", f"/sim/wait?{query}&timeout_ms={ms}").status == 200

    def reset(self):
        return self.ctl("POST", "/sim/reset")

    def log(self, n=1):
        return self.ctl("GET", f"/sim/log?n={n}").json()

    def chat(self, doc="a document about replicas", query="do replicas lag",
             mark="", headers=None, **fields):
        c = Conn(self)
        r = c.ask("POST", "/v1/chat/completions", chat_body(doc, query, mark, **fields), headers)
        c.close()
        return r

    def begin(self, **kw):
        """Sends a chat request, returns the connection when it has arrived"""
        c = Conn(self)
        chat = self.stats()["chat"]
        c.send("POST", "/v1/chat/completions",
               chat_body(kw.pop("doc", "doc"), kw.pop("query", "query"), kw.pop("mark", ""), **kw))
        self.wait(f"chat={chat + 1}")
        return c

    def stop(self, sig=signal.SIGTERM):
        self.proc.send_signal(sig)
        rc = self.proc.wait(LONG)
        running.remove(self.proc)
        return rc


TEMPLATE = """Here is the **relevance definition** in a retrieval task: X

Query (query):
[Begin of Query]
{query}
[End of Query]

Document (document):
[Begin of Document]
{doc}
[End of Document]
"""


def prompt(doc, query):
    return TEMPLATE.replace("{query}", query).replace("{doc}", doc)


def chat_body(doc, query, mark="", **fields):
    if mark:
        doc += f" [[sim:{mark}]]"
    body = {"model": "m", "messages": [{"role": "user", "content": prompt(doc, query)}],
            "max_tokens": 1024, "temperature": 0.6}
    body.update(fields)
    return json.dumps({k: v for k, v in body.items() if v is not ...}).encode()

"""The failures of the simulator, and sockets and TLS, for selftest.py"""
import gzip
import json
import os
import re
import shutil
import socket
import subprocess
import time

from simcheck import check, is_json, refused
from simclient import WORK, Conn, Sim, chat_body


STATUS_MODES = {
    # mode: status, a piece of the body
    "status=500": (500, b'"object":"error"'), "status=418,message=tea,type=T,code=C,param=P": (418, b'"code":"C"'),
    "status=503,envelope=flat": (503, b'{"object":"error","message"'),
    "status=503,envelope=wrapped": (503, b'{"error":{"message"'),
    "status=503,envelope=string,message=busy": (503, b'{"error":"busy"}'),
    "status=400,envelope=detail": (400, b'{"detail":"Bad Request"}'),
    "status=422,envelope=details": (422, b'{"detail":[{'), "status=500,envelope=text,message=oops": (500, b"oops"),
    "status=502,envelope=html": (502, b"<h1>502 Bad Gateway</h1>"), "status=500,envelope=empty": (500, b""),
    "status=500,envelope=raw,message='{\"a\":1, ,'": (500, b'{"a":1, ,'),
    "status=408": (408, b""), "status=413": (413, b""), "status=429": (429, b""), "status=403": (403, b""),
    "too-long": (400, b"longer than the model's context length"), "too-long,tokens=77": (400, b"(77 tokens)"),
    "model=x": (404, b"is not served"), "auth": (401, b"Unauthorized"), "forbidden": (403, b"not allowed"),
    "quota": (429, b"insufficient_quota"), "rate-limit": (429, b"rate_limit_exceeded"),
    "queue-full": (503, b"queue is full"), "overloaded": (429, b'{"error":"Model is overloaded"'),
    "preempted": (503, b"higher priority"), "loading": (503, b""), "no-worker": (503, b"no_available_workers"),
    "shed": (429, b"worker_overload"), "engine-dead": (500, b""), "bad-gateway": (502, b"<html>"),
    "gateway-timeout": (504, b"<html>"), "duplicate-id": (400, b"already running"), "validation": (422, b'"loc"'),
}


def test_status_modes():
    s = Sim()
    for mark, (status, piece) in STATUS_MODES.items():
        r = s.chat(mark=mark)
        check(mark, r.status == status and piece in r.body and (piece or "empty" not in mark or not r.body), r)
    r = s.chat(mark="echo-key", headers={"Authorization": "Bearer sk-1234"})
    check("echo-key", r.status == 401 and b"provided: Bearer sk-1234" in r.body, r)
    check("echo-key=.. as 500", s.chat(mark="echo-key,status=500").status == 500)
    check("engine-dead is empty", s.chat(mark="engine-dead").body == b"")
    check("shed's header", s.chat(mark="shed").headers["x-smg-error-code"] == "worker_overload_protection_shed")
    for value in ("7", "junk", "99999999999999999999", "-3", "1.5"):
        r = s.chat(mark=f"status=503,retry-after={value}")
        check(f"Retry-After {value}", r.headers.get("retry-after") == value, r)
    r = s.chat(mark="rate-limit,retry-after=date:30")
    check("Retry-After as a date", re.match(r"\w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT", r.headers["retry-after"]), r)
    r = s.chat(mark="redirect=http://127.0.0.1:1/x,status=302")
    check("redirect", r.status == 302 and r.headers["location"] == "http://127.0.0.1:1/x", r)
    check("redirect 307", s.chat(mark="redirect=/y").status == 307)
    t = time.monotonic()
    r = s.chat(mark="status=500,delay=80")
    check("late failure", r.status == 500 and time.monotonic() - t > 0.07)
    check("unknown mode", s.chat(mark="nosuch").status == 400)
    check("unknown parameter", s.chat(mark="status=500,nosuch=1").status == 400)
    s.control(dialect="vllm")
    check("too-long in vllm's old words",
          b"in the messages" in s.chat(mark="too-long=old").body and b"at least" in s.chat(mark="too-long").body)
    s.control(dialect="llamacpp")
    check("too-long in llamacpp's words", b"exceed_context_size_error" in s.chat(mark="too-long").body)
    check("loading in llamacpp's words", b"Loading model" in s.chat(mark="loading").body)
    s.stop()


def test_content_modes():
    s = Sim()
    for v in ("150", "-5", "55.5", "seventy", ""):
        check(f"score={v}", s.chat(mark=f"score={v}").score() == v)
    check("score=42", s.chat(mark="score=42").score() == "42")
    r = s.chat(mark="no-score")
    check("no-score", "<score>" not in r.text() and r.json()["choices"][0]["finish_reason"] == "stop")
    r = s.chat(mark="abort")
    check("abort", "<score>" not in r.text() and r.json()["choices"][0]["finish_reason"] == "abort")
    r = s.chat(mark="length")
    check("length", "<score>" not in r.text() and r.json()["choices"][0]["finish_reason"] == "length")
    r = s.chat(mark="finish=content_filter")
    check("finish", "<score>" in r.text() and r.json()["choices"][0]["finish_reason"] == "content_filter")
    t = s.chat(mark="quoted-score").text()
    check("quoted-score", len(re.findall("<score>", t)) == 4 and t.endswith("</score>"), t)
    check("tail", s.chat(mark="tail").text().endswith("<score>\n"))
    t = s.chat(mark="think").text()
    check("think", t.startswith("<think>") and "<score>\n3\n" in t.split("</think>")[0])
    m = s.chat(mark="split").json()["choices"][0]["message"]
    check("split", "<score>" not in m["reasoning_content"] and m["content"].startswith("<score>"))
    m = s.chat(mark="reasoning-content").json()["choices"][0]["message"]
    check("reasoning-content", m["content"] is None and "</score>" in m["reasoning_content"])
    m = s.chat(mark="reasoning").json()["choices"][0]["message"]
    check("reasoning", m["content"] is None and "</score>" in m["reasoning"])
    m = s.chat(mark="null-content").json()["choices"][0]["message"]
    check("null-content", m == {"role": "assistant", "content": None}, m)
    m = s.chat(mark="parts").json()["choices"][0]["message"]
    check("parts", m["content"][0]["type"] == "text")
    check("nul", "\0" in s.chat(mark="nul").text())
    check("control", "\x1b[31m" in s.chat(mark="control").text())
    r = s.chat(mark="raw-control")
    check("raw-control", b"\x01\x1b\n" in r.body and "\x01" in
          json.loads(r.body, strict=False)["choices"][0]["message"]["content"])
    check("replacement", "\ufffd" in s.chat(mark="replacement").text())
    check("surrogate", "\ud83d alone" in s.chat(mark="surrogate").text())
    r = s.chat(mark="bad-utf8")
    try:
        r.body.decode()
        check("bad-utf8", False)
    except UnicodeDecodeError:
        check("bad-utf8", b"</score>" in r.body)
    check("unicode", "\U0001F600" in s.chat(mark="unicode").text())
    for v in ("missing", "null", "empty", "string", "wrong", "negative", "huge", "float"):
        j = s.chat(mark=f"usage={v}").json()
        check(f"usage={v}", ("usage" in j) == (v != "missing") and "choices" in j)
    for v in ("empty", "missing", "null", "nulls", "string", "object", "no-message", "null-message", "text"):
        j = s.chat(mark=f"choices={v}").json()
        check(f"choices={v}", ("choices" in j) == (v != "missing") and "usage" in j)
    check("choices=short", len(s.chat(mark="choices=short", n=3).json()["choices"]) == 2)
    check("choices=reversed",
          [c["index"] for c in s.chat(mark="choices=reversed", n=3).json()["choices"]] == [2, 1, 0])
    s.stop()


def test_body_modes():
    s = Sim()
    r = s.chat(mark="junk")
    check("junk", r.status == 200 and not is_json(r.body))
    r = s.chat(mark="truncated=100")
    check("truncated", r.end == "whole" and len(r.body) == 100 and not is_json(r.body), r)
    r = s.chat(mark="empty")
    check("empty", r.status == 200 and r.body == b"")
    r = s.chat(mark="sse-error")
    check("sse-error", r.status == 200 and r.body.startswith(b'data: {"error"') and
          r.headers["content-type"].startswith("text/event-stream"), r)
    r = s.chat(mark="error-200")
    check("error-200", r.status == 200 and "error" in r.json(), r)
    check("error-200=string", isinstance(s.chat(mark="error-200=string").json()["error"], str))
    check("error-200=flat", s.chat(mark="error-200=flat").json()["object"] == "error")
    for v, want in (("array", []), ("null", None), ("number", 50), ("string", "<score>50</score>"),
                    ("object", {}), ("true", True)):
        check(f"json={v}", s.chat(mark=f"json={v}").json() == want)
    check("body", s.chat(mark="body='{\"a\": [1, 2]}'").body == b'{"a": [1, 2]}')
    check("body, status", s.chat(mark="body=x,status=203").status == 203)
    check("success", [s.chat(mark=m).status for m in ("success", "success=206")] == [201, 206])
    check("success is an answer", "choices" in s.chat(mark="success").json())
    r = s.chat(mark="deep=5000")
    check("deep", r.body.count(b"[") == 5000)
    check("bom", s.chat(mark="bom").body.startswith(b"\xef\xbb\xbf{"))
    r = s.chat(mark="twice")
    check("twice", r.body[: len(r.body) // 2] == r.body[len(r.body) // 2:])
    r = s.chat(mark="padded=5000")
    check("padded", len(r.body) > 6000 and is_json(r.body))
    r = s.chat(mark="gzip")
    check("gzip", r.headers["content-encoding"] == "gzip" and is_json(gzip.decompress(r.body)), r)
    check("content-type", s.chat(mark="content-type=text/html").headers["content-type"] == "text/html")
    check("no content-type", "content-type" not in s.chat(mark="content-type=").headers)
    r = s.chat(mark="huge=3000000")
    check("huge", r.status == 200 and len(r.body) == 3000000, len(r.body))
    r = s.chat(mark="huge-chunked=3000000")
    check("huge-chunked", r.headers["transfer-encoding"] == "chunked" and len(r.body) == 3000000)
    c = s.begin(mark="huge=500000000")
    c.recv(head_only=True)
    c.close()
    check("huge, given up by the client", s.wait("connections=0&aborted=1"), s.stats())
    r = s.chat(mark="chunked")
    check("chunked", r.end == "whole" and "<score>" in r.text())
    c = s.begin(mark="hold")
    check("hold", s.wait("held=1") and s.chat().status == 200)
    s.ctl("POST", "/sim/release")
    check("hold, released", c.recv().status == 200)
    check("delay alone", s.chat(mark="none,delay=20").status == 200)
    s.stop()


def transport(s, name):
    """These need a stream that shows its end"""
    r = s.chat(mark="cut=300")
    check(f"{name}: cut", r.status == 200 and len(r.body) == 300 and r.end in ("closed", "reset") and
          int(r.headers["content-length"]) > 1000, r)
    r = s.chat(mark="chunked-cut=300")
    check(f"{name}: chunked-cut", r.status == 200 and r.end in ("closed", "reset"), r)
    c = s.begin(mark="stall=200")
    r = c.recv(head_only=True)
    while len(c.rest) < 200 and c.more(r):
        pass
    check(f"{name}: stall", r.status == 200 and c.silent() and len(c.rest) == 200, r, c.rest)
    c.close()
    t = time.monotonic()
    r = s.chat(mark="drip=20,bytes=300")
    check(f"{name}: drip", r.end == "whole" and "<score>" in r.text() and time.monotonic() - t > 0.06, r)
    r = s.chat(mark="close")
    check(f"{name}: close", r.status == 0 and r.body == b"" and r.end in ("closed", "reset"), r)
    c = s.begin(mark="hang")
    check(f"{name}: hang", c.silent() and s.wait("running=eq1&hung=eq1"), s.stats())
    c.close()
    check(f"{name}: hang freed", s.wait("running=0&hung=0"), s.stats())
    c = s.begin(mark="silent")
    check(f"{name}: silent", c.silent() and s.stats()["running"] == 0, s.stats())
    c.close()
    c = Conn(s)
    c.send("POST", "/v1/chat/completions", chat_body("d", "q", "last"))
    r = c.recv()
    check(f"{name}: last", r.headers.get("connection") == "close" and c.recv().end == "closed", r)
    c = Conn(s)
    c.send("POST", "/v1/chat/completions", chat_body("d", "q", "close-behind"))
    r = c.recv()
    check(f"{name}: close-behind", r.status == 200 and "close" not in r.headers.get("connection", "") and
          c.recv().end == "closed", r)
    check(f"{name}: all closed", s.wait("connections=0"), s.stats())


def test_transport_modes():
    s = Sim()
    transport(s, "tcp")
    r = s.chat(mark="reset")
    check("reset", r.status == 0 and r.end == "reset", r)
    r = s.chat(mark="cut-reset=300")
    check("cut-reset", r.status == 200 and r.end == "reset" and len(r.body) == 300, r)
    r = s.chat(mark="garbage")
    check("garbage", r.status == 0 and b"not HTTP" in r.body, r)
    check("garbage=TEXT", s.chat(mark="garbage=SSH-2.0").body == b"SSH-2.0")
    r = s.chat(mark="header-cut")
    check("header-cut", r.status == 0 and r.body.startswith(b"HTTP/1.1 200 OK\r\n"), r)
    c = s.begin(mark="bad-length")
    r = c.recv(head_only=True)
    check("bad-length", r.headers["content-length"] == "-5", r)
    r = s.chat(mark="huge-header=100000")
    check("huge-header", len(r.headers.get("x-padding", "")) == 100000, r)
    t = time.monotonic()
    r = s.chat(mark="reset,delay=80")
    check("late reset", r.end == "reset" and time.monotonic() - t > 0.07, r)
    c = s.begin(mark="hang")
    s.wait("hung=1")
    s.reset()
    check("reset closes what hangs", c.recv().end == "closed")
    s.chat(mark="cut=10"), s.chat(mark="close"), s.chat(mark="reset")
    check("broken off", s.wait("broken_off=eq3&chat=eq3"), s.stats())
    c = Conn(s)
    c.sock.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nX-Sim: status=413,early\r\n"
                   b"Content-Type: application/json\r\nContent-Length: 100000000\r\n\r\n{\"mod")
    r = c.recv()
    check("early answer", r.status == 413, r)
    check("then closed", c.recv().end in ("closed", "reset"))
    check("no connection left", s.wait("connections=0"), s.stats())
    s.stop()


def test_choice():
    s = Sim("--seed", 7)
    check("header", s.chat(headers={"X-Sim": "status=429"}).status == 429)
    check("marker in the query", s.chat(query="q [[sim:status=404]]").status == 404)
    got = [s.chat(doc="x", mark="status=500,times=2").status for _ in range(4)]
    check("marker, first two times", got == [500, 500, 200, 200], got)
    got = [s.chat(doc="y", mark="status=500,after=1,times=1").status for _ in range(3)]
    check("marker, the second time", got == [200, 500, 200], got)
    s.control(fail=[{"mode": "status", "status": 502, "times": 2, "after": 1}])
    got = [s.chat().status for _ in range(5)]
    check("rule", got == [200, 502, 502, 200, 200], got)
    s.control(fail_clear=True, fail=[{"mode": "status", "value": "500", "match": "poison"}])
    check("rule with match", s.chat(doc="poison").status == 500 and s.chat().status == 200)
    s.control(fail_clear=True, fail=[{"mode": "status", "p": 0.3}])
    n = sum(s.chat().status == 500 for _ in range(200))
    check("rule with p", 35 <= n <= 90, n)
    s.control(fail_clear=True, fail=[{"mode": "status", "status": 503, "path": "/health", "times": 1},
                                     {"mode": "truncated", "value": "5", "path": "/v1/models"}])
    c = Conn(s)
    check("rule for a path", c.ask("GET", "/health").status == 503 and c.ask("GET", "/health").status == 200)
    check("body of a path", c.ask("GET", "/v1/models").body == b'{"obj')
    s.control(fail_clear=True, fail=[{"mode": "close", "path": "all", "times": 1}])
    check("rule for all paths", c.ask("GET", "/health").end in ("closed", "reset"))
    st = s.stats()
    check("every request ends as one thing",
          st["chat"] == st["completed"] + st["errors"] + st["aborted"] + st["broken_off"], st)
    check("modes counted", st["failure_modes"]["status"] == st["failures"] - 2 - st["failure_modes"].get("truncated", 0)
          + 1 and st["failure_modes"]["close"] == 1, st)
    for bad in ({"nosuch": 1}, {"delay_ms": "x"}, {"fail": [{"mode": "nosuch"}]}, {"fail": {}},
                {"fail": [{"mode": "status", "nosuch": 1}]}, {"dialect": "x"}, {"jitter": -1}):
        check(f"control refuses {bad}", s.ctl("POST", "/sim/control", bad).status == 400)
    check("control refuses no JSON", s.ctl("POST", "/sim/control").status == 400)
    s.control(delay_ms=70, close_after=9)
    j = s.reset().json()
    check("reset", j["delay_ms"] == 0 and j["close_after"] == -1 and j["fail"] == [], j)
    modes = s.ctl("GET", "/sim/modes").json()
    check("modes listed", len(modes) > 50 and all(modes.values()))
    readme = open(os.path.join(os.path.dirname(os.path.abspath(Sim.binary)), "README.md")).read()
    missing = [m for m in modes if f"`{m}" not in readme]
    check("modes in the README", not missing, missing)
    s.stop()


def test_unix():
    path = os.path.join(WORK, "s.sock")
    s = Sim(unix=path)
    check("unix", s.chat().status == 200)
    transport(s, "unix")
    s.control(listen=False)
    check("unix refused", refused(s))
    s.control(listen=True)
    check("unix again", s.chat().status == 200)
    s.stop()
    check("socket removed", not os.path.exists(path))


def test_tls():
    key, cert = os.path.join(WORK, "key.pem"), os.path.join(WORK, "cert.pem")
    if not shutil.which("openssl"):
        print("skipped: TLS (no openssl)")
        return
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert,
                    "-days", "2", "-subj", "/CN=localhost"], check=True, stderr=subprocess.DEVNULL)
    s = Sim("--tls-cert", cert, "--tls-key", key, "--delay-ms", 5, tls=True)
    check("tls", s.chat().status == 200)
    c = Conn(s)
    check("tls keep-alive", all(c.ask("POST", "/v1/chat/completions", chat_body("d", "q")).status == 200
                                for _ in range(3)))
    c.close()
    transport(s, "tls")
    s.stop()

#!/usr/bin/env python3
"""Checks that the simulator does what README.md says; see selftest.sh."""
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
import traceback

sys.dont_write_bytecode = True
import selftest_faults  # noqa: E402
import simcheck  # noqa: E402
from simcheck import check, refused, until  # noqa: E402
from simclient import LONG, WORK, Conn, Sim, chat_body, prompt, running  # noqa: E402

BINARY = Sim.binary = sys.argv[1]
ONLY = sys.argv[2] if len(sys.argv) > 2 else ""


def test_options():
    for args, what in ((["--nosuch", "1"], "unknown option"), (["--delay-ms", "-1"], "bad value"),
                       (["--model"], "missing value"), (["--tls-cert", "x"], "half of TLS"),
                       (["--fixed", "101"], "score out of range")):
        rc = subprocess.run([BINARY, *args], stderr=subprocess.DEVNULL).returncode
        check(f"refuses {what}", rc == 2, rc)
    out = subprocess.run([BINARY, "--help"], capture_output=True)
    check("--help", out.returncode == 0 and b"--port-file" in out.stdout)
    s = Sim()
    listeners = subprocess.run(["ss", "-Hltn", f"sport = :{s.port}"], capture_output=True,
                               text=True).stdout if shutil.which("ss") else "127.0.0.1"
    check("listens on 127.0.0.1 only", "127.0.0.1" in listeners and "0.0.0.0" not in listeners.split()[3:4])
    held = s.begin(mark="hang")
    s.wait("running=1")
    check("SIGTERM ends it, with a request in flight", s.stop() == 0)
    check("it removes its port file", not os.path.exists(s.file))
    held.close()
    s = Sim()
    check("SIGINT ends it", s.stop(signal.SIGINT) == 0)
    # A parent that dies takes the simulator with it
    f = os.path.join(WORK, "orphan")
    subprocess.run(["sh", "-c", f"'{BINARY}' --die-with-parent --port-file '{f}' & "
                    f"while [ ! -e '{f}' ]; do sleep 0.02; done"], timeout=LONG)
    check("--die-with-parent", until(lambda: not os.path.exists(f)))


def test_chat():
    s = Sim()
    a, b, c = s.chat(seed=5), s.chat(seed=5), s.chat(seed=6)
    check("200", a.status == 200, a)
    check("same seed, same text", a.text() == b.text())
    check("another seed, another text", a.text() != c.text())
    check("no seed: different texts", s.chat().text() != s.chat().text())
    check("temperature 0: seed ignored",
          s.chat(temperature=0, seed=1).text() == s.chat(temperature=0, seed=2).text())
    check("length of the text", 140 <= len(a.text().split()) <= 360, len(a.text().split()))
    check("size of the body", len(a.body) >= 1200, len(a.body))
    check("three steps", all(x in a.text() for x in ("1. Query", "2. Document", "3. Relevance")))
    check("quotes the pair", "replicas" in a.text())
    j = a.json()
    check("usage", j["usage"]["prompt_tokens"] > 50 and j["usage"]["completion_tokens"] > 100, j["usage"])
    check("model, id, finish_reason", j["model"] == "m" and j["id"] and
          j["choices"][0]["finish_reason"] == "stop")
    r = s.chat(max_tokens=20)
    check("max_tokens cuts", r.json()["choices"][0]["finish_reason"] == "length" and
          len(r.text()) <= 80 and r.json()["usage"]["completion_tokens"] == 20, r)
    r = s.chat(seed=10, n=3)
    ch = r.json()["choices"]
    check("n", len(ch) == 3 and [x["index"] for x in ch] == [0, 1, 2])
    check("choice i is seed + i", ch[2]["message"]["content"] == s.chat(seed=12).text())
    r = s.chat(stop=["</score>"])
    check("stop", r.text().rstrip()[-1].isdigit() and "</score>" not in r.text(), r)
    r = s.chat(messages=[{"role": "system", "content": "s"}, {"role": "user", "content": [
        {"type": "text", "text": prompt("replicas", "replicas")}]}])
    check("messages in parts", r.status == 200 and int(r.score()) > 60, r)
    r = s.chat(messages=[{"role": "user", "content": "no template here"}])
    check("another prompt", r.status == 200 and 0 <= int(r.score()) <= 100)
    st = s.stats()
    check("stats: chat, duplicates, samples", st["chat"] == st["completed"] == 13 and
          st["duplicates"] == 2 and st["samples"] == 15, st)
    erank = "How relevant?\n\nHere is the query:\n{}\n\nHere is the document:\n{}\n\nAfter thinking, <answer>"
    for query, doc, low, high in (("replicas", "replicas", 6, 10), ("replicas", "cooking", 0, 2)):
        r = s.chat(messages=[{"role": "user", "content": erank.format(query, doc)}])
        n = re.findall(r"<answer>(\d+)</answer>$", r.text())
        check(f"as ERank, of {doc}", len(n) == 1 and low <= int(n[0]) <= high, r.text()[-60:])
    r = s.chat(messages=[{"role": "user", "content": "Say 'Relevance score: X.'\nreplicas [[sim:score=7.5]]"}])
    check("as DIVER's prompt wants it", r.text().endswith("Relevance score: 7.5."), r.text()[-60:])
    check("stats: prompts", st["distinct_prompts"] == 3 and st["max_requests_per_prompt"] == 11 and
          st["max_samples_per_prompt"] == 13, st)
    big = s.chat(doc="replica lag " * 400000)
    check("a 5 MB request", big.status == 200, big)
    c = Conn(s)
    body = chat_body("d", "q")
    c.sock.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                   b"Transfer-Encoding: chunked\r\n\r\n" +
                   b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in (body[:99], body[99:])) + b"0\r\n\r\n")
    check("chunked request", c.recv().status == 200)
    c.sock.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                   b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body))
    check("100 Continue", c.recv(head_only=True).status == 100)
    c.sock.sendall(body)
    check("and then 200", c.recv().status == 200)
    s.stop()


def mean_score(s, doc, query, n=24):
    r = s.chat(doc, query, n=n, seed=1)
    v = [int(re.findall(r"<score>\n(\d+)", c["message"]["content"])[0]) for c in r.json()["choices"]]
    return sum(v) / n, v


def test_score():
    s = Sim()
    query = "how does the replication of PostgreSQL handle conflicts"
    docs = {
        "none": "Bananas ripen faster in a paper bag, next to apples, as the fruit gives off ethylene gas.",
        "some": "Logical replication sends rows to a subscriber; its speed depends on the network and the disk.",
        "all": "PostgreSQL handles replication conflicts: the replication of a standby cancels queries in conflict. "
               "How it handles them can be set.",
    }
    m = {k: mean_score(s, d, query) for k, d in docs.items()}
    check("irrelevant is low", m["none"][0] <= 25, m["none"])
    check("partial is in between", m["none"][0] + 5 < m["some"][0] < m["all"][0] - 10, m)
    check("all words is high", 78 <= m["all"][0] <= 97, m["all"])
    check("0..100", all(0 <= x <= 100 for k in m for x in m[k][1]))
    check("noise", len(set(m["some"][1])) > 5, m["some"])
    sd = (sum((x - m["some"][0]) ** 2 for x in m["some"][1]) / 24) ** 0.5
    check("spread mid-scale", 2.5 < sd < 11, sd)
    cold = s.chat(docs["some"], query, n=8, temperature=0).json()["choices"]
    check("no noise at temperature 0", len({c["message"]["content"] for c in cold}) == 1)
    check("word forms match", mean_score(s, "replicas were lagging", "replica lags")[0] > 70)
    check("scripts without spaces", mean_score(s, "\u6570\u636e\u5e93\u7684\u590d\u5236", "\u6570\u636e\u5e93")[0] > 70)
    check("empty query and document", 0 <= mean_score(s, "", "")[0] <= 25)
    s.stop()


def test_schedule():
    s = Sim("--delay-ms", 100)
    takes(s, "delay", lambda usage: 0.1)
    s.control(delay_ms=0, prefill_tps=1000, decode_tps=2000)
    takes(s, "GPU-like service time",
          lambda usage: usage["prompt_tokens"] / 1000 + usage["completion_tokens"] / 2000)
    s.reset()
    s.control(delay_ms=0, hold=True, max_running=2, max_queue=2)
    c = [s.begin(doc=str(i)) for i in range(4)]
    check("two run, two wait", s.wait("running=eq2&queued=eq2"), s.stats())
    r = s.chat("one too many")
    check("queue full", r.status == 503 and r.json()["message"] == "The request queue is full.", r)
    c[2].close()
    check("a client that goes leaves the queue", s.wait("queued=eq1&aborted=1"), s.stats())
    c[0].close()
    check("or frees its slot", s.wait("running=eq2&queued=0&aborted=2"), s.stats())
    check("release one", s.ctl("POST", "/sim/release?n=1").json()["released"] == 1)
    check("the oldest", c[1].recv().status == 200)
    check("wait times out", not s.wait("running=5", ms=50))
    check("wait wants known names", s.ctl("GET", "/sim/wait?nosuch=1").status == 400)
    check("release all", s.ctl("POST", "/sim/release").json()["released"] == 1)
    check("the other", c[3].recv().status == 200)
    st = s.stats()
    check("counters", (st["peak_running"], st["peak_queued"], st["refused"], st["completed"]) == (2, 2, 1, 2), st)
    c, d = Conn(s), Conn(s, control=True)
    for _ in range(10):
        c.send("POST", "/v1/chat/completions", chat_body("d", "q"))
        d.ask("GET", "/sim/wait?held=1")
        d.send("POST", "/sim/release")
        check("release, while nothing else happens", c.recv().status == 200 and d.recv().status == 200)
    c.close(), d.close()
    c = s.begin(n=2)
    d = s.begin(n=1)
    check("n takes n slots", s.wait("running=eq1&running_samples=eq2&queued=1"), s.stats())
    s.control(hold=False)
    check("hold switched off", c.recv().status == 200 and d.recv().status == 200)
    s.control(hold=True, disconnect_ms=-1, max_queue=-1)
    c = s.begin()
    s.wait("held=1")
    c.close()
    check("disconnects unnoticed", not s.wait("aborted=3", ms=100))
    s.ctl("POST", "/sim/release")
    check("until the reply is ready", s.wait("aborted=3&running=0"), s.stats())
    s.control(disconnect_ms=80)
    c = s.begin()
    s.wait("held=1")
    t = time.monotonic()
    c.close()
    check("noticed late", s.wait("aborted=4") and time.monotonic() - t > 0.07, time.monotonic() - t)
    s.reset()
    s.control(hold=True)
    c = s.begin(rid="job-1")
    s.wait("running=1")
    r = s.ctl("POST", "/abort_request", {"rid": "other"})
    check("abort of nobody", r.status == 200 and s.stats()["running"] == 1)
    s.ctl("POST", "/abort_request", {"rid": "job-1"})
    r = c.recv()
    check("abort by rid", r.status == 200 and r.json()["choices"][0]["finish_reason"] == "abort", r)
    st = s.stats()
    check("and its counters", st["aborted_rid"] == 1 and st["running"] == 0 and st["aborted"] == 0, st)
    s.reset()
    s.control(hold=True, disconnect_ms=-1)
    c = s.begin(rid="job-2")
    s.wait("running=1")
    c.close()
    s.ctl("POST", "/abort_request", {"rid": "job-2"})
    st = s.stats()
    check("abort by rid, the client gone", st["aborted_rid"] == 1 and st["running"] == 0 and st["aborted"] == 1, st)
    s.reset()
    s.control(hold=True)
    c = s.begin()
    s.wait("running=1")
    c.sock.shutdown(socket.SHUT_WR)
    check("half-close is gone", s.wait("aborted=1"), s.stats())
    s.stop()


def takes(s, what, seconds):
    """A request never takes less, and not much more unless the machine is busy"""
    for _ in range(50):
        t = time.monotonic()
        want = seconds(s.chat().json()["usage"])
        took = time.monotonic() - t
        if took < want + 0.3:
            break
    check(what, want - 0.001 < took < want + 0.3, want, took)


def test_fixed():
    s = Sim("--fixed", 73, "--delay-ms", 5)
    c = Conn(s)
    for i in range(3):
        r = c.ask("POST", "/v1/chat/completions", b"{}")
        check("fixed reply", r.status == 200 and r.score() == "73", r)
    check("size", 1200 < len(r.body) < 3000, len(r.body))
    check("no log", s.log() == [])
    check("keep-alive reuse counted", s.stats()["reused"] == 2)
    check("failures by header", s.chat(headers={"X-Sim": "status=503"}).status == 503)
    s.control(fail=[{"mode": "junk", "times": 1}])
    check("failures by rule", not s.chat().body.startswith(b"{") and s.chat().score() == "73")
    s.control(max_running=1, hold=True)
    c, d = s.begin(), s.begin()
    check("queue", s.wait("running=eq1&queued=eq1"))
    s.control(hold=False)
    check("released", c.recv().status == 200 and d.recv().status == 200)
    s.stop()


def test_log():
    s = Sim("--log", 3)
    for i in range(5):
        s.chat(doc=f"document {i}", seed=i, headers={"Authorization": "Bearer k", "X-Request-Id": f"r{i}"})
    log = s.log(10)
    check("ring of 3", [e["seed"] for e in log] == [2, 3, 4], log)
    e = log[-1]
    check("body", json.loads(e["body"])["seed"] == 4 and "document 4" in e["body"])
    check("headers", e["headers"]["authorization"] == "Bearer k" and e["headers"]["x-request-id"] == "r4")
    check("status, peer, outcome", e["status"] == 200 and e["peer"].startswith("127.0.0.1:") and
          e["outcome"] == "sent" and e["elapsed_us"] >= 0, e)
    check("match", [x["seed"] for x in s.ctl("GET", "/sim/log?n=9&match=document%203").json()] == [3])
    s.chat(mark="status=500")
    check("failure named", s.log()[0]["failure"] == "status" and s.log()[0]["status"] == 500, s.log())
    check("stats/reset", s.ctl("POST", "/sim/stats/reset").json()["chat"] == 0 and s.log(9) == [])
    s.stop()


def test_dialects():
    err = {}
    for d in ("sglang", "vllm", "llamacpp", "openai"):
        s = Sim("--dialect", d, "--model", "m", "--model", "m2", "--context", 500, "--max-running", 4)
        cap = {"max_tokens": ..., "max_completion_tokens": 100} if d == "openai" else {"max_tokens": 100}
        check(f"{d}: 200", s.chat(**cap).status == 200, s.chat(**cap))
        err[d] = {
            "model": s.chat(model="nosuch", **cap), "long": s.chat(doc="word " * 1000, **cap),
            "sum": s.chat(max_tokens=... if d == "openai" else 450,
                          **({"max_completion_tokens": 450} if d == "openai" else {})),
            "top_k": s.chat(top_k=40, **cap), "max_tokens": s.chat(), "bad": s.chat(temperature="x", **cap),
            "messages": s.chat(messages=..., **cap), "role": s.chat(messages=[{"content": "x"}], **cap),
            "n": s.chat(n=200, **cap), "key": None,
        }
        c = Conn(s)
        err[d]["json"] = c.ask("POST", "/v1/chat/completions", b'{"model"')
        err[d]["utf8"] = c.ask("POST", "/v1/chat/completions",
                               b'{"messages":[{"role":"user","content":"\xff"}]}')
        err[d]["get"] = c.ask("GET", "/v1/chat/completions")
        err[d]["path"] = c.ask("GET", "/nosuch")
        err[d]["type"] = c.ask("POST", "/v1/chat/completions", b"{}", {"Content-Type": "text/plain"})
        models = c.ask("GET", "/v1/models").json()
        check(f"{d}: models", [x["id"] for x in models["data"]] == ["m", "m2"])
        if d != "openai":
            check(f"{d}: health", c.ask("GET", "/health").status == 200)
            m = c.ask("GET", "/metrics").body.decode()
            name = {"sglang": "sglang:num_running_reqs", "vllm": "vllm:num_requests_waiting",
                    "llamacpp": "llamacpp:requests_deferred"}[d]
            check(f"{d}: metrics", name in m, m)
        s.control(loading=True)
        r = c.ask("GET", "/health")
        check(f"{d}: loading", r.status == 503 and s.chat().status == 503, r)
        err[d]["loading"] = r
        s.control(loading=False, health=503)
        if d != "openai":
            check(f"{d}: unhealthy", c.ask("GET", "/health").status == 503)
        s.stop()
    g, v, l, o = (err[x] for x in ("sglang", "vllm", "llamacpp", "openai"))
    check("sglang flat error", g["model"].status == 404 and g["model"].json()["object"] == "error" and
          "is not served" in g["model"].json()["message"], g["model"])
    check("sglang input too long", g["long"].status == 400 and
          "longer than the model's context length (500 tokens)" in g["long"].json()["message"], g["long"])
    check("sglang total too long", "maximum context length of 500 tokens. You requested a total of" in
          g["sum"].json()["message"], g["sum"])
    check("vllm model", v["model"].status == 404 and v["model"].json()["error"]["message"] ==
          "The model `nosuch` does not exist." and v["model"].json()["error"]["code"] == 404, v["model"])
    check("vllm too long", "maximum context length is 500 tokens. However, you requested 100 output tokens" in
          v["long"].json()["error"]["message"], v["long"])
    check("llamacpp router model", l["model"].status == 400 and
          l["model"].json()["error"]["message"] == "model 'nosuch' not found", l["model"])
    e = l["long"].json()["error"]
    check("llamacpp too long", e["type"] == "exceed_context_size_error" and e["n_ctx"] == 500 and
          e["n_prompt_tokens"] > 1000, e)
    check("llamacpp answers up to the context", l["sum"].status == 200, l["sum"])
    check("openai model", o["model"].status == 404 and o["model"].json()["error"]["code"] == "model_not_found")
    check("openai too long", o["long"].json()["error"]["code"] == "context_length_exceeded", o["long"])
    check("openai refuses top_k", o["top_k"].status == 400 and
          o["top_k"].json()["error"]["code"] == "unknown_parameter", o["top_k"])
    check("openai refuses max_tokens", "max_completion_tokens" in o["max_tokens"].json()["error"]["message"])
    check("others take top_k", all(x["top_k"].status == 200 for x in (g, v, l)))
    check("bad number is 400", all(x["bad"].status == 400 for x in err.values()))
    check("no messages is 400", all(x["messages"].status == 400 for x in err.values()))
    check("no role: llamacpp 500, others 400", l["role"].status == 500 and g["role"].status == v["role"].status == 400)
    check("n out of range", all(x["n"].status == 400 for x in err.values()) and
          "between 1 <= value <= 4" in l["n"].json()["error"]["message"])
    check("bad JSON is 400", all(x["json"].status == 400 for x in err.values()))
    check("bad UTF-8 is 400", all(x["utf8"].status == 400 for x in err.values()), err)
    check("llamacpp parse error text", "json.exception.parse_error.101" in l["json"].json()["error"]["message"])
    check("GET on chat", [x["get"].status for x in (g, v, l, o)] == [405, 405, 404, 405])
    check("unknown path", all(x["path"].status == 404 for x in err.values()) and "detail" in g["path"].json())
    check("content type", g["type"].status == 400 and v["type"].status == 415)
    check("llamacpp loading body", l["loading"].json()["error"] ==
          {"message": "Loading model", "type": "unavailable_error", "code": 503})
    check("llamacpp keep-alive header", l["role"].headers.get("keep-alive") == "timeout=5, max=100")


GRAMMARS = {
    # who counts them: True when the real one takes it
    'root ::= "a"': True, 'root ::= word (" " word){2,6} "\\n<score>\\n" num\nword ::= [a-z]{1,8}\n'
    'num ::= [0-9] | [1-9] [0-9] | "100" # not "more\n': True, 'root ::= ("a" | [^"\\]x]+)? .*\n': True, "": True,
    'rot ::= "a"': False, 'root ::= "a': False, 'root ::= [a-z': False, 'root ::= ("a"': False, 'root ::= "a")': False,
    "root ::= num": False, '"a"': False, "nonsense": False, 'root ::= "a" ; "b"': False, 'root ::= "a"{2': False,
    'root ::= (\nnum ::= "a")': False,
}


def test_llamacpp():
    s = Sim("--dialect", "llamacpp", "--context", 1024)
    idle = Conn(s)
    r = idle.ask("GET", "/health")
    began = time.monotonic()
    check("keep-alive header", r.headers.get("keep-alive") == "timeout=5, max=100", r)
    for grammar, good in GRAMMARS.items():
        r = s.chat(grammar=grammar)
        check(f"grammar {grammar!r}", r.status == (200 if good else 400) and
              (good or r.json() == {"error": {"code": 400, "type": "invalid_request_error", "message":
                                              "Failed to initialize samplers: failed to parse grammar"}}), r)
    both = {"error": {"code": 500, "message": "Cannot use both json_schema and grammar", "type": "server_error"}}
    for more in ({"json_schema": {"type": "object"}}, {"response_format": {"type": "json_object"}}):
        r = s.chat(grammar='root ::= "a"', **more)
        check(f"grammar and {list(more)[0]}", r.status == 500 and r.json() == both, r)
        check(f"{list(more)[0]} alone", s.chat(**more).status == 200)
    r = s.chat(messages=[{"content": "x"}])
    check("no role", r.status == 500 and r.json() == {"error": {"code": 500, "type": "server_error", "message":
          'Failed to parse messages: Missing \'role\' in message: {"content":"x"}'}}, r)
    check("no messages", s.chat(messages=[]).status == 200)
    s.control(idle_close_ms=LONG * 1000)
    c = Conn(s)
    got = [c.ask("POST", "/v1/chat/completions", chat_body("d", "q")).headers.get("connection") for _ in range(100)]
    check("the 100th answer is the connection's last",
          got[99] == "close" and "close" not in got[:99] and c.recv().end == "closed", got)
    s.control(close_after=2, idle_close_ms=0)
    c = Conn(s)
    r = c.ask("GET", "/health")
    check("no promise without an idle close", "keep-alive" not in r.headers, r)
    check("a setting goes before", c.ask("GET", "/health").headers.get("connection") == "close")
    s.control(dialect="sglang", context=0, close_after=-1, idle_close_ms=-1)
    check("no grammar in another dialect", s.chat(grammar="nonsense").status == 200)
    s.control(dialect="llamacpp")
    # began anew with the change of settings
    check("idle connections are closed after five seconds",
          idle.recv().end == "closed" and time.monotonic() - began > 4.9, time.monotonic() - began)
    s.stop()


def test_term():
    s = Sim("--term-hold")
    check("--term-hold: nothing in flight, it ends", s.stop() == 0)
    s = Sim("--term-hold", "--max-running", 1, "--delay-ms", 1000 * LONG)
    idle, running_one, queued_one = Conn(s), s.begin(), s.begin(doc="another")
    check("one runs, one waits", s.wait("running=1&queued=1"), s.stats())
    s.proc.send_signal(signal.SIGTERM)
    check("SIGTERM: what runs is held", s.wait("hung=eq1&queued=eq1"), s.stats())
    check("no new connections", until(lambda: refused(s)))
    check("idle ones are closed", idle.recv().end == "closed")
    for conn in (running_one, queued_one):
        check("no answer, no close", conn.silent())
    check("still there", s.proc.poll() is None)
    check("a second SIGTERM ends it", s.stop() == 0)
    check("and its connections", running_one.recv().end in ("closed", "reset"))
    s = Sim("--term-hold")
    held = s.begin(mark="hang")
    s.wait("hung=1")
    check("SIGINT ends it at once", s.stop(signal.SIGINT) == 0)
    held.close()


def test_key():
    for d, open_paths in (("sglang", ["/health"]), ("vllm", ["/health", "/metrics"]), ("llamacpp", ["/health"]),
                          ("openai", [])):
        s = Sim("--dialect", d, "--api-key", "k1")
        c = Conn(s)
        r = c.ask("GET", "/v1/models")
        check(f"{d}: 401", r.status == 401 and s.chat().status == 401, r)
        check(f"{d}: wrong key", c.ask("GET", "/v1/models", headers={"Authorization": "Bearer k2"}).status == 401)
        check(f"{d}: key", c.ask("GET", "/v1/models", headers={"Authorization": "Bearer k1"}).status == 200)
        for p in open_paths:
            check(f"{d}: {p} is open", c.ask("GET", p).status == 200)
        if d == "llamacpp":
            check("X-Api-Key", c.ask("GET", "/v1/models", headers={"X-Api-Key": "k1"}).status == 200)
            check("props guarded", c.ask("GET", "/props").status == 401)
        c.close()
        s.stop()


def test_probes():
    s = Sim("--context", 2048)
    c = Conn(s)
    check("sglang infos", c.ask("GET", "/get_server_info").json()["context_length"] == 2048 and
          c.ask("GET", "/get_model_info").json()["is_generation"] and
          c.ask("GET", "/health_generate").status == 200)
    check("max_model_len", c.ask("GET", "/v1/models").json()["data"][0]["max_model_len"] == 2048)
    s.control(dialect="llamacpp")
    check("props", c.ask("GET", "/props").json()["default_generation_settings"]["n_ctx"] == 2048)
    check("not in this dialect", c.ask("GET", "/get_server_info").status == 404)
    s.control(dialect="vllm")
    check("version", "version" in c.ask("GET", "/version").json())
    c.close()
    s.stop()


def test_connections():
    s = Sim("--close-after", 3)
    c = Conn(s)
    got = [c.ask("POST", "/v1/chat/completions", chat_body("d", "q")).headers.get("connection") for _ in range(3)]
    check("close after 3", got[2] == "close" and got[0] != "close" and c.recv().end == "closed", got)
    s.control(close_after=0, idle_close_ms=LONG * 1000)
    c = Conn(s)
    c.ask("GET", "/health")
    t = time.monotonic()
    s.control(idle_close_ms=100)
    check("idle close", c.recv().end == "closed" and time.monotonic() - t > 0.09, time.monotonic() - t)
    c = Conn(s)
    check("idle close of a fresh one", c.recv().end == "closed")
    s.control(idle_close_ms=LONG * 1000)
    works = s.begin(mark="hold")
    s.control(idle_close_ms=1)
    check("idle close, at once", Conn(s).recv().end == "closed")
    s.ctl("POST", "/sim/release")
    check("not while it works", works.recv().status == 200)
    check("then, too", works.recv().end == "closed" and s.wait("connections=0"), s.stats())
    # A request that is there when the time is up is answered or not seen, never taken and lost
    s.control(idle_close_ms=50)
    c = Conn(s)
    c.ask("GET", "/health")
    before = s.stats()
    s.proc.send_signal(signal.SIGSTOP)
    c.send("POST", "/v1/chat/completions", chat_body("d", "q"))
    time.sleep(0.1)  # stopped, it sees the request and the end of its time at once
    s.proc.send_signal(signal.SIGCONT)
    got, st = c.recv(), s.stats()
    check("idle close, or a request", (got.status == 200) == (st["chat"] > before["chat"]), (got, st))
    s.control(idle_close_ms=0, max_connections=2)
    a, b, d = Conn(s), Conn(s), Conn(s)
    d.send("GET", "/health")
    check("third waits in the backlog", s.wait("connections=eq2") and d.silent())
    a.close()
    check("until one goes", d.recv().status == 200)
    b.close(), d.close()
    s.control(max_connections=0)
    check("refused", until(lambda: s.control(refuse_ms=200) and refused(s)))
    check("listening again", until(lambda: not refused(s)) and s.chat().status == 200)
    s.control(listen=False)
    check("closed until told", refused(s))
    s.control(listen=True)
    check("told", not refused(s))
    s.control(listen=False)
    s.reset()
    check("reset listens again", not refused(s))
    s.stop()


def test_crowd():
    # an ordinary session starts with 1024
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    n = 1500 if most == resource.RLIM_INFINITY or most >= 2000 else most // 2
    s = Sim("--hold", "--log", 0)
    conns = [Conn(s) for i in range(n)]
    for i, c in enumerate(conns):
        c.send("POST", "/v1/chat/completions", chat_body(f"document {i}", "query"))
    check(f"{n} at once", s.wait(f"running=eq{n}"), s.stats())
    for c in conns[: n // 2]:
        c.close()
    check("half of them go", s.wait(f"running=eq{n - n // 2}&aborted={n // 2}"), s.stats())
    s.ctl("POST", "/sim/release")
    check("the others are answered", all(c.recv().status == 200 for c in conns[n // 2:]))
    for c in conns:
        c.close()
    check("nothing is left", s.wait("connections=0&running=0"), s.stats())
    s.stop()


def main():
    for name, test in sorted({**globals(), **vars(selftest_faults)}.items()):
        if not name.startswith("test_") or ONLY not in name:
            continue
        try:
            test()
        except Exception:
            check(name, False, traceback.format_exc())
        for proc in list(running):
            proc.kill()
            proc.wait()
            running.remove(proc)


# Nothing may hang a test run for good
signal.signal(signal.SIGALRM, lambda *_: os._exit(3))
signal.alarm(int(os.environ.get("SIM_TEST_SECONDS", "1200")))
try:
    main()
finally:
    for proc in running:
        proc.kill()
    shutil.rmtree(WORK, ignore_errors=True)
print(f"simulator: {simcheck.passed} passed, {simcheck.failed} failed")
sys.exit(1 if simcheck.failed else 0)

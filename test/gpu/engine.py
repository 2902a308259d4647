#!/usr/bin/env python3
"""Engines on this machine: start, look at, end.

usage: engine.py end        ends all that were started"""
import glob
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request

ROOT = os.environ["GPU_ROOT"]
DATA = os.environ["GPU_DATA"]
KEY = "sk-of-the-measurement"
CONTEXT = 16384

# What each calls its gauges and counters
NAMES = {
    "vllm": {"running": "vllm:num_requests_running", "waiting": "vllm:num_requests_waiting",
             "tokens": "vllm:generation_tokens_total"},
    "sglang": {"running": "sglang:num_running_reqs", "waiting": "sglang:num_queue_reqs",
               "tokens": "sglang:generation_tokens_total"},
}
# The large shape takes the card as the engine does by default.  One of the small shape and the two of a pair, which
# need not be fast but soon ready, go on one card together; they take a given amount, so that none looks at what the
# others, that start at the same time, leave free.
SHARES = {
    ("vllm", "small"): ["--gpu-memory-utilization", "0.6", "--kv-cache-memory-bytes", str(72 << 30)],
    ("vllm", "pair"): ["--gpu-memory-utilization", "0.15", "--kv-cache-memory-bytes", str(10 << 30), "--enforce-eager"],
    ("sglang", "small"): ["--mem-fraction-static", "0.75", "--max-total-tokens", "650000"],
    ("sglang", "pair"): ["--mem-fraction-static", "0.5", "--max-total-tokens", "100000", "--disable-cuda-graph"],
}


class Gone(Exception):
    """The engine ended, or was not ready in time"""


class Engine:
    """A process that serves one model's shape on one port.  It outlives the one who started it: pid and shape
    are in a file."""

    def __init__(self, name, share, port):
        self.name, self.share, self.port = name, share, port
        self.shape = "small" if share == "pair" else share
        self.dialect = "sglang" if name == "sglang" else "vllm"
        self.base = f"http://127.0.0.1:{port}"
        self.file = f"{DATA}/engine-{port}.pid"
        self.log = f"{DATA}/log/{name}-{share}-{port}.log"

    def label(self):
        return f"{self.name} {self.share}"

    def pid(self):
        """None when it does not run, or another engine does on this port"""
        pid, label = recorded(self.file)
        return pid if label == self.label() and pid in alive(pid) else None

    def start(self):
        if self.pid():
            return
        end(self.file)
        with open(self.log, "ab") as log:
            process = subprocess.Popen(self.command(), env={**os.environ, **self.environment()}, stdout=log, stderr=log,
                                       stdin=subprocess.DEVNULL, start_new_session=True)
        with open(self.file, "w") as file:
            file.write(f"{process.pid} {self.label()}")

    def command(self):
        model = f"{ROOT}/model/{self.shape}"
        common = ["--load-format", "dummy", "--served-model-name", "m", "--host", "127.0.0.1", "--port", str(self.port),
                  "--api-key", KEY]
        common += SHARES.get((self.name, self.share), [])
        if self.name == "vllm":
            return ["python3", "-m", "vllm.entrypoints.cli.main", "serve", model, *common, "--max-model-len",
                    str(CONTEXT)]
        if self.name == "sglang":
            return ["python3", "-m", "sglang.launch_server", "--model-path", model, *common, "--context-length",
                    str(CONTEXT), "--enable-metrics", "--attention-backend", "fa3", "--sampling-backend", "pytorch"]
        return [f"{ROOT}/kit/simulator", "--dialect", "vllm", "--model", "m", "--port", str(self.port), "--api-key", KEY,
                "--prefill-tps", "20000", "--decode-tps", "400", "--max-running", "256", "--term-hold"]

    def environment(self):
        cache = f"{DATA}/cache"
        folders = {"vllm": ("site", "common", "flashinfer"), "sglang": ("sglang", "common", "flashinfer")}
        return {"PYTHONPATH": ":".join(f"{ROOT}/{folder}" for folder in folders.get(self.name, ())),
                "CUDA_MODULE_LOADING": "LAZY",          # pack.sh has blanked the code of other cards
                "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false",
                "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1",
                "VLLM_USE_FLASHINFER_SAMPLER": "0",     # its kernels would have to be compiled first
                "FLASHINFER_DISABLE_VERSION_CHECK": "1",
                "VLLM_CACHE_ROOT": f"{cache}/vllm", "TRITON_CACHE_DIR": f"{cache}/triton",
                "TORCHINDUCTOR_CACHE_DIR": f"{cache}/inductor"}

    def wait_ready(self, seconds=400):
        end_at = time.monotonic() + seconds
        while not self.answers():
            if not self.pid():
                raise Gone(f"{self.label()} ended; {self.log} ends with:\n{tail(self.log)}")
            if time.monotonic() > end_at:
                raise Gone(f"{self.label()} was not ready after {seconds} s; {self.log} ends with:\n{tail(self.log)}")
            time.sleep(0.5)

    def get(self, path):
        request = urllib.request.Request(self.base + path, headers={"Authorization": f"Bearer {KEY}"})
        with urllib.request.urlopen(request, timeout=10) as reply:
            return reply.read().decode()

    def answers(self):
        try:
            self.get("/health")
            return True
        except OSError:
            return False

    def gauges(self):
        """running, waiting, tokens"""
        names = {name: key for key, name in NAMES[self.dialect].items()}
        found = dict.fromkeys(names.values(), 0.0)
        for line in self.get("/metrics").splitlines():
            key = names.get(re.split(r"[{ ]", line, maxsplit=1)[0])
            if key:
                found[key] += float(line.rsplit(" ", 1)[1])
        return found

    def signal(self, number):
        """SIGTERM as those who run servers send it: to the process that was started; SIGKILL to all of its"""
        pid = self.pid()
        if number == signal.SIGKILL:
            os.killpg(pid, number)
        else:
            os.kill(pid, number)

    def version(self):
        folder = {"vllm": "site/vllm", "sglang": "sglang/sglang"}.get(self.name)
        found = glob.glob(f"{ROOT}/{folder}-*.dist-info") if folder else []
        return re.search(r"-([^-]*)\.dist-info$", found[0]).group(1) if found else ""


def tail(path):
    with open(path, errors="replace") as file:
        return "".join(file.readlines()[-25:])


def recorded(file):
    """(pid, label) of the engine that the file names"""
    try:
        with open(file) as opened:
            pid, label = opened.read().split(" ", 1)
    except OSError:
        return None, None
    return int(pid), label


def alive(pid):
    """Those of its processes, which are a group, that are not dead"""
    found = []
    for path in glob.glob("/proc/[0-9]*/stat"):
        try:
            with open(path) as file:
                stat = file.read()
        except OSError:
            continue
        state, _, group = stat.rsplit(")", 1)[1].split()[:3]
        if int(group) == pid and state not in "ZX":
            found.append(int(stat.split(" ", 1)[0]))
    return found


def end(file):
    """All of its processes, and waits until they are gone: the next one wants their memory"""
    pid, _ = recorded(file)
    if pid is None:
        return
    while alive(pid):
        os.killpg(pid, signal.SIGKILL)
        time.sleep(0.1)
    os.unlink(file)


def end_all(but=()):
    keep = {engine.file for engine in but if engine.pid()}
    for file in glob.glob(f"{DATA}/engine-*.pid"):
        if file not in keep:
            end(file)


def make_room(wanted):
    """Ends those that have no place on the card beside the wanted ones: other programs, and whatever is large"""
    keep = {engine.file for engine in wanted if engine.pid()}
    for file in glob.glob(f"{DATA}/engine-*.pid"):
        name, share = (recorded(file)[1] or " ").split(" ")
        if file not in keep and (name != wanted[0].name or "large" in (share, wanted[0].share)):
            end(file)


if __name__ == "__main__":
    if sys.argv[1:] != ["end"]:
        sys.exit(__doc__)
    end_all()

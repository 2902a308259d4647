"""The direct client: what somebody would write who knows the engine, with asyncio and connections that are kept."""
import asyncio
import json
import random
import time

import aiohttp

from database import LENGTH, MAX_TOKENS, SAMPLING
from engine import KEY


def body(engine, prompt):
    """As retrostar's"""
    request = {"model": "m", "messages": [{"role": "user", "content": prompt}], "max_tokens": MAX_TOKENS, "stream": False,
               "n": 1, "seed": random.getrandbits(31), "skip_special_tokens": False, **SAMPLING, **LENGTH}
    if engine.dialect == "vllm":
        request.update(spaces_between_special_tokens=False, chat_template_kwargs={"enable_thinking": False})
    else:
        request["chat_template_kwargs"] = {"enable_thinking": False, "spaces_between_special_tokens": False}
    return json.dumps(request)


async def drive(engine, prompts, limit):
    waiting, lengths, failures = list(reversed(prompts)), [], []
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), headers=headers,
                                     timeout=aiohttp.ClientTimeout(total=900)) as session:
        async def one():
            while waiting:
                data = body(engine, waiting.pop())
                async with session.post(engine.base + "/v1/chat/completions", data=data) as reply:
                    text = await reply.text()
                if reply.status == 200:
                    lengths.append(json.loads(text)["usage"]["completion_tokens"])
                else:
                    failures.append(f"{reply.status} {text[:300]}")

        await asyncio.gather(*[one() for _ in range(limit)])
    return lengths, failures


def run(engine, prompts, limit):
    """(seconds, pairs, tokens, failures): all prompts, so many at once"""
    begun = time.monotonic()
    lengths, failures = asyncio.run(drive(engine, prompts, limit))
    return time.monotonic() - begun, len(lengths), sum(lengths), failures

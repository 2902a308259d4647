#!/usr/bin/python3
"""tiny_gguf.py OUT.gguf [--dim D] [--layers L]

Writes a model of the qwen3 architecture with random weights, always the same
ones: it says nothing meaningful, but a real llama-server serves it by the real
protocol.  The tokenizer knows the 256 bytes and a few merges; the template is
ChatML with Qwen3's switch for thinking.  With --dim 512 --layers 16 it is slow,
for requests that shall take a while.  Needs Debian's python3-gguf."""
import argparse

import gguf
import numpy as np

HEAD = 32
CONTEXT = 4096
MERGES = ["th", "he", "in", "er", "an", "on", "at", "en", "ti", "or", "es", "re", "st", "nd", "to", "is"]
CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
VISIBLE = ["<think>", "</think>"]

# llama-server takes a template for a thinking one when it prints the reasoning
# of former answers.
TEMPLATE = """\
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' }}
    {%- if message.role == 'assistant' and message.reasoning_content %}
        {{- '<think>\\n' + message.reasoning_content + '\\n</think>\\n\\n' }}
    {%- endif %}
    {{- message.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}"""


def byte_tokens():
    """The printable character that stands for each byte, as in GPT-2."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    tokens, next_free = [], 256
    for byte in range(256):
        if byte in printable:
            tokens.append(chr(byte))
        else:
            tokens.append(chr(next_free))
            next_free += 1
    return tokens


def write_tokenizer(writer):
    tokens = byte_tokens() + MERGES + CONTROL + VISIBLE
    normal = len(tokens) - len(CONTROL) - len(VISIBLE)
    types = [gguf.TokenType.NORMAL] * normal + [gguf.TokenType.CONTROL] * len(CONTROL) \
        + [gguf.TokenType.USER_DEFINED] * len(VISIBLE)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([" ".join(merge) for merge in MERGES])
    writer.add_add_bos_token(False)
    writer.add_bos_token_id(tokens.index("<|endoftext|>"))
    writer.add_eos_token_id(tokens.index("<|im_end|>"))
    writer.add_pad_token_id(tokens.index("<|endoftext|>"))
    writer.add_chat_template(TEMPLATE)
    writer.add_vocab_size(len(tokens))
    return len(tokens)


def write_tensors(writer, vocabulary, dim, layers):
    random = np.random.default_rng(1)

    def matrix(name, rows, columns, scale=None):
        values = random.standard_normal((rows, columns)) * (scale or columns ** -0.5)
        writer.add_tensor(name, values.astype(np.float32))

    def norm(name, length):
        writer.add_tensor(name, np.ones(length, dtype=np.float32))

    matrix("token_embd.weight", vocabulary, dim, 1.0)
    for i in range(layers):
        block = f"blk.{i}."
        norm(block + "attn_norm.weight", dim)
        matrix(block + "attn_q.weight", dim, dim)
        matrix(block + "attn_k.weight", HEAD, dim)
        matrix(block + "attn_v.weight", HEAD, dim)
        matrix(block + "attn_output.weight", dim, dim)
        norm(block + "attn_q_norm.weight", HEAD)
        norm(block + "attn_k_norm.weight", HEAD)
        norm(block + "ffn_norm.weight", dim)
        matrix(block + "ffn_gate.weight", 2 * dim, dim)
        matrix(block + "ffn_up.weight", 2 * dim, dim)
        matrix(block + "ffn_down.weight", dim, 2 * dim)
    norm("output_norm.weight", dim)
    matrix("output.weight", vocabulary, dim)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--layers", type=int, default=2)
    args = parser.parse_args()

    writer = gguf.GGUFWriter(args.out, "qwen3")
    writer.add_name("tiny-random")
    writer.add_block_count(args.layers)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(args.dim)
    writer.add_feed_forward_length(2 * args.dim)
    writer.add_head_count(args.dim // HEAD)
    writer.add_head_count_kv(1)
    writer.add_key_length(HEAD)
    writer.add_value_length(HEAD)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(10000.0)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    write_tensors(writer, write_tokenizer(writer), args.dim, args.layers)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


main()

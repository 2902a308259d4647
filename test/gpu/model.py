#!/usr/bin/env python3
"""Writes model folders without weights: the shapes of two Qwen3 models, their vocabulary, their chat template.

usage: model.py VOCABULARY FOLDER       (VOCABULARY: a .tiktoken file)

FOLDER/large has the shape of Qwen3-14B, FOLDER/small that of Qwen3-1.7B.  Served with --load-format dummy: random
weights, the real cost."""
import base64
import json
import os
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors

SHAPES = {                      # hidden, layers, heads, key-value heads, feed-forward, tied embeddings
    "large": (5120, 40, 40, 8, 17408, False),
    "small": (2048, 28, 16, 8, 6144, True),
}
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>",
           "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
           "<|image_pad|>", "<|video_pad|>", "<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>",
           "<|fim_suffix|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>", "<tool_response>", "</tool_response>",
           "<think>", "</think>"]
PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
           r"|\s+(?!\S)|\s+")
TEMPLATE = ("{%- for m in messages %}{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{%- endfor %}"
            "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}"
            "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}"
            "{%- endif %}{%- endif %}")


def letters():
    """The letter that stands for each byte in a vocabulary of byte-level BPE"""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {**{byte: chr(byte) for byte in plain}, **{byte: chr(256 + n) for n, byte in enumerate(others)}}


def merges(ranks):
    """The pairs that are joined, in their order: of each token every way to cut it into two tokens"""
    for token in sorted(ranks, key=ranks.get):
        cuts = [(token[:n], token[n:]) for n in range(1, len(token))]
        cuts = [cut for cut in cuts if cut[0] in ranks and cut[1] in ranks]
        yield from sorted(cuts, key=lambda cut: (ranks[cut[0]], ranks[cut[1]]))


def tokenizer(path):
    with open(path, "rb") as file:
        ranks = {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in file if line.strip())}
    letter = letters()

    def name(token):
        return "".join(letter[byte] for byte in token)

    made = Tokenizer(models.BPE(vocab={name(token): rank for token, rank in ranks.items()},
                                merges=[(name(left), name(right)) for left, right in merges(ranks)]))
    made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(PATTERN), "isolated"),
                                                  pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    made.decoder = decoders.ByteLevel()
    made.post_processor = processors.ByteLevel(trim_offsets=False)
    made.add_tokens([AddedToken(name, special=name.startswith("<|"), normalized=False) for name in SPECIAL])
    return made


def check(made):
    text = "Über den Wolken 123 \n\n  tabs\t and <|im_start|>user\nhi<|im_end|>"
    assert (made.token_to_id("<|im_end|>"), made.token_to_id("</think>")) == (151645, 151668), "not Qwen3's vocabulary"
    assert made.decode(made.encode(text).ids, skip_special_tokens=False) == text
    assert len(made.encode("the document is relevant").ids) == 4


def config(hidden, layers, heads, kv_heads, feed_forward, tied):
    return dict(architectures=["Qwen3ForCausalLM"], model_type="qwen3", hidden_size=hidden, num_hidden_layers=layers,
                num_attention_heads=heads, num_key_value_heads=kv_heads, head_dim=128, intermediate_size=feed_forward,
                vocab_size=151936, hidden_act="silu", rms_norm_eps=1e-6, rope_theta=1000000.0, rope_scaling=None,
                max_position_embeddings=40960, max_window_layers=layers, attention_bias=False, attention_dropout=0.0,
                use_sliding_window=False, sliding_window=None, use_cache=True, initializer_range=0.02,
                tie_word_embeddings=tied, torch_dtype="bfloat16", bos_token_id=151643, eos_token_id=151645)


def write(folder, name, value):
    with open(os.path.join(folder, name), "w") as file:
        json.dump(value, file, indent=1)


def main():
    vocabulary, target = sys.argv[1:]
    made = tokenizer(vocabulary)
    check(made)
    for name, shape in SHAPES.items():
        folder = os.path.join(target, name)
        os.makedirs(folder)
        if name == "large":
            made.save(os.path.join(folder, "tokenizer.json"))
        else:
            os.symlink("../large/tokenizer.json", os.path.join(folder, "tokenizer.json"))
        write(folder, "config.json", config(*shape))
        write(folder, "generation_config.json", dict(bos_token_id=151643, eos_token_id=[151645, 151643],
                                                     pad_token_id=151643, do_sample=True, temperature=0.6, top_k=20,
                                                     top_p=0.95))
        write(folder, "tokenizer_config.json", dict(tokenizer_class="Qwen2Tokenizer", eos_token="<|im_end|>",
                                                    pad_token="<|endoftext|>", model_max_length=131072,
                                                    add_prefix_space=False, chat_template=TEMPLATE,
                                                    clean_up_tokenization_spaces=False))


main()

#!/usr/bin/env python3
"""Makes a tiny random Qwen3 model for vLLM: what it says is noise, its tokens, context and speed are real.

usage: tiny_model.py DIRECTORY TEXT [LAYERS WIDTH]; the tokenizer is trained on TEXT, a file."""
import sys

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

TEMPLATE = ("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
            "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def main():
    directory, text = sys.argv[1:3]
    layers, width = (int(sys.argv[3]), int(sys.argv[4])) if len(sys.argv) > 3 else (2, 64)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train([text], trainers.BpeTrainer(vocab_size=1024, special_tokens=SPECIAL, show_progress=False,
                                                initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    fast.chat_template = TEMPLATE
    fast.save_pretrained(directory)
    torch.manual_seed(1)
    config = Qwen3Config(vocab_size=len(fast), hidden_size=width, intermediate_size=2 * width, num_hidden_layers=layers,
                         num_attention_heads=2, num_key_value_heads=1, head_dim=32, max_position_embeddings=4096,
                         eos_token_id=fast.eos_token_id, pad_token_id=fast.pad_token_id)
    Qwen3ForCausalLM(config).to(torch.bfloat16).save_pretrained(directory)


main()

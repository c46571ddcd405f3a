"""A trained network as a directory in the layout that Hugging Face gives to Voxtral."""

import json
from pathlib import Path

from scripts.fixture_voxtral.network import N_FRAMES, Dims, Parameters, sinusoids
from scripts.fixture_voxtral.vocabulary import SPECIAL
from simul_whisper.blas import mx


def save(directory: Path, dims: Dims, parameters: Parameters) -> None:
    """Write config.json and model.safetensors, in bfloat16."""
    tensors = dict(parameters)
    for name in ("audio_tower.conv1.weight", "audio_tower.conv2.weight"):
        tensors[name] = mx.contiguous(tensors[name].swapaxes(1, 2))
    tensors["audio_tower.embed_positions.weight"] = sinusoids(N_FRAMES, dims.n_audio_state)
    stored = {name: tensor.astype(mx.bfloat16) for name, tensor in tensors.items()}
    mx.save_safetensors(str(directory / "model.safetensors"), stored, {"format": "mlx"})
    (directory / "config.json").write_text(json.dumps(_config(dims), indent=1) + "\n", "utf-8")


def _config(dims: Dims) -> dict[str, object]:
    return {
        "architectures": ["VoxtralForConditionalGeneration"],
        "model_type": "voxtral",
        "audio_token_id": SPECIAL.index("[AUDIO]"),
        "projector_hidden_act": "gelu",
        "hidden_size": dims.n_state,
        "vocab_size": dims.n_vocab,
        "torch_dtype": "bfloat16",
        "audio_config": {
            "model_type": "voxtral_encoder",
            "activation_function": "gelu",
            "num_mel_bins": dims.n_mels,
            "max_source_positions": N_FRAMES,
            "hidden_size": dims.n_audio_state,
            "intermediate_size": 4 * dims.n_audio_state,
            "num_attention_heads": dims.n_audio_heads,
            "num_hidden_layers": dims.n_audio_layers,
            "vocab_size": dims.n_vocab,
        },
        "text_config": {
            "model_type": "llama",
            "hidden_size": dims.n_state,
            "intermediate_size": dims.n_hidden,
            "num_attention_heads": dims.n_heads,
            "num_key_value_heads": dims.n_kv_heads,
            "head_dim": dims.head_dim,
            "num_hidden_layers": dims.n_layers,
            "vocab_size": dims.n_vocab,
            "rms_norm_eps": dims.norm_eps,
            "rope_theta": dims.rope_theta,
            "max_position_embeddings": 1024,
            "hidden_act": "silu",
            "attention_bias": False,
            "mlp_bias": False,
            "tie_word_embeddings": False,
        },
    }

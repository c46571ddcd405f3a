"""Packages that are decoders are told apart by what they say of themselves, and those of other models are refused."""

from dataclasses import replace
from pathlib import Path

import pytest

from simul_whisper import DecoderNotLoadedError, ModelNotFoundError
from simul_whisper.coreml.description import Description, Feature, Function
from simul_whisper.decoders.packages import DecoderKind, decoder_kind, decoder_packages
from simul_whisper.weights import Dims

DIMS = Dims(80, 50, 64, 2, 1, 50, 96, 64, 2, 3)
HEADS = ((2, 1), (0, 1))
METADATA = {"part": "decoder", "alignment_heads": "[[2, 1], [0, 1]]", "precision": "float16"}
CACHES = (
    Feature("key_cache", ((3, 96, 1, 64),), "float16"),
    Feature("value_cache", ((3, 64, 1, 96),), "float16"),
    Feature("audio_keys", ((3, 64, 1, 64),), "float16"),
    Feature("audio_values", ((3, 64, 1, 64),), "float16"),
)


def text_function(name: str, n: int, n_keys: int, *extra: Feature) -> Function:
    inputs = (
        Feature("tokens", ((1, n),), "int32"),
        Feature("position", ((1,),), "int32"),
        Feature("mask", ((1, n_keys, 1, n),), "float16"),
        Feature("audio_mask", ((1, 64, 1, 1),), "float16"),
        *extra,
    )
    outputs = Feature("logits", ((1, n, 50),), "float16"), Feature("attention", ((1, 64, 2, n),), "float16")
    return Function(name, inputs, outputs)


STEP = replace(text_function("step", 1, 96), states=CACHES)
PREFILL = replace(text_function("prefill", 32, 96), states=CACHES)
AUDIO = Function(
    "audio", (Feature("features", ((1, 64, 64),), "float16"),), (Feature("ready", ((1,),), "float16"),), CACHES
)
STATES = Description(
    Path("ggml-small-decoder.mlpackage"),
    STEP.inputs,
    STEP.outputs,
    METADATA,
    0,
    CACHES,
    (STEP, PREFILL, AUDIO),
)
ALONE = text_function("main", 1, 97, *CACHES)
INPUTS = Description(Path("ggml-small-decoder.mlpackage"), ALONE.inputs, ALONE.outputs, METADATA, 0)
FILLING = text_function("main", 32, 128, *CACHES)
WHISPERKIT = Description(
    Path("TextDecoder.mlmodelc"),
    (
        Feature("input_ids", ((1,),), "int32"),
        Feature("cache_length", ((1,),), "int32"),
        Feature("key_cache", ((1, 192, 1, 96),), "float16"),
        Feature("value_cache", ((1, 192, 1, 96),), "float16"),
        Feature("kv_cache_update_mask", ((1, 96),), "float16"),
        Feature("encoder_output_embeds", ((1, 64, 1, 50),), "float16"),
        Feature("decoder_key_padding_mask", ((1, 96),), "float16"),
    ),
    (
        Feature("logits", ((1, 1, 50),), "float16"),
        Feature("key_cache_updates", ((1, 192, 1, 1),), "float16"),
        Feature("value_cache_updates", ((1, 192, 1, 1),), "float16"),
        Feature("alignment_heads_weights", ((1, 50),), "float16"),
    ),
    {},
    0,
)


def with_shape(description: Description, name: str, *shape: int) -> Description:
    """The same with another shape of one feature, wherever it is."""

    def changed(features: tuple[Feature, ...]) -> tuple[Feature, ...]:
        return tuple(replace(each, shapes=(shape,)) if each.name == name else each for each in features)

    def changed_function(each: Function) -> Function:
        return Function(each.name, changed(each.inputs), changed(each.outputs), changed(each.states))

    functions = tuple(map(changed_function, description.functions))
    states = changed(description.states)
    inputs, outputs = changed(description.inputs), changed(description.outputs)
    return replace(description, inputs=inputs, outputs=outputs, states=states, functions=functions)


def with_type(description: Description, name: str, dtype: str) -> Description:
    inputs = tuple(replace(each, dtype=dtype) if each.name == name else each for each in description.inputs)
    return replace(description, inputs=inputs)


def without_shapes(description: Description) -> Description:
    """As some compilers leave it: nothing is said of what comes out."""
    return replace(description, outputs=tuple(replace(each, shapes=()) for each in description.outputs))


@pytest.mark.parametrize(
    ("description", "kind"),
    [
        (STATES, DecoderKind.STATES),
        (INPUTS, DecoderKind.INPUTS),
        (WHISPERKIT, DecoderKind.WHISPERKIT),
        (without_shapes(INPUTS), DecoderKind.INPUTS),
        (without_shapes(WHISPERKIT), DecoderKind.WHISPERKIT),
        (
            with_shape(with_shape(WHISPERKIT, "key_cache", 1, 192, 1, 48), "value_cache", 1, 192, 1, 48),
            DecoderKind.WHISPERKIT,
        ),
    ],
)
def test_decoders_are_told_apart(description: Description, kind: DecoderKind) -> None:
    assert decoder_kind(description, DIMS, HEADS) is kind


def without_attention(description: Description) -> Description:
    return replace(description, outputs=description.outputs[:-1])


@pytest.mark.parametrize(
    ("description", "said"),
    [
        (with_shape(STATES, "key_cache", 3, 96, 1, 128), "made for another model: got width 128, expected width 64"),
        (with_shape(STATES, "key_cache", 4, 96, 1, 64), "another model: got layers 4, expected layers 3"),
        (with_shape(STATES, "logits", 1, 1, 51), "another model: got vocabulary 51, expected vocabulary 50"),
        (
            with_shape(INPUTS, "key_cache", 4, 448, 1, 64),
            "got layers 4, positions 448, expected layers 3, positions 96",
        ),
        (with_shape(INPUTS, "audio_mask", 1, 1504, 1, 1), "got frames 1504, expected frames 64"),
        (replace(STATES, metadata={}), r"made with the alignment heads unknown, expected \[\[2, 1\], \[0, 1\]\]"),
        (replace(STATES, metadata={"alignment_heads": "[[0, 1], [2, 1]]"}), r"heads \[\[0, 1\], \[2, 1\]\], expected"),
        (replace(STATES, metadata={"alignment_heads": "[[0,\n"}), "heads .*, expected .*; convert the decoder again"),
        (
            replace(INPUTS, inputs=FILLING.inputs, outputs=FILLING.outputs),
            "reads 32 tokens at a time; give the package",
        ),
        (replace(INPUTS, inputs=INPUTS.inputs[:4]), "not a decoder that can be used: it takes tokens, position, mask"),
        (replace(INPUTS, inputs=(Feature("logmel_data", (), "float32"),)), "expected one made by `coreml convert"),
        (replace(INPUTS, inputs=()), "it takes nothing"),
        (with_type(INPUTS, "mask", "int8"), "got mask as int8, expected float16 or float32"),
        (with_type(WHISPERKIT, "key_cache", "multiArrayType"), "got key_cache as multiArrayType, expected float16"),
        (without_attention(WHISPERKIT), "no alignment_heads_weights output, without which AlignAtt cannot tell where"),
        (
            with_shape(WHISPERKIT, "encoder_output_embeds", 1, 128, 1, 50),
            "another model: got width 128, expected width 64",
        ),
        (with_shape(WHISPERKIT, "key_cache", 1, 256, 1, 96), "another model: got layers 4, expected layers 3"),
        (with_shape(WHISPERKIT, "key_cache", 1, 193, 1, 96), "another model: got layers"),
        (with_shape(WHISPERKIT, "key_cache", 1, 192, 1, 1 << 40), "got positions 1099511627776, expected positions 96"),
        (with_shape(WHISPERKIT, "logits", 1, 1, 51), "another model: got vocabulary 51, expected vocabulary 50"),
        (with_shape(WHISPERKIT, "key_cache", 1, 192), "got positions 0, expected positions 96"),
        (with_shape(WHISPERKIT, "key_cache"), "made for another model"),
    ],
)
def test_others_are_refused_in_one_line(description: Description, said: str) -> None:
    with pytest.raises(DecoderNotLoadedError, match=said) as caught:
        decoder_kind(description, DIMS, HEADS)
    assert str(caught.value).startswith(f"{description.path}: ")
    assert "\n" not in str(caught.value)


def test_a_decoder_of_three_packages_names_the_one_that_is_missing(tmp_path: Path) -> None:
    assert decoder_packages(STATES, DIMS, HEADS) == (STATES,)
    alone = replace(INPUTS, path=tmp_path / "ggml-small-decoder.mlpackage")
    with pytest.raises(ModelNotFoundError, match=r"ggml-small-decoder-prefill.mlpackage: no such Core ML model"):
        decoder_packages(alone, DIMS, HEADS)

"""The sizes of a Voxtral model, and the tensors that a model of these sizes has.

Linear weights are (out, in), convolutions (out, kernel, in); rows of queries and keys are in the order of Hugging Face,
where rotary embedding turns the first half of a head against its second.
"""

from dataclasses import dataclass

from simul_whisper.errors import WeightsError
from simul_whisper.weights import model as whisper
from simul_whisper.weights.model import Dims

Shapes = dict[str, tuple[int, ...]]

# Two to ten times what the larger of the two models has.
_MOST = {
    "n_mels": 256,
    "n_audio_ctx": 3000,
    "n_audio_state": 4096,
    "n_audio_head": 128,
    "n_audio_layer": 128,
    "downsample": 32,
    "n_vocab": 1 << 20,
    "n_text_ctx": 1 << 24,
    "n_text_state": 1 << 14,
    "n_text_head": 256,
    "n_text_kv_head": 256,
    "head_dim": 512,
    "n_text_layer": 256,
    "n_text_mlp": 1 << 17,
}


@dataclass(frozen=True)
class VoxtralDims:
    """The audio's numbers are those of a Whisper encoder; `downsample` of its positions are one token of audio.

    head_dim: of the language model, whose heads together need not be as wide as its state. n_text_kv_head: heads of
    keys and values, each shared by as many heads of queries. rope_theta: the base of rotary embedding.
    tied: the output is the token embedding once more.
    """

    n_mels: int
    n_audio_ctx: int
    n_audio_state: int
    n_audio_head: int
    n_audio_layer: int
    downsample: int
    n_vocab: int
    n_text_ctx: int
    n_text_state: int
    n_text_head: int
    n_text_kv_head: int
    head_dim: int
    n_text_layer: int
    n_text_mlp: int
    rope_theta: float
    norm_eps: float
    tied: bool

    @property
    def n_audio_tokens(self) -> int:
        """Tokens of audio in a window of 30 s: 375."""
        return self.n_audio_ctx // self.downsample

    @property
    def whisper(self) -> Dims:
        """What builds Whisper's encoder; the numbers of text are those of the language model."""
        return Dims(
            n_mels=self.n_mels,
            n_audio_ctx=self.n_audio_ctx,
            n_audio_state=self.n_audio_state,
            n_audio_head=self.n_audio_head,
            n_audio_layer=self.n_audio_layer,
            n_vocab=self.n_vocab,
            n_text_ctx=self.n_text_ctx,
            n_text_state=self.n_text_state,
            n_text_head=self.n_text_head,
            n_text_layer=self.n_text_layer,
        )


def expected_shapes(dims: VoxtralDims) -> Shapes:
    """Every tensor of a model of these dimensions: name -> shape, as if it were not quantised."""
    return encoder_shapes(dims) | projector_shapes(dims) | language_shapes(dims)


def encoder_shapes(dims: VoxtralDims) -> Shapes:
    """Those of the encoder: names and layouts are those of Whisper's."""
    return {name: shape for name, shape in whisper.expected_shapes(dims.whisper).items() if name.startswith("encoder.")}


def projector_shapes(dims: VoxtralDims) -> Shapes:
    """Those of the projector: from `downsample` encoder positions in a row to one position of the language model."""
    return {
        "projector.linear_1.weight": (dims.n_text_state, dims.downsample * dims.n_audio_state),
        "projector.linear_2.weight": (dims.n_text_state, dims.n_text_state),
    }


def language_shapes(dims: VoxtralDims) -> Shapes:
    """Those of the language model."""
    state, mlp = dims.n_text_state, dims.n_text_mlp
    n_queries, n_keys = dims.n_text_head * dims.head_dim, dims.n_text_kv_head * dims.head_dim
    layer: Shapes = {
        "attention_norm": (state,),
        "attention.query": (n_queries, state),
        "attention.key": (n_keys, state),
        "attention.value": (n_keys, state),
        "attention.out": (state, n_queries),
        "mlp_norm": (state,),
        "mlp.gate": (mlp, state),
        "mlp.up": (mlp, state),
        "mlp.down": (state, mlp),
    }
    shapes: Shapes = {"language.token_embedding.weight": (dims.n_vocab, state), "language.norm.weight": (state,)}
    if not dims.tied:
        shapes["language.output.weight"] = (dims.n_vocab, state)
    for number in range(dims.n_text_layer):
        shapes |= {f"language.layers.{number}.{name}.weight": shape for name, shape in layer.items()}
    return shapes


def check_dims(source: str, dims: VoxtralDims) -> None:
    """Raise WeightsError unless a Voxtral of these dimensions can be: call it before anything is made in their size."""
    for name, most in _MOST.items():
        if not 1 <= (found := getattr(dims, name)) <= most:
            raise WeightsError(f"{source}: got {name} = {found}, expected 1 to {most}; this is no Voxtral model")
    for name, whole, part in (
        ("n_audio_head", dims.n_audio_state, dims.n_audio_head),
        ("n_text_kv_head", dims.n_text_head, dims.n_text_kv_head),
        ("downsample", dims.n_audio_ctx, dims.downsample),
        ("rotary embedding by twos", dims.head_dim, 2),
        ("sines and cosines", dims.n_audio_state, 4),
    ):
        if whole % part:
            raise WeightsError(f"{source}: {whole} cannot be divided into {part} ({name}); this is no Voxtral model")
    if not (1 < dims.rope_theta < 1e12 and 0 < dims.norm_eps < 1):
        raise WeightsError(
            f"{source}: got rope_theta = {dims.rope_theta:g} and norm_eps = {dims.norm_eps:g}, "
            "expected one above 1 and one of about 1e-5"
        )

"""What the decoder is shown before the words of the window: fixed terms, older text, task."""

from simul_whisper.errors import ConfigError
from simul_whisper.tokenizer import Tokenizer

# Whisper was trained with at most half of its 448 positions taken by the previous text.
MAX_PROMPT_TOKENS = 223


class Context:
    """Static prompt, initial prompt, and the text that scrolled out of the window, oldest first.

    max_tokens: of the text that scrolled out; longest: of all.
    Raises ConfigError when the static prompt leaves no room for itself, and for any where the model is shown none.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        static_prompt: str,
        init_prompt: str,
        max_tokens: int,
        longest: int = MAX_PROMPT_TOKENS,
    ) -> None:
        self._sot_prev = tokenizer.sot_prev
        if self._sot_prev is None and (static_prompt.strip() or init_prompt.strip()):
            name = "static_init_prompt" if static_prompt.strip() else "init_prompt"
            raise ConfigError(
                f"got {name}, but this model is shown no text before the transcript; terms name what to hear"
            )
        self._static = tokenizer.encode(_spaced(static_prompt))
        if len(self._static) > longest:
            raise ConfigError(f"got static_init_prompt of {len(self._static)} tokens, expected at most {longest}")
        self._max_tokens = min(max_tokens, longest - len(self._static))
        self._scrolled: list[int] = []
        self.scroll(tokenizer.encode(_spaced(init_prompt)))

    def scroll(self, tokens: list[int]) -> None:
        """Append text that has left the window; the oldest beyond the limit is forgotten."""
        self._scrolled += tokens
        del self._scrolled[: max(0, len(self._scrolled) - self._max_tokens)]

    def forget(self) -> None:
        """Start afresh: text that has led into a loop would lead into it again."""
        self._scrolled.clear()

    @property
    def scrolled(self) -> list[int]:
        return list(self._scrolled)

    def prompt(self, room: int) -> list[int]:
        """Return at most `room` tokens to stand in front of the start of transcript; the newest text is kept."""
        n_scrolled = min(len(self._scrolled), room - 1 - len(self._static))
        if self._sot_prev is None or n_scrolled < 0 or (n_scrolled == 0 and not self._static):
            return []
        return [self._sot_prev, *self._static, *self._scrolled[len(self._scrolled) - n_scrolled :]]


def _spaced(text: str) -> str:
    """Words of a transcript begin with a space; so must those of a prompt, or the joint between two runs together."""
    stripped = text.strip()
    return f" {stripped}" if stripped else ""

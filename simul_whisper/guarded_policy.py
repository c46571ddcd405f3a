"""When a pass ends: AlignAtt, and guards against text that does not come from the audio. Arithmetic only."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from simul_whisper.alignatt import WANDERING_FRAMES, AlignAttPolicy, AlignedToken, StopReason
from simul_whisper.loops import BEFORE_WINDOW, looped_tail, said_before

_SAME_PLACE_FRAMES = 10
# Nobody says a word again so soon, or begins one so close to the end of the audio; the last word is as close to it.
_SAME_SOUND_FRAMES, _SILENT_FRAMES, _LAST_WORD_FRAMES = 3, 5, 40


@dataclass(frozen=True)
class GuardedPolicy:
    """AlignAtt, and the guards against text that does not come from the audio."""

    policy: AlignAttPolicy
    earlier: Sequence[AlignedToken]
    max_tokens: int
    is_mark: Callable[[int], bool]
    starts_word: Callable[[int], bool]

    def __call__(self, tokens: Sequence[AlignedToken], token: int, frame: int) -> StopReason | None:
        if len(tokens) >= self.max_tokens:
            return StopReason.LENGTH
        following = AlignedToken(token, frame, 0.0)
        if looped_tail([*self.earlier, *tokens, following], self.is_mark):
            return StopReason.LOOP
        if tokens and self._says_again(tokens, following):
            return StopReason.REWIND
        if self.policy.final and self._echoes(tokens, following):
            return StopReason.END_OF_TEXT
        return self.policy.stop(tokens, frame)

    def _echoes(self, tokens: Sequence[AlignedToken], following: AlignedToken) -> bool:
        """Whether the last word is written again where all was said: from its own sound, or the silence after it."""
        text, end_frame = reversed([*self.earlier, *tokens]), self.policy.content_frames
        newest = next((each for each in text if not self.is_mark(each.token)), None)
        is_again = newest is not None and newest.token == following.token and self.starts_word(following.token)
        if newest is None or not is_again or newest.frame < end_frame - _LAST_WORD_FRAMES:
            return False
        is_silent = following.frame >= end_frame - _SILENT_FRAMES
        return is_silent or abs(following.frame - newest.frame) <= _SAME_SOUND_FRAMES

    def _says_again(self, tokens: Sequence[AlignedToken], following: AlignedToken) -> bool:
        """Whether the decoder, having said all, begins again. People who repeat themselves do so later in the audio."""
        text = [*self.earlier, *tokens]
        # One token may be misread from far ahead; two may not.
        is_far = min(each.frame for each in tokens[-2:]) - following.frame > 2 * WANDERING_FRAMES
        if is_far and said_before(text, following) > 0:
            return True
        # A mark is read from anywhere in the silence.
        words = (each for each in reversed(text) if each.frame != BEFORE_WINDOW and not self.is_mark(each.token))
        newest = next(words, tokens[-1])
        if newest.frame - following.frame <= WANDERING_FRAMES or (is_far and not self.is_mark(tokens[-1].token)):
            return False
        same_place = range(following.frame - _SAME_PLACE_FRAMES, following.frame + _SAME_PLACE_FRAMES + 1)
        return any(each.token == following.token and each.frame in same_place for each in text)

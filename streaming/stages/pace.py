"""When speech is heard that is played at once and in real time, and how it catches up when it is late. Pure."""

from simul_whisper import SpeechConfig

# Speech that is less late than the first is not hurried; more than the second, and it is as quick as it may be.
_CALM_S, _HURRIED_S = 3.0, 10.0
# Until something was said: a character of most languages takes about so long.
_SECONDS_PER_CHARACTER = 0.07
_LEARNED = 0.2


class Pace:
    """An account of one voice, on any clock."""

    def __init__(self, config: SpeechConfig) -> None:
        self._config = config
        self._per_character_s = _SECONDS_PER_CHARACTER / config.speed
        # When all that was told will have been heard; None before anything was.
        self._heard_s: float | None = None

    def ahead_s(self, now_s: float) -> float:
        """Return how much speech was told and is not heard yet."""
        return 0.0 if self._heard_s is None else max(0.0, self._heard_s - now_s)

    def tell(self, duration_s: float, now_s: float) -> float:
        """So much is told now. Returns when it begins to be heard."""
        start_s = now_s if self._heard_s is None else max(now_s, self._heard_s)
        self._heard_s = start_s + duration_s
        return start_s

    def stop(self) -> None:
        """What is not heard yet never will be."""
        self._heard_s = None

    def guess_s(self, text: str) -> float:
        """Return how long a text may take at the usual speed."""
        return len(text) * self._per_character_s

    def learn(self, text: str, duration_s: float, speed: float) -> None:
        """A text has taken so long at that speed, which is a multiple of the voice's own."""
        usual_s = duration_s * speed / self._config.speed / max(1, len(text))
        self._per_character_s += _LEARNED * (usual_s - self._per_character_s)

    def speed(self, behind_s: float) -> float:
        """Return how fast to speak when so much speech waits to be heard."""
        return self._config.speed * (1 + (self._config.most_speed - 1) * self._hurry(behind_s))

    def pause_s(self, behind_s: float, now_s: float) -> float:
        """Return the silence to tell before the next sentence: less when it is late, or silence was heard already."""
        if self._heard_s is None:
            return 0.0
        return max(0.0, self._config.pause * (1 - self._hurry(behind_s)) - max(0.0, now_s - self._heard_s))

    def _hurry(self, behind_s: float) -> float:
        """Return 0 to 1."""
        calm_s, hurried_s = min(_CALM_S, self._config.most_behind / 4), min(_HURRIED_S, self._config.most_behind / 2)
        return min(1.0, max(0.0, (behind_s - calm_s) / (hurried_s - calm_s)))

"""One listener: audio in, events out. It does no I/O and knows no thread and no clock but the samples.

Taking audio and decoding it are apart, so that one thread can take turns among many sessions: `take` and `finish` only
plan, `turn` runs at most one inference, in pieces. `feed` and `end` do both. Decoding is planned by the samples alone,
so how the audio was cut never changes the events: soon after the onset, where the speaker pauses, and else
`segment_length` after the pass before.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simul_whisper import (
    SAMPLE_RATE,
    AlignAttConfig,
    Model,
    PaddedAlignAttWhisper,
    Pieces,
    SimulWhisperError,
    StopReason,
    Timing,
    Update,
    Word,
    as_samples,
    finished,
)
from streaming.audio.gate import open_gate
from streaming.audio.speech import GateEvent, Offset, Onset, Pause, Speech
from streaming.events import (
    AudioDropped,
    BackendChanged,
    Cleared,
    CutShort,
    Draft,
    Event,
    Flushed,
    Language,
    Recognised,
    SpeechEnded,
    SpeechStarted,
    Translation,
    TranslationDraft,
    Words,
)
from streaming.sessions.drafts import steady, texts
from streaming.sessions.pace import Pace
from streaming.sessions.plan import Decode, GiveUp, Task, without_early_drafts
from streaming.settings import VoiceConfig

_ENGLISH = "en"


class SessionEndedError(SimulWhisperError):
    """Audio, or an end, after the end."""


@dataclass(frozen=True)
class Turn:
    """What one step brought, and what its inference cost (no windows: nothing was decoded)."""

    events: tuple[Event, ...]
    timing: Timing


class Session:
    """Everything that belongs to one listener.

    drafts: whether text that may still change is told too.
    Raises what `PaddedAlignAttWhisper` raises, when made and when decoding.
    """

    def __init__(
        self, config: AlignAttConfig, model: Model, voice: VoiceConfig | None = None, *, drafts: bool = True
    ) -> None:
        self._whisper = PaddedAlignAttWhisper(config, model, drafts=drafts)
        self._voice, self._drafts = voice or VoiceConfig(), drafts
        self._gate = open_gate(self._voice)
        self._segment_samples = round(config.segment_length * SAMPLE_RATE)
        self._most_at_once = round(config.audio_max_len * SAMPLE_RATE) // 2
        self._plan: deque[Task] = deque()
        # What was taken of the utterance that is open, and not planned yet; None between utterances.
        self._held: NDArray[np.float32] | None = None
        self._held_start = 0
        self._is_first = True
        # Whether a pause is the latest that was heard of it.
        self._has_paused = False
        self._pace = Pace(self._segment_samples, is_gated=self._voice.vad, drafts=drafts)
        # The number of the utterance that was planned last, and of the one that was decoded last.
        self._planned_utterance = self._utterance = 0
        # Whether the latter was begun and not decoded to its end.
        self._is_decoding = False
        self._end_sample = 0
        self._is_ended = False
        self._language = self._whisper.language if config.language != "auto" else None
        self._draft: tuple[Word, ...] = ()
        self._draft_translation: tuple[Word, ...] = ()
        self._heard_s = 0.0
        # What the next turn tells; kept here, because a turn may be given up.
        self._untold: list[Event] = []
        self._n_decoded = 0

    def feed(self, samples: NDArray[np.float32]) -> list[Event]:
        """Take audio, decode all that is due, and return what is new."""
        self.take(samples)
        return self._all_steps()

    def end(self) -> list[Event]:
        """Nothing follows: decode the rest. The last event is `Recognised`."""
        self.finish()
        return self._all_steps()

    # What a worker that has other sessions too needs

    def take(self, samples: NDArray[np.float32]) -> None:
        """Take float32 (n,) mono 16 kHz in [-1, 1], any n; decode nothing.

        Raises AudioFormatError for anything else, which changes nothing, and SessionEndedError after the end.
        """
        self._check_not_ended()
        checked = as_samples(samples)
        self._end_sample += len(checked)
        self._plan_speech(self._gate.feed(checked))

    def drop(self, n_samples: int) -> None:
        """The next `n_samples` of the stream are lost. What came before them is decoded to its end."""
        self._check_not_ended()
        self._plan_speech(self._gate.end())
        self._close()
        lost_from, self._end_sample = self._end_sample, self._end_sample + n_samples
        self._plan.append(AudioDropped(lost_from / SAMPLE_RATE, self._end_sample / SAMPLE_RATE))
        self._gate = open_gate(self._voice, self._end_sample)

    def flush(self) -> None:
        """Plan to decode all that was taken to its end, as if speech had ended here. The stream goes on."""
        self._check_not_ended()
        self._plan_speech(self._gate.end())
        self._close()
        self._plan.append(Flushed(self._end_sample / SAMPLE_RATE))
        self._gate = open_gate(self._voice, self._end_sample)

    def clear(self, n_samples: int = 0) -> None:
        """Give up what was taken and is not decoded yet, and the next `n_samples`; the stream goes on.

        Also after the end, when no samples follow.
        """
        was_over = self.is_over
        self._plan_speech(self._gate.end())
        self._close()
        self._end_sample += n_samples
        given_up: list[Task] = [GiveUp()] if self._is_decoding else []
        kept = [each for each in self._plan if not isinstance(each, Decode | GiveUp | Recognised)]
        self._plan = deque([*given_up, *kept])
        if not was_over:
            self._plan.append(Cleared(self._end_sample / SAMPLE_RATE))
        if self._is_ended and not was_over:
            self._plan.append(Recognised(self._end_sample / SAMPLE_RATE))
        self._gate = open_gate(self._voice, self._end_sample)

    def finish(self) -> None:
        """Nothing follows; decode nothing yet."""
        self._check_not_ended()
        self._is_ended = True
        self._plan_speech(self._gate.end())
        self._close()
        self._plan.append(Recognised(self._end_sample / SAMPLE_RATE))

    def choose_targets(self, targets: Sequence[str]) -> None:
        """Translate into these from the next pass on; as of `PaddedAlignAttWhisper`, which may know English only."""
        self._whisper.choose_targets(targets)

    @property
    def is_due(self) -> bool:
        """Whether `turn` has something to do."""
        return bool(self._plan)

    @property
    def is_over(self) -> bool:
        """Whether everything was recognised."""
        return self._is_ended and not self._plan

    @property
    def due_sample(self) -> int | None:
        """Where the oldest audio that is due to be decoded ends, passes before drafts; None when none is."""
        due = [task for task in self._plan if isinstance(task, Decode)]
        return min(due, key=lambda task: (task.is_glimpse, task.end_sample)).end_sample if due else None

    @property
    def is_pass_due(self) -> bool:
        """Whether more is due than drafts."""
        return any(isinstance(task, Decode) and not task.is_glimpse for task in self._plan)

    def skip_drafts(self) -> None:
        """Do not read the drafts that are due before something else is: that shows more."""
        self._plan = without_early_drafts(self._plan)

    @property
    def due_samples(self) -> int:
        """How much audio is due to be decoded. Any thread may ask."""
        return sum(len(task.samples) for task in tuple(self._plan) if isinstance(task, Decode))

    @property
    def n_planned(self) -> int:
        """How many steps are planned: passes, and what is told between them."""
        return len(self._plan)

    @property
    def is_flush_due(self) -> bool:
        """Whether what is due has to be decoded for a flush."""
        return any(isinstance(task, Flushed) for task in self._plan)

    @property
    def decoded_samples(self) -> int:
        """How much audio was decoded so far, which is all but silence."""
        return self._n_decoded

    @property
    def taken_samples(self) -> int:
        """The length of the stream so far, lost audio included."""
        return self._end_sample

    def step(self, *, coalesce: bool = False) -> Turn:
        """Do a whole `turn` at once."""
        return finished(self.turn(coalesce=coalesce), self._whisper.model.answer)

    def turn(self, *, coalesce: bool = False) -> Pieces[Turn]:
        """Run at most one inference; with `coalesce`, over all that is due in the utterance, up to half a window.

        Between pieces, audio may be taken and all the rest planned. It may be given up before a `clear`, and before a
        pass if it only reads a draft.
        """
        timing = Timing()
        while self._plan and not (timing.windows and isinstance(self._plan[0], Decode)):
            task = self._plan.popleft()
            if isinstance(task, Decode):
                update = yield from self._decoded(task, coalesce=coalesce)
                if update:
                    timing = update.timing
                    self._untold += self._news(update)
            elif isinstance(task, GiveUp):
                self._untold += self._given_up()
            else:
                self._untold.append(task)
        told, self._untold = tuple(self._untold), []
        return Turn(told, timing)

    def _all_steps(self) -> list[Event]:
        events = list[Event]()
        while self.is_due:
            events += self.step().events
        return events

    def _check_not_ended(self) -> None:
        if self._is_ended:
            raise SessionEndedError("audio came after the end of the session; open a new one")

    def _plan_speech(self, heard: Iterable[GateEvent]) -> None:
        for event in heard:
            if isinstance(event, Onset):
                self._plan.append(SpeechStarted(event.sample / SAMPLE_RATE, self._planned_utterance + 1))
            elif isinstance(event, Speech):
                self._plan_segments(event)
            elif isinstance(event, Pause):
                self._plan_pause()
            else:
                assert isinstance(event, Offset)
                self._close()
                self._plan.append(SpeechEnded(event.sample / SAMPLE_RATE, self._planned_utterance))

    def _plan_segments(self, speech: Speech) -> None:
        """Plan to decode whatever is long enough; hold what is left."""
        if self._held is None:
            self._held, self._held_start = np.zeros(0, np.float32), speech.start_sample
            self._is_first, self._has_paused = True, False
            self._pace.begin(speech.start_sample)
            self._planned_utterance += 1
        if self._has_paused:
            # Of a silence that speech has ended, what is longer than between two words is nothing to decode.
            self._has_paused = False
            self._pace.leave_out(max(0, len(speech.samples) - self._segment_samples // 2))
        joined, start = np.concatenate([self._held, speech.samples]), 0
        while start + (n := (due := self._pace.due(self._held_start)).sample - self._held_start) <= len(joined):
            self._plan_decode(joined[start : start + n], is_last=False, is_glimpse=due.is_glimpse)
            start += n
        self._held = joined[start:].copy()

    def _plan_pause(self) -> None:
        """Plan to decode what is held, because the last word has ended."""
        if self._held is not None and self._held_start + len(self._held) > self._pace.passed_sample:
            self._plan_decode(self._held, is_last=False, at_pause=True)
            self._held, self._has_paused = self._held[:0], True

    def _plan_decode(
        self, samples: NDArray[np.float32], *, is_last: bool, at_pause: bool = False, is_glimpse: bool = False
    ) -> None:
        number, is_first = self._planned_utterance, self._is_first
        self._plan.append(Decode(samples, self._held_start, number, is_first, is_last, at_pause, is_glimpse))
        self._held_start += len(samples)
        self._is_first = False
        if not is_glimpse:
            self._pace.pass_to(self._held_start)

    def _close(self) -> None:
        """End the utterance, if one is open."""
        if self._held is not None:
            self._plan_decode(self._held, is_last=True)
            self._held = None

    def _decoded(self, task: Decode, *, coalesce: bool) -> Pieces[Update | None]:
        """Decode what is due; of a session that is late, no glimpse: that is for whoever is in time."""
        self._utterance = task.utterance
        if task.is_first:
            self._whisper.refresh_segment(task.start_sample)
        self._whisper.insert_audio(task.samples)
        n, is_glimpse = len(task.samples), task.is_glimpse
        while coalesce and not task.is_last and self._plan and n < self._most_at_once:
            following = self._plan[0]
            if not isinstance(following, Decode):
                break
            task = following
            self._plan.popleft()
            self._whisper.insert_audio(task.samples)
            n, is_glimpse = n + len(task.samples), is_glimpse and task.is_glimpse
        self._n_decoded += n
        self._is_decoding = True
        if is_glimpse and coalesce:
            return None
        update = yield from (
            self._whisper.glimpse()
            if is_glimpse
            else self._whisper.inference(is_last=task.is_last, at_pause=task.at_pause)
        )
        self._is_decoding = not task.is_last
        return update

    def _given_up(self) -> list[Event]:
        """Leave the utterance as it is, and return the last word of each text if that had been committed."""
        words, heard_s = self._whisper.refresh_segment(), self._heard_s
        self._is_decoding = False
        # Nothing is left to be decoded; the translation's last word comes with the next update.
        return [*self._told_words(words, heard_s), *self._news(self._whisper.infer(is_last=True))]

    def _news(self, update: Update) -> list[Event]:
        events = list[Event]()
        for part, change in (("encoder", update.encoder_change), ("decoder", update.decoder_change)):
            if change:
                events.append(BackendChanged(change.before, change.after, change.reason, part))
        has_changed = update.language not in (None, self._language)
        if has_changed:
            assert update.language is not None
            events.append(Language(update.language, self._utterance))
            self._language = update.language
        self._heard_s = update.audio_end_s
        draft = update.draft_words if has_changed else steady(self._draft, update)
        told = self._told_words(update.words, self._heard_s)
        events += [*told, *self._told_draft(draft, follows_words=bool(told))]
        events += self._told_translation(update.translation, update.draft_translation)
        if update.stop is StopReason.CUT_SHORT:
            events.append(CutShort(self._heard_s, self._utterance))
        return events

    def _told_words(self, words: tuple[Word, ...], heard_s: float) -> list[Event]:
        return [Words(words, heard_s, self._utterance)] if words else []

    def _told_draft(self, words: tuple[Word, ...], *, follows_words: bool) -> list[Event]:
        """Times alone that have changed are no news; the same text after other words is."""
        is_same = texts(words) == texts(self._draft) and not (follows_words and words)
        if not self._drafts or is_same:
            return []
        self._draft = words
        return [Draft(words, self._utterance)]

    def _told_translation(self, words: tuple[Word, ...], draft: tuple[Word, ...]) -> list[Event]:
        """Return what Whisper has translated, which is into English."""
        events = list[Event]()
        if words:
            events.append(Translation(_ENGLISH, words, words[0].start_s, words[-1].end_s, self._utterance))
        if self._drafts and texts(draft) != texts(self._draft_translation):
            self._draft_translation = draft
            events.append(TranslationDraft(_ENGLISH, draft, self._utterance))
        return events

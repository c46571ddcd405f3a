"""One listener's session, over the sessions of replicas that have it in turn: what is said to them, and kept until it
need not be said again.

Pure: it knows neither lines nor threads. A replica's session hears the audio from a position on; when it is lost, the
next one hears it from where all had been told for certain.
"""

from collections import deque
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from simul_whisper import SAMPLE_RATE, AlignAttConfig, as_samples
from streaming.cluster.line import Audio, ChooseTargets, Clear, Command, End, Flush, Open, Report, Skip
from streaming.cluster.retelling import Retelling
from streaming.events import AudioDropped, Cleared, Event, Failed, Flushed
from streaming.replay.audio_buffer import AudioBuffer
from streaming.replay.recovery import RECOVERY, After
from streaming.sessions.session import SessionEndedError
from streaming.settings import VoiceConfig

# A replica takes no more than some seconds that it has not decoded, so this is enough of what it has received.
_RECOVERY = replace(RECOVERY, after_receipt_s=30.0)
_SAMPLE_BYTES = 4
_AT_ONCE = 2 * SAMPLE_RATE
# Of flushes that wait, the oldest beyond these are covered by the ones after them.
_MAX_FLUSHES = 64


@dataclass
class _Flush:
    """Asked for at this sample, and not told yet. is_sent: to the present session."""

    at: int
    is_sent: bool = False


@dataclass(frozen=True)
class Heard:
    """What an answer brought. is_lost: the session cannot go on where it is."""

    events: tuple[Event, ...]
    is_lost: bool = False


class RelayedSession:
    """config, voice, drafts: what was asked for; capacity_samples: how many may wait to be taken by a replica."""

    def __init__(
        self, name: str, config: AlignAttConfig, voice: VoiceConfig | None, *, drafts: bool, capacity_samples: int
    ) -> None:
        self._name, self._n_lost = name, 0
        self._config, self._voice, self._drafts = config, voice, drafts
        self._capacity = capacity_samples
        self._told = Retelling(_RECOVERY, tuple(config.targets))
        # Its positions are bytes of float32.
        self._audio = AudioBuffer()
        self._flushes: deque[_Flush] = deque(maxlen=_MAX_FLUSHES)
        self._is_draining = self._is_ended = False
        # The sample of a clear that was asked for and not told; from where on audio was given up, which was not told.
        self._cleared_at: int | None = None
        self._dropped_from_s: float | None = None
        # The present session: the sample at which it began, the one up to which it has taken all, and what was said.
        self._start = self._position = 0
        # Up to where any session has taken the audio.
        self._furthest = 0
        self._is_open = self._is_end_sent = self._is_clear_sent = False
        self._are_targets_sent = True

    # What the listener does

    def submit(self, samples: NDArray[np.float32], *, drop_oldest: bool) -> int:
        """As `SessionHandle.submit`; while draining, audio is passed over."""
        checked = as_samples(samples)
        self._check_open("audio")
        if self._is_draining:
            return len(checked)
        # What has to be heard again takes no room from what was never heard.
        room = self._capacity - (self._end - max(self._furthest, self._kept_from))
        taken = checked if drop_oldest else checked[:room]
        self._audio.write(taken.tobytes())
        if len(taken) > room:
            self._drop(self._capacity)
        return len(taken)

    def skip(self, n_samples: int) -> bool:
        """As `SessionHandle.skip`."""
        self._check_open("audio")
        if self.waiting_samples:
            return False
        self._audio.write(bytes(_SAMPLE_BYTES * n_samples))
        self._drop(0)
        return True

    def flush(self) -> None:
        self._check_open("a flush")
        if not self._flushes or self._flushes[-1].is_sent or self._flushes[-1].at != self._end:
            self._flushes.append(_Flush(self._end))

    def clear(self, n_samples: int = 0) -> None:
        """As `SessionHandle.clear`; what was cleared is heard by no later session either."""
        self._audio.write(bytes(_SAMPLE_BYTES * n_samples))
        self._audio.shorten(0)
        self._cleared_at, self._is_clear_sent, self._dropped_from_s = self._end, False, None
        self._move_flushes(self._end)

    def choose_targets(self, targets: tuple[str, ...]) -> None:
        self._told.choose(targets)
        self._config, self._are_targets_sent = replace(self._config, targets=targets), False

    def end(self) -> None:
        self._check_open("an end")
        self._is_ended = True

    def drain(self) -> None:
        """Take no more audio; what was taken will be heard."""
        self._is_draining = True

    @property
    def waiting_samples(self) -> int:
        """How much audio waits to be taken by a replica."""
        return self._end - max(self._position, self._kept_from)

    # What a line does

    @property
    def name(self) -> str:
        """That of the present session, which no other has."""
        return f"{self._name}-{self._n_lost}"

    def commands(self) -> list[Command]:
        """Return what is to be said to the replica now, after which `answered` or `lost` is called."""
        commands, name, at = list[Command](), self.name, self._position
        if not self._is_open:
            again_s = (self._end - self._kept_from) / SAMPLE_RATE if self._n_lost else 0.0
            commands.append(Open(name, self._config, self._voice, self._drafts, again_s))
        elif not self._are_targets_sent:
            commands.append(ChooseTargets(name, tuple(self._config.targets)))
        self._is_open = self._are_targets_sent = True
        if self._cleared_at is not None and not self._is_clear_sent:
            commands.append(Clear(name, max(0, self._cleared_at - at)))
            self._is_clear_sent, at = True, max(at, self._cleared_at)
        if at < self._kept_from:
            commands.append(Skip(name, self._kept_from - at))
            at = self._kept_from
        return [*commands, *self._next_audio(at)]

    def answered(self, report: Report | None) -> Heard:
        """Take what the replica says, if it has said something of this session."""
        if report and report.refused:
            return self._over(report.refused.reason.value, Failed(report.refused.reason, report.refused.message))
        if report:
            self._position = self._start + report.n_taken
            self._furthest = max(self._furthest, self._position)
        for flush in self._flushes:
            flush.is_sent &= flush.at <= self._position
        self._is_end_sent &= self._position == self._end
        told = list[Event]()
        for event in report.events if report else ():
            if isinstance(event, Failed):
                over = self._over(event.reason.value, event)
                return Heard((*told, *over.events), over.is_lost)
            told += self._once(event)
        self._forget()
        return Heard(tuple(told))

    def lost(self) -> tuple[list[Event], float]:
        """Begin anew with another replica; return what is to be told, and how many seconds will be heard again."""
        if not self._is_open:
            return [], 0.0
        told, from_s = list[Event](), self._kept_from / SAMPLE_RATE
        if self._dropped_from_s is not None:
            dropped = AudioDropped(max(self._dropped_from_s, self._told.heard_s), from_s)
            told = self._told.dropped(dropped) if dropped.from_s < from_s else []
            self._dropped_from_s = None
        again_s = max(0, self._position - self._kept_from) / SAMPLE_RATE
        self._start = self._position = self._kept_from
        self._told.start_anew(from_s)
        self._is_open = self._is_end_sent = self._is_clear_sent = False
        self._n_lost += 1
        for flush in self._flushes:
            flush.is_sent = False
        self._move_flushes(self._start)
        return told, again_s

    def _next_audio(self, at: int) -> list[Command]:
        """Return what follows this sample, as much as is said at once, with the flushes and the end between."""
        commands, stop = list[Command](), min(self._end, at + _AT_ONCE)
        for flush in self._flushes:
            if flush.is_sent or flush.at > stop:
                continue
            commands += [*self._audio_between(at, flush.at), Flush(self.name)]
            flush.is_sent, at = True, flush.at
        commands += self._audio_between(at, stop)
        if (self._is_ended or self._is_draining) and not self._is_end_sent and stop == self._end:
            commands.append(End(self.name))
            self._is_end_sent = True
        return commands

    def _audio_between(self, at: int, stop: int) -> list[Command]:
        if at >= stop:
            return []
        self._audio.rewind(_SAMPLE_BYTES * at)
        return [Audio(self.name, np.frombuffer(self._audio.play(_SAMPLE_BYTES * (stop - at)), np.float32))]

    # What was told

    def _once(self, event: Event) -> list[Event]:
        """Return what is new to the reader of an event of the present session."""
        if isinstance(event, Flushed):
            at = self._start + round(event.at_s * SAMPLE_RATE)
            while self._flushes and self._flushes[0].is_sent and self._flushes[0].at <= at:
                self._flushes.popleft()
        told = self._told.told(event)
        for each in told:
            if isinstance(each, Cleared) and self._is_clear_sent and not self._is_before_clear(each):
                self._cleared_at = None
            if isinstance(each, AudioDropped) and round(each.to_s * SAMPLE_RATE) >= self._kept_from:
                self._dropped_from_s = None
        return told

    def _is_before_clear(self, event: Cleared) -> bool:
        """Whether it is the answer to an earlier clear than the last."""
        return self._cleared_at is not None and round(event.at_s * SAMPLE_RATE) < self._cleared_at

    def _over(self, code: str, failed: Failed) -> Heard:
        """The replica's session is over by an error; another may do better."""
        is_lost = RECOVERY.after(code) is not After.STOP
        return Heard(() if is_lost else (failed,), is_lost)

    def _forget(self) -> None:
        """Keep no audio that need not be heard again."""
        if self._position > self._kept_from:
            needed = round(self._told.needed_from_s(self._position / SAMPLE_RATE) * SAMPLE_RATE)
            self._audio.rewind(_SAMPLE_BYTES * self._position)
            self._audio.forget(_SAMPLE_BYTES * needed)

    def _drop(self, n_kept: int) -> None:
        """Give up the oldest audio, which will be told."""
        if self._dropped_from_s is None:
            self._dropped_from_s = self._kept_from / SAMPLE_RATE
        self._audio.shorten(_SAMPLE_BYTES * n_kept)
        self._move_flushes(self._kept_from)

    def _move_flushes(self, at: int) -> None:
        """Ask not before that for flushes that were not asked for yet."""
        for flush in self._flushes:
            flush.at = flush.at if flush.is_sent else max(flush.at, at)

    def _check_open(self, what: str) -> None:
        if self._is_ended:
            raise SessionEndedError(f"{what} came after the end of the session; open a new one")

    @property
    def _kept_from(self) -> int:
        return self._audio.start // _SAMPLE_BYTES

    @property
    def _end(self) -> int:
        return self._audio.end // _SAMPLE_BYTES

"""What is told of sessions to those who run the server: that they begin and end, and who gets none. Never what is said.

Their records stand at the level info.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from simul_whisper import AlignAttConfig
from streaming.events import Failed
from streaming.sessions.event_log import EventLog
from streaming.sessions.request import Refusal
from streaming.tracing import add_refusal, current, working_for

logger = logging.getLogger(__name__)


def tell_opened(log: EventLog, model: str, config: AlignAttConfig, targets: tuple[str, ...]) -> None:
    """A session of whoever this task works for has begun."""
    visit, trace = current(), log.trace
    trace.dialect, trace.client, visit.session = visit.dialect, visit.client, trace.session
    about = {"model": model, "language": config.language, "targets": ",".join(targets)}
    trace.begin(about)
    with working_for(trace):
        logger.info(
            "session %s opened: dialect %s, model %s, language %s, targets %s",
            trace.session,
            trace.dialect or "none",
            model,
            config.language,
            about["targets"] or "none",
            extra=about,
        )


def tell_ended(log: EventLog, *, has_left: bool) -> None:
    """A session is over. has_left: its client has gone before, and nobody waits for the rest."""
    last = log.last
    reason = last.reason.value if isinstance(last, Failed) else "left" if has_left else "ended"
    about: dict[str, str | int | float] = {
        "reason": reason,
        "audio_s": round(log.heard_s, 3),
        "compute_s": round(log.compute_s, 3),
        "words": log.n_words,
    }
    log.trace.end(about, has_failed=isinstance(last, Failed))
    with working_for(log.trace):
        logger.info(
            "session %s over: %s; %.1f s of audio, %.1f s of computation, %d words",
            log.trace.session,
            *about.values(),
            extra=about,
        )


@contextmanager
def telling_refusals() -> Iterator[None]:
    """Tell it, when what is done here ends with a refusal: whoever this task works for gets no session."""
    try:
        yield
    except Refusal as refusal:
        reason = refusal.reason.value
        add_refusal(reason)
        logger.info("refused: %s", reason, extra={"reason": reason})
        raise

"""What an event means to somebody who reads along, where the captions do not say it themselves."""

from streaming.events import AudioDropped, BackendChanged, CutShort, Event, Failed, SpeechSkipped, TranslationSkipped


def notice_of(event: Event) -> str | None:
    """Return a line for people; None when the captions say it themselves."""
    match event:
        case AudioDropped(from_s, to_s):
            return f"{to_s - from_s:.1f} s of audio were dropped at {shown_time(from_s)}: this machine is too slow"
        case CutShort(at_s):
            return f"words may be missing before {shown_time(at_s)}: decoding took too long, and was ended early"
        case TranslationSkipped(target, from_s, to_s, why):
            return f"{target}: {shown_time(from_s)} to {shown_time(to_s)} is not translated: {why}"
        case SpeechSkipped(target, _, from_s, to_s, why):
            spoken = f"{target}: " if target else ""
            return f"{spoken}{shown_time(from_s)} to {shown_time(to_s)} is not spoken: {why}"
        case BackendChanged(before, after, reason, part):
            return f"{part} {after} in place of {before}: {reason}"
        case Failed(_, message):
            return message
    return None


def shown_time(seconds: float) -> str:
    """Return a time of the stream, to the second."""
    minutes, whole_s = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{whole_s:02}" if hours else f"{minutes:02}:{whole_s:02}"

"""What a stranger has written: JSON within bounds, and foreign values as text that can be told anywhere. Pure."""

import json
from typing import Any, NoReturn

from simul_whisper import ConfigError, checked_targets
from streaming.events import Reason
from streaming.sessions.request import Refusal

MAX_CONTROL_BYTES = 16_384
_SHOWN_CHARS = 80


class ProtocolError(Refusal):
    """The other side broke the protocol."""


def refuse(reason: Reason, message: str) -> NoReturn:
    """Raise ProtocolError."""
    raise ProtocolError(reason, message)


def parse_object(text: str, most_chars: int = MAX_CONTROL_BYTES) -> dict[str, Any]:
    """Read a JSON object. Raises ProtocolError for anything else, and for what is longer."""
    if len(text) > most_chars:
        refuse(Reason.MESSAGE_TOO_BIG, f"got {len(text)} characters of JSON, expected at most {most_chars}")
    try:
        # Python's reader also takes NaN, and numbers too long to be turned into text again.
        message = json.loads(text, parse_constant=_not_json, parse_int=_whole)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(Reason.BAD_JSON, f"got {shown(text)}, expected JSON: {shown(str(error))}") from error
    if not isinstance(message, dict):
        refuse(Reason.BAD_JSON, f"got {shown(message)}, expected a JSON object")
    return message


def target_code(language: str) -> str:
    """Return the code of a language to translate into. Raises ProtocolError."""
    try:
        return checked_targets([language])[0]
    except ConfigError as error:
        raise ProtocolError(Reason.CONFIG, shown(str(error), 300)) from error


def shown(value: Any, most_chars: int = _SHOWN_CHARS) -> str:
    """Return a foreign value as short text that can be sent and printed anywhere."""
    text = value if isinstance(value, str) and most_chars > _SHOWN_CHARS else ascii(value)
    short = text if len(text) <= most_chars else text[: most_chars - 3] + "..."
    return short.encode("ascii", "backslashreplace").decode()


def _not_json(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _whole(digits: str) -> int:
    if len(digits) > 18:
        raise ValueError("a number is too long")
    return int(digits)

"""How a client recovers: the table that this client and that of the page both read, and what its rows mean.

The table is `streaming/web/recovery.json`, because a browser must be able to fetch it.
"""

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

_TABLE = Path(__file__).parents[1] / "web" / "recovery.json"


class After(Enum):
    """What a client does after an error, in whatever phase it comes.

    AGAIN: connect again, and resume the session if there is one. RENEW: the session is gone; open another, and play it
    the audio that was kept. STOP: tell the user, because nothing would be different the next time.
    """

    AGAIN = "again"
    RENEW = "renew"
    STOP = "stop"


@dataclass(frozen=True)
class Recovery:
    """delays_s: before the first, second ... attempt in a row; the last of them before all others.
    spread, most_wait_s: where the server says when to come back, that is obeyed, up to the second number; by the first
    one, of the time, clients come later at random, so that not all of them come at once.
    patience_s: for so long a server that was reached once is tried again; the page tries until it is told to stop.
    silent_s: a server that owes an answer and says nothing for so long is taken for unreachable.
    events_per_ack: after so many events the server is told that it may forget them.

    Audio is kept for a session that may have to begin anew: from the last pause between utterances on, at most
    before_word_s before the last word, and at most after_receipt_s before what the server has received: all before
    that was decoded, or was silence.
    same_word_s: a word that is heard again begins at most so far from where it began before.
    most_unsent_s: a source that can wait, such as a file, waits while so much is unsent.
    most_kept_s, kept_when_full_s: of a source that cannot wait, the oldest audio is dropped, down to the second number,
    when more than the first is kept; the user is told which.
    codes: of the protocol, and of the client itself: unreachable, silent, gap (an event is missing) and full (audio had
    to be dropped). Other codes stop.
    """

    delays_s: tuple[float, ...]
    spread: float
    most_wait_s: float
    patience_s: float
    silent_s: float
    events_per_ack: int
    before_word_s: float
    after_receipt_s: float
    same_word_s: float
    most_unsent_s: float
    most_kept_s: float
    kept_when_full_s: float
    codes: Mapping[str, After]

    def after(self, code: str) -> After:
        return self.codes.get(code, After.STOP)

    def delay_s(self, n_failures: int) -> float:
        """Return how long to wait after so many failures in a row, where nobody has said so."""
        return self.delays_s[min(n_failures, len(self.delays_s)) - 1]

    def wait_s(self, told_s: float) -> float:
        """Return how long to wait where the server has said so."""
        return min(told_s, self.most_wait_s) * random.uniform(1, 1 + self.spread)


def _read() -> Recovery:
    table = json.loads(_TABLE.read_text("utf-8"))
    codes = {code: After(then) for code, then in table.pop("codes").items()}
    return Recovery(tuple(table.pop("delays_s")), **table, codes=codes)


RECOVERY = _read()

"""A session as a server keeps it: audio that came is taken once, as far as there is room, and ends as it should."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from simul_whisper import SAMPLE_RATE
from streaming.events import Failed, Reason
from streaming.server.hosted import HostedSession
from streaming.sessions.handle import ThreadHandle
from streaming.sessions.inbox import AudioInbox
from streaming.sessions.request import Refusal
from tests.conftest import RECORDINGS

FLAC = (RECORDINGS / "captions.flac").read_bytes()
_T = TypeVar("_T")

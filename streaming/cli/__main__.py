"""`python -m streaming.cli` is `simul-whisper`."""

import sys

from streaming.cli import main

sys.exit(main())

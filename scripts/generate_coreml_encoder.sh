#!/usr/bin/env bash
# The command that users of whisper.cpp know: MODEL and, if wanted, flags of `simul-whisper coreml convert`.
# Leaves models/ggml-MODEL-encoder.mlpackage, on macOS compiled beside it.
set -euo pipefail
if [ $# -eq 0 ]; then
    echo "usage: $0 MODEL [FLAGS]; see simul-whisper coreml convert --help" >&2
    exit 2
fi
exec simul-whisper coreml convert "$@"

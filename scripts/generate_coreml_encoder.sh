#!/usr/bin/env bash
# The command that users of whisper.cpp know: MODEL, or -h5 NAME PATH for one that somebody trained further, and if wanted
# flags of `simul-whisper coreml convert`. Leaves models/ggml-NAME-encoder.mlpackage, on macOS compiled beside it.
set -euo pipefail

usage() {
    echo "$1" >&2
    echo "usage: $0 MODEL [FLAGS], or $0 -h5 NAME PATH [FLAGS]; see simul-whisper coreml convert --help" >&2
    exit 2
}

[ $# -gt 0 ] || usage "got no MODEL"
if [ "$1" = -h5 ]; then
    if [ $# -lt 3 ] || [[ $2 = -* || $3 = -* ]]; then
        usage "-h5 needs a NAME and the PATH, or hub id, of a model"
    fi
    exec simul-whisper coreml convert "$3" --name "$2" "${@:4}"
fi
exec simul-whisper coreml convert "$@"

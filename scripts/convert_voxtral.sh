#!/usr/bin/env bash
# A Voxtral's encoder and projector as a Core ML package: --model-path MODEL, a directory or hub id, --output DIR, and if
# wanted other flags of `simul-whisper coreml convert`, such as --part encoder or --extract FILE.
set -euo pipefail

usage() {
    echo "$1" >&2
    echo "usage: $0 --model-path MODEL [--output DIR] [FLAGS]; see simul-whisper coreml convert --help" >&2
    exit 2
}

model=
flags=()
while [ $# -gt 0 ]; do
    if [ "$1" = --model-path ]; then
        [[ $# -gt 1 && $2 != -* ]] || usage "--model-path needs a MODEL"
        model=$2
        shift 2
    else
        flags+=("$1")
        shift
    fi
done
[ -n "$model" ] || usage "got no --model-path"
exec simul-whisper coreml convert "$model" ${flags[@]+"${flags[@]}"}

"""Where `transcribe` writes what is spoken: a WAV file for each recording, channel and language."""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from simul_whisper import ConfigError, language_code
from streaming.cli.options import Configs, listed
from streaming.cli.output_files import file_names, is_folder, labelled_path, made_folder
from streaming.cli.speech import add_speech_settings, opened_voices, speech_flags, speech_from
from streaming.output.texts import TRANSCRIPT

if TYPE_CHECKING:
    from streaming.evaluation.speaking import Speaking
    from streaming.output.speech_track import SpeechTrack

_SUFFIX = ".wav"
_TRANSCRIPT_NAME = "transcript"


def add_speaking_options(parser: argparse.ArgumentParser) -> None:
    """Add --speak and what goes with it."""
    parser.add_argument(
        "--speak",
        metavar="FILE.wav|DIR/",
        help="also speak the translation, or the transcript, and write that to FILE; in a folder each file gets one",
    )
    parser.add_argument(
        "--speak-target",
        type=listed,
        metavar="LANG,...",
        help=f"which translations are spoken, or {_TRANSCRIPT_NAME} (default: all, or the transcript where none is); "
        "several are a file each, such as talk.es.wav",
    )
    parser.add_argument("--speak-over", action="store_true", help="with the original, at a low volume, underneath")
    add_speech_settings(parser)


def spoken_targets(options: argparse.Namespace, configs: Configs) -> tuple[str, ...]:
    """Return the texts that are spoken, "" for the transcript; none without --speak.

    Raises ConfigError for flags that do not go together.
    """
    if not options.speak:
        own = {"--speak-target": options.speak_target, "--speak-over": options.speak_over}
        given = [*speech_flags(options), *(flag for flag, is_given in own.items() if is_given)]
        if given:
            raise ConfigError(f"{given[0]} needs --speak FILE.wav")
        return ()
    targets = configs.engine.targets
    if not options.speak_target:
        return tuple(targets) or (TRANSCRIPT,)
    chosen = [
        TRANSCRIPT if each == _TRANSCRIPT_NAME else language_code(each, may_be_auto=False)
        for each in options.speak_target
    ]
    for each in chosen:
        if each not in (TRANSCRIPT, *targets):
            raise ConfigError(f"--speak-target {each} speaks a translation that there is not; add --to {each}")
    return tuple(dict.fromkeys(chosen))


def opened_speaking(options: argparse.Namespace, configs: Configs) -> "Speaking | None":
    """Return what speaks, with the voices of all languages that are known; None without --speak.

    Raises ConfigError for a language without a voice, and what `open_voices` does.
    """
    targets = spoken_targets(options, configs)
    if not targets:
        return None
    config = speech_from(options, configs)
    voices = opened_voices(config)
    from streaming.evaluation.speaking import Speaking

    speaking = Speaking(voices, config, targets)
    written = "en" if configs.engine.task == "translate" else configs.engine.language
    for language in {target or written for target in targets} - {"auto"}:
        voices.voice(language)
    return speaking


def heard_by(tracks: "Sequence[SpeechTrack]", blocks: Iterator[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
    """Yield the audio of a recording, which the files hear on its way."""
    for block in blocks:
        for track in tracks:
            track.hear(block)
        yield block


class SpeechFiles:
    """The files of a run, each made when its recording begins, and closed with `files`.

    Raises ConfigError for several recordings in one file, and for a file that is one of the recordings.
    """

    def __init__(self, files: ExitStack, options: argparse.Namespace, targets: Sequence[str]) -> None:
        self._files, self._targets, self._is_over = files, tuple(targets), bool(options.speak_over)
        self._sources, speak = options.files, options.speak or ""
        self._labels = {target: target if len(self._targets) > 1 else "" for target in self._targets}
        if not targets:
            self._paths = [Path()] * len(self._sources)
        elif is_folder(speak):
            folder = made_folder(speak)
            self._paths = [folder / name for name in file_names(self._sources, _SUFFIX, self._targets)]
        elif len(self._sources) > 1:
            raise ConfigError(
                f"{len(self._sources)} recordings are not spoken into one file; give --speak DIR/ for a file each"
            )
        elif Path(speak).suffix.lower() != _SUFFIX:
            raise ConfigError(f"got --speak {speak}, expected a name that ends with {_SUFFIX}, or a folder, DIR/")
        elif not Path(speak).absolute().parent.is_dir():
            raise ConfigError(f"{speak}: its folder does not exist")
        elif options.output and Path(options.output).absolute() == Path(speak).absolute():
            raise ConfigError(f"{speak}: text and speech need a file each")
        else:
            self._paths = [Path(speak)]

    def tracks(self, n_source: int, channel: str) -> "list[SpeechTrack]":
        """Return the files of a recording or of a channel of it, one for each text that is spoken."""
        if not self._targets:
            return []
        from streaming.output.speech_track import SpeechTrack

        tracks = list[SpeechTrack]()
        for target in self._targets:
            path = labelled_path(self._paths[n_source], ".".join(filter(None, (channel, self._labels[target]))))
            self._check_not_heard(path)
            tracks.append(self._files.enter_context(closing(SpeechTrack(path, target, is_over=self._is_over))))
        return tracks

    def _check_not_heard(self, path: Path) -> None:
        for source in self._sources:
            if path.exists() and Path(source).exists() and path.samefile(source):
                raise ConfigError(f"{path}: is a recording that is heard; give another name or folder with --speak")

"""What the commands share that translate the text of their sessions in this process."""

import argparse
from typing import TYPE_CHECKING

from simul_whisper import ConfigError
from streaming.cli.options import Configs, ProgressBar, translation_flags

if TYPE_CHECKING:
    from simul_whisper import Translator
    from streaming.stages.translation import TranslationStage

# What tells a translator of text what to be; without one they tell nobody anything.
_OF_TRANSLATORS = ("--translation-backend", "--translation-model", "--translation-url", "--translation-glossary")


def opened_translator(configs: Configs, options: argparse.Namespace) -> "Translator | None":
    """Return what translates text, loaded; None where nothing is to be translated, but into English by Whisper.

    Raises ConfigError for languages that it does not translate, and for flags that do not go together.
    """
    _check(configs, options)
    if not configs.stage_targets:
        return None
    # Here, because `--help` and bad flags do without it.
    from simul_whisper import open_translator

    bar = ProgressBar()
    try:
        translator = open_translator(configs.translation, bar)
    finally:
        bar.close()
    written = "en" if configs.engine.task == "translate" else configs.engine.language
    if written != "auto":
        for target in configs.stage_targets:
            translator.check_pair(written, target)
    return translator


def stages_from(configs: Configs, translator: "Translator | None", *, drafts: bool) -> "list[TranslationStage]":
    """Return the stages of a session. drafts: whether translations that may still change are of use."""
    if not translator:
        return []
    from streaming.stages.translation import TranslationStage

    is_drafting = drafts and configs.translation.drafts
    return [TranslationStage(translator, configs.translation, configs.stage_targets, drafts=is_drafting)]


def _check(configs: Configs, options: argparse.Namespace) -> None:
    """Raise ConfigError for flags that do not go together."""
    spoken, targets, given = configs.engine.language, configs.engine.targets, translation_flags(options)
    if spoken in targets:
        raise ConfigError(f"got {spoken} as the language spoken and as one to translate into; leave out one of them")
    if given and not targets:
        raise ConfigError(f"{given[0]} needs --to, such as --to es")
    useless = next((flag for flag in given if flag in _OF_TRANSLATORS), None)
    if useless and not configs.stage_targets:
        raise ConfigError(
            f"{useless} is of no use here: Whisper itself translates into English; add --translation-english translator"
        )

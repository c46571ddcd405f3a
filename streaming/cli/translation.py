"""What the commands share that translate the text of their sessions in this process."""

import argparse
import math
from dataclasses import replace
from typing import TYPE_CHECKING

from simul_whisper import ConfigError, TranslationConfig
from streaming.cli.options import Configs, ProgressBar, translation_flags

if TYPE_CHECKING:
    from simul_whisper import Translator
    from streaming.stages.translation import TranslationStage

# What tells a translator of text what to be; without one they tell nobody anything.
_OF_TRANSLATORS = ("--translation-backend", "--translation-model", "--translation-url", "--translation-glossary")


def loaded_translator(translation: TranslationConfig) -> "Translator":
    """Return what translates text, loaded. Raises ConfigError when there is none."""
    # Here, because `--help` and bad flags do without it.
    from simul_whisper import open_translator

    bar = ProgressBar()
    try:
        return open_translator(translation, bar)
    finally:
        bar.close()


def opened_translator(configs: Configs, options: argparse.Namespace) -> "Translator | None":
    """Return what translates the text of a session; None where all that is wanted is English from Whisper.

    Raises ConfigError for languages that it does not translate and flags that do not go together, and BackendError for
    a program or package that is missing.
    """
    _check(configs, options)
    if not configs.stage_targets:
        return None
    from streaming.server.translations import Translations

    translator = loaded_translator(configs.translation)
    Translations(configs.translation, translator, configs.stage_targets).check_first(configs.engine)
    # So that a package that is missing is told before a model is loaded.
    stages_from(configs, translator, is_live=False)
    return translator


def stages_from(
    configs: Configs, translator: "Translator | None", *, drafts: bool = False, is_live: bool
) -> "list[TranslationStage]":
    """Return the stages of a session. drafts: whether translations that may still change are of use.

    is_live: whether the session comes at the pace of speech. Otherwise the stage waits for its translator, and leaves
    nothing out for being late.
    """
    if not translator:
        return []
    from streaming.stages.translation import TranslationStage

    config, is_drafting = configs.translation, drafts and configs.translation.drafts
    if not is_live:
        config = replace(config, max_behind=math.inf)
    return [TranslationStage(translator, config, configs.stage_targets, drafts=is_drafting, waits=not is_live)]


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

"""Which translator: what the settings name, or what they are enough for. A backend is imported when it is chosen."""

from importlib import import_module

from simul_whisper.errors import BackendError, ConfigError
from simul_whisper.progress import ProgressHandler, silent
from simul_whisper.translators import Translator
from simul_whisper.translators.config import TranslationConfig


def open_translator(config: TranslationConfig, progress: ProgressHandler = silent) -> Translator:
    """Return the translator that the settings ask for; `auto` is openai with a url, ctranslate2 with a model, apertium.

    progress: told what is downloaded, and under which licence. Raises ConfigError, ModelError, and BackendError where a
    package or program is missing.
    """
    backend = _chosen(config)
    try:
        module = import_module(f"simul_whisper.translators.{backend}")
    except ModuleNotFoundError as error:
        raise BackendError(
            f"translation with {backend} needs {error.name}; pip install 'simul-whisper[translate]'"
        ) from error
    opened = getattr(module, f"open_{backend}")
    try:
        translator: Translator = opened(config, progress) if backend == "ctranslate2" else opened(config)
    except BackendError as error:
        if config.backend == "auto" and backend == "apertium":
            raise BackendError(
                f"no translator is chosen, by --translation-model, --translation-url or in [translation], and {error}"
            ) from error
        raise
    return translator


def _chosen(config: TranslationConfig) -> str:
    if config.backend == "auto":
        return "openai" if config.url else "ctranslate2" if config.model else "apertium"
    if config.backend == "ctranslate2" and not config.model:
        raise ConfigError(
            "got no model, which ctranslate2 needs; set one in [translation] or by --translation-model, see "
            "`simul-whisper models`"
        )
    if config.backend == "openai" and not config.url:
        raise ConfigError(
            "got no url, which openai needs; set one in [translation] or by --translation-url, such as "
            "http://127.0.0.1:11434/v1"
        )
    return config.backend

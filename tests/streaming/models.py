"""A pool of several models that are there already; what their files and the memory are is set by hand."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from simul_whisper import AlignAttConfig, Model, ModelFiles, language_names
from streaming.sessions.models import ModelsPool
from streaming.sessions.pool import RunningPool
from streaming.sessions.worker import Worker
from streaming.settings import ModelsConfig, WorkerConfig
from tests.streaming.serving import CONFIG

MEGABYTE = 1_000_000
MULTILINGUAL = ModelFiles(100 * MEGABYTE, tuple(language_names()))
ENGLISH = ModelFiles(100 * MEGABYTE, ("en",))


@dataclass
class HandMemory:
    """A `Memory` whose numbers are set; None: it is not told. n_given_back: how often it was asked to give back."""

    taken_bytes: int | None = None
    left_bytes: int | None = None
    n_given_back: int = 0

    def taken(self) -> int | None:
        return self.taken_bytes

    def left(self) -> int | None:
        return self.left_bytes

    def give_back(self) -> None:
        self.n_given_back += 1


@dataclass
class Loader:
    """Makes pools of models. files: what is known of some before they are loaded. loaded: names, in their order."""

    models: Mapping[str, Model | Exception]
    files: Mapping[str, ModelFiles] = field(default_factory=dict)
    worker: WorkerConfig = field(default_factory=lambda: WorkerConfig(admit=False))
    loaded: list[str] = field(default_factory=list)

    def make(self, name: str, config: AlignAttConfig) -> RunningPool:
        return Worker(lambda: self._load(config.model_name), replace(config, model_name=name), self.worker)

    def _load(self, name: str) -> Model:
        self.loaded.append(name)
        model = self.models[name]
        if isinstance(model, Exception):
            raise model
        return model

    def look_up(self, name: str) -> ModelFiles:
        return self.files.get(name, MULTILINGUAL)


def made_pool(
    loader: Loader,
    memory: HandMemory | None = None,
    clock: Callable[[], float] = time.monotonic,
    most_sessions: int = 16,
    config: AlignAttConfig = CONFIG,
    **options: Any,
) -> ModelsPool:
    configs = {name: replace(config, model_name=name) for name in loader.models}
    return ModelsPool(
        configs,
        loader.make,
        ModelsConfig(**options),
        most_sessions=most_sessions,
        look_up=loader.look_up,
        memory=memory or HandMemory(),
        clock=clock,
    )


@contextmanager
def models_pool(
    models: Mapping[str, Model], config: AlignAttConfig = CONFIG, worker: WorkerConfig | None = None
) -> Iterator[ModelsPool]:
    pool = made_pool(Loader(models, worker=worker or WorkerConfig(admit=False)), config=config)
    try:
        yield pool
    finally:
        pool.stop()

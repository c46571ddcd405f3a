"""Translations beside the transcript: their figures by hand, and a recording that is really translated."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from simul_whisper import (
    AlignAttConfig,
    ConfigError,
    Model,
    Sentence,
    TargetToken,
    Timing,
    TranslationConfig,
    TranslationError,
)
from streaming.cli import main
from streaming.evaluation.evaluation_log import has_omnisteval, latencies, write_logs
from streaming.evaluation.figures import report, summary, translated, translation_summary
from streaming.evaluation.manifest import Clip, Segment, load_manifest
from streaming.evaluation.replay import Emission
from streaming.evaluation.results import ClipResult, Translating, evaluate_clip, translation_of
from streaming.evaluation.scoring import laal_s
from streaming.events import Event, TranslationSkipped, Words
from tests.streaming.evaluation.results import result, told

RECORDINGS = Path(__file__).parents[3] / "demos" / "recordings"
CLIP = Clip(
    "tide",
    Path("tide.flac"),
    "en",
    "short",
    4.0,
    "The tide turns.",
    {"es": "La marea está cambiando."},
    (
        Segment(0.0, 2.0, "The tide", {"es": "La marea"}),
        Segment(2.0, 4.0, "turns.", {"es": "está cambiando."}),
    ),
)


def heard(audio_s: float, *events: Event, compute_s: float = 0.0, stage_s: float = 0.0) -> Emission:
    """compute_s: how late the session's events were; stage_s: how much later those of the stages."""
    ready_s = audio_s + compute_s
    return Emission(events, audio_s, ready_s, compute_s, Timing(), stage_s, ready_s + stage_s)


STREAMED = result(
    heard(1.0, compute_s=0.25),
    heard(2.0, told(" La marea"), told(" Die", "de"), compute_s=0.25, stage_s=0.5),
    heard(4.0, told(" cambia."), told(" Flut", "de"), compute_s=0.5, stage_s=0.25),
    segments=CLIP.segments,
)


def spanish(*, by_translator: bool = True, clip: Clip = CLIP, streamed: ClipResult = STREAMED) -> ClipResult:
    return translation_of(streamed, clip, "es", by_translator=by_translator, offline="La marea está cambiando.")


def test_a_translation_is_a_text_of_its_own() -> None:
    found = spanish()
    assert (found.text, found.text_lang, found.lang) == ("La marea cambia.", "es", "en")
    assert (found.reference, found.offline) == ("La marea está cambiando.", "La marea está cambiando.")
    assert [segment.text for segment in found.segments] == ["La marea", "está cambiando."]
    assert found.delays_s == [2, 2, 4]


def test_what_whisper_translates_is_there_with_the_transcript_and_text_after_it() -> None:
    assert spanish(by_translator=False).delays_ca_s == [2.25, 2.25, 4.5]
    assert spanish().delays_ca_s == [2.75, 2.75, 4.75]
    assert (spanish(by_translator=False).finish_s, spanish().finish_s) == (0.5, 0.75)


def test_lagging_is_that_of_an_even_pace_through_the_reference() -> None:
    found = translation_summary([spanish()])
    # Three words, but four in the reference: one a second.
    assert found["laal_s"] == pytest.approx((2 + 1 + 2) / 3, abs=1e-3)
    assert found["laal_ca_s"] == pytest.approx((2.75 + 1.75 + 2.75) / 3, abs=1e-3)
    assert (found["first_word_s"], found["final_word_s"]) == (2, 0.75)


def test_quality_is_what_sacrebleu_says_of_all_clips_together() -> None:
    other = replace(spanish(), reference="Nadie vigila el faro esta noche.", offline="Nadie vigila el faro.")
    found = translation_summary([spanish(), other])
    references = [["La marea está cambiando.", "Nadie vigila el faro esta noche."]]
    streamed = ["La marea cambia.", "La marea cambia."]
    whole = ["La marea está cambiando.", "Nadie vigila el faro."]
    for end, texts in (("", streamed), ("_offline", whole)):
        bleu, chrf = BLEU(lowercase=True), CHRF(lowercase=True)
        assert found[f"bleu{end}"] == pytest.approx(bleu.corpus_score(texts, references).score, abs=1e-3)
        assert found[f"chrf{end}"] == pytest.approx(chrf.corpus_score(texts, references).score, abs=1e-3)


def test_a_language_without_spaces_is_compared_by_its_characters() -> None:
    text = "潮水正在退去沙滩露出来了"
    found = translation_summary([replace(spanish(), text_lang="zh", reference=text, offline=text)])
    assert found["bleu_offline"] == pytest.approx(100)
    almost = replace(spanish(), text_lang="zh", reference=text, offline=text[:-1])
    assert 50 < translation_summary([almost])["bleu_offline"] < 100


def test_without_a_reference_there_is_nothing_to_compare() -> None:
    found = translation_summary([spanish(clip=replace(CLIP, translations={}))])
    assert (found["clips"], found["scored"], found["bleu"], found["laal_s"]) == (1, 0, None, None)


def test_segments_count_if_all_of_them_are_translated() -> None:
    partly = replace(CLIP, segments=(*CLIP.segments[:1], Segment(2.0, 4.0, "turns.")))
    assert spanish(clip=partly).segments == ()


def test_what_was_left_out_is_counted_for_its_own_target() -> None:
    skipped = [TranslationSkipped(target, 1.0, to_s, "too slow") for target, to_s in (("es", 2.5), ("de", 4.0))]
    found = spanish(streamed=result(heard(4.0, told(" La marea"), *skipped)))
    assert found.skipped == (skipped[0],)
    assert translation_summary([found])["skipped_s"] == 1.5


def test_the_cost_is_that_of_all_stages() -> None:
    timed = replace(STREAMED.emissions[2], timing=Timing(encode_s=0.125, translation_s=0.25))
    found = summary([replace(STREAMED, emissions=(*STREAMED.emissions[:2], timed))], "transcribe")
    assert found["compute_per_audio_s"] == pytest.approx((0.25 + 0.25 + 0.5 + 0.75) / 4, abs=1e-3)
    assert found["stages"]["text"] == pytest.approx(0.75 / 4, abs=1e-3)
    assert found["stages"]["translation"] == pytest.approx(0.25 / 4, abs=1e-3)
    assert sum(found["stages"].values()) == pytest.approx(found["compute_per_audio_s"], abs=2e-3)


def test_a_report_has_every_target_and_no_clip_that_is_spoken_in_it() -> None:
    english = replace(STREAMED, translations={"es": spanish()})
    native = replace(STREAMED, id="native", lang="es")
    found = json.loads(json.dumps(report([english, native], AlignAttConfig(targets=("es",)))))
    assert found["translations"]["es"]["groups"].keys() == {"en/short"}
    assert found["translations"]["es"]["overall"]["clips"] == 1
    assert [clip["translations"].keys() for clip in found["clips"]] == [{"es"}, set()]
    row = found["clips"][0]["translations"]["es"]
    assert (row["text"], row["delays_s"], row["skipped"]) == ("La marea cambia.", [2, 2, 4], [])


@pytest.mark.skipif(not has_omnisteval(), reason="needs omnisteval")
def test_omnisteval_finds_the_delays_of_a_translation(tmp_path: Path) -> None:
    (folder,) = write_logs(tmp_path / "en-short-to-es", [spanish()])
    assert (folder / "references.txt").read_text(encoding="utf-8") == "La marea\nestá cambiando.\n"
    found = latencies(folder)
    # The second segment begins after 2 s.
    first, second = laal_s([2, 2], 2, 2), laal_s([2], 2, 2)
    assert found["stream_laal_s"] == pytest.approx((first + second) / 2, abs=1e-3)
    late = laal_s([2.75, 2.75], 2, 2), laal_s([2.75], 2, 2)
    assert found["stream_laal_ca_s"] == pytest.approx(sum(late) / 2, abs=1e-3)


class Shouting:
    """Translates each word by its capitals, and knows one pair of languages."""

    description = "shouting"

    def check_pair(self, source: str, target: str) -> None:
        if (source, target) != ("en", "es"):
            raise ConfigError(f"got {source} to {target}, expected en to es")

    def translate(self, sentence: Sentence) -> tuple[TargetToken, ...]:
        n_told = len(sentence.told.split())
        return tuple(TargetToken(word.upper(), n) for n, word in enumerate(sentence.words))[n_told:]


class Mute(Shouting):
    """Fails."""

    def translate(self, _: Sentence) -> tuple[TargetToken, ...]:
        raise TranslationError("it has no voice")


@pytest.fixture(scope="module")
def captions_clip() -> Clip:
    return load_manifest(RECORDINGS)[0]


def test_a_recording_is_translated_as_it_is_heard(captions_clip: Clip, tiny: Model) -> None:
    config = AlignAttConfig(model_name="tiny.en", padding_len=3.0, targets=("es",))
    found = evaluate_clip(captions_clip, tiny, config, offline=True, translating=Translating(translator=Shouting()))
    alone = evaluate_clip(captions_clip, tiny, replace(config, targets=()), offline=True)
    assert (found.text, found.offline) == (alone.text, alone.offline)
    (spoken,) = translated([found], "es")
    assert (spoken.text, spoken.offline) == (found.text.upper(), (found.offline or "").upper())
    assert spoken.reference == captions_clip.translations["es"]
    # Nothing is translated before it was told.
    pairs = zip(spoken.delays_s, found.delays_s, strict=True)
    assert all(translation_s >= word_s for translation_s, word_s in pairs)
    pairs = zip(spoken.delays_ca_s, found.delays_ca_s, strict=True)
    assert all(translation_s > word_s for translation_s, word_s in pairs)


def test_a_clip_in_the_target_language_is_not_translated(captions_clip: Clip, tiny: Model) -> None:
    config = AlignAttConfig(model_name="tiny.en", padding_len=3.0, targets=("en",))
    found = evaluate_clip(captions_clip, tiny, config, offline=False, translating=Translating(TranslationConfig()))
    assert found.translations == {}
    assert all(isinstance(each, Words) or not hasattr(each, "target") for e in found.emissions for each in e.events)


Bench = Callable[..., int]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    def run(translator: Shouting, *flags: str, recordings: Path = RECORDINGS) -> int:
        monkeypatch.setattr("simul_whisper.open_translator", lambda *_: translator, raising=False)
        return main(["bench", str(recordings), "--model", "tiny.en", "--padding-len", "3", "--to", "es", *flags])

    return run


def test_bench_tells_the_figures_of_translations(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept, logs = tmp_path / "bench.json", tmp_path / "logs"
    assert bench(Shouting(), "--only-kind", "short", "--json", str(kept), "--log", str(logs)) == 0
    out, err = capsys.readouterr()
    assert "into es, by shouting:" in out
    # Of the transcript: quality, seconds, intervals; of the translation: quality, seconds.
    assert out.count("\noverall ") == 5
    assert "not translated" not in err
    figures = json.loads(kept.read_text(encoding="utf-8"))
    of_es = figures["translations"]["es"]
    assert of_es["by"] == "shouting"
    assert figures["translation"]["backend"] == "auto"
    assert of_es["groups"]["en/short"]["bleu"] == of_es["overall"]["bleu"] < 10
    assert figures["overall"]["wer"] <= 8
    assert all(clip["translations"]["es"]["text"] == clip["text"].upper() for clip in figures["clips"])
    assert (logs / "en-short-to-es" / "hypotheses.jsonl").is_file()
    assert (of_es["groups"]["en/short"]["yaal_ca_s"] is not None) == has_omnisteval()


def test_bench_says_what_was_not_translated(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench(Mute(), "--skip", "kettle,lighthouse", "--no-offline") == 0
    out, err = capsys.readouterr()
    assert "s of speech were not translated into es: " in err
    assert "it has no voice" in err
    assert "left out" in out


def one_clip(folder: Path, **changes: object) -> Path:
    """A folder whose manifest has one clip, and no references."""
    row = {"id": "a", "path": str(RECORDINGS / "captions.flac"), "lang": "en", "kind": "short", "duration_s": 10.6}
    (folder / "manifest.jsonl").write_text(json.dumps(row | {"transcript": None} | changes), encoding="utf-8")
    return folder


def test_bench_refuses_clips_that_the_translator_does_not_understand(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench(Shouting(), recordings=one_clip(tmp_path, lang="fr")) == 2
    assert "got fr to es, expected en to es" in capsys.readouterr().err


def test_bench_says_that_there_is_nothing_to_compare_with(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench(Shouting(), "--no-offline", recordings=one_clip(tmp_path)) == 0
    assert "as translation_es" in capsys.readouterr().err

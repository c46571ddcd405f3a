"""Figures of results made by hand."""

import json
from typing import Any

import pytest

from simul_whisper import AlignAttConfig
from streaming.evaluation.figures import report, summary
from streaming.evaluation.foresight import ForeseenWord
from streaming.evaluation.results import ClipResult
from tests.streaming.evaluation.results import emission, result, said


def figures(*results: ClipResult, task: str = "transcribe") -> dict[str, Any]:
    return summary(results, task)


def test_words_and_characters_are_counted_apart() -> None:
    english = said(" The time turns.", offline="The tide turns")
    chinese = said("潮水张了", lang="zh", reference="潮水涨了", offline="水涨了")
    both = figures(english, chinese)
    assert (both["wer"], both["wer_offline"]) == (33.33, 0)
    assert (both["cer"], both["cer_offline"]) == (25, 25)
    assert figures(english)["cer"] is None
    assert figures(chinese)["wer"] is None
    assert both["edits"] == {"substitutions": 2, "deletions": 0, "insertions": 0, "n_reference": 7}


def test_a_translation_is_scored_as_english_streamed_and_whole() -> None:
    perfect, wrong = "The tide turns twice a day here.", "Nothing of the kind was said by anyone."
    translated = said(perfect, lang="zh", text_lang="en", reference=perfect, offline=wrong)
    found = figures(translated, task="translate")
    assert (found["bleu"], found["chrf"]) == (pytest.approx(100), pytest.approx(100))
    assert found["bleu_offline"] < 10
    assert found["chrf_offline"] < 30
    assert (found["wer"], found["lost_last_words"]) == (None, None)


def test_delays_of_characters_are_those_of_the_pieces_they_came_in() -> None:
    found = result(emission(1.0, ["潮水"]), emission(2.0, ["退", "了。"], late_s=0.5), lang="zh", text_lang="zh")
    assert found.delays_s == [1, 1, 2, 2]
    assert found.delays_ca_s == [1, 1, 2.5, 2.5]


def test_a_word_is_there_when_its_last_piece_is() -> None:
    found = result(emission(1.0, [" The", " tide"]), emission(2.0, ["-", "line", " turns"]))
    assert found.delays_s == [1, 2, 2]


def test_the_last_word_is_late_by_what_computing_took_after_the_last_sample() -> None:
    punctual = result(emission(3.0, [" The tide turns."], late_s=0.2), emission(4.0, [], late_s=0.3))
    late = result(emission(3.0, [" The tide"]), emission(4.0, [" turns."], late_s=0.5))
    assert punctual.final_word_s == 0
    assert punctual.finish_s == pytest.approx(0.3)
    found = figures(punctual, late)
    assert (found["final_word_s"], found["final_word_max_s"], found["finish_s"]) == (0.25, 0.5, 0.4)


@pytest.mark.parametrize(
    ("streamed", "offline", "n_lost"),
    [
        ("The tide", "The tide turns", 1),
        ("The tide turns", "The tide turns", 0),
        ("The tide", "The tide", 0),
        ("The tide turns now", "The tide turns", 0),
        ("", "turns", 1),
        ("The tide", None, None),
    ],
)
def test_a_last_word_is_lost_if_it_is_heard_offline_only(
    streamed: str, offline: str | None, n_lost: int | None
) -> None:
    assert figures(said(streamed, offline=offline))["lost_last_words"] == n_lost


def test_loops_are_counted_unless_they_were_said() -> None:
    loop = "answered he " * 5
    assert figures(said(loop), said("The tide turns."), said(loop, reference=None))["loops"] == 2
    assert figures(said(loop, reference=loop))["loops"] == 0
    assert figures(said("水" * 9, lang="zh"))["loops"] == 1


def test_words_without_speech_are_counted() -> None:
    assert (
        figures(said("Thanks for watching!", lang="none", reference=""), said("x", reference=None))[
            "words_without_speech"
        ]
        == 3
    )


def test_languages_that_were_found_out() -> None:
    right = result(emission(1.0, [], language="de"), emission(2.0, ["x"], language="en"), is_detected=True)
    wrong = result(emission(1.0, ["x"], language="de"), is_detected=True)
    given = result(emission(1.0, ["x"]), given_language="en")
    found = figures(right, wrong, given)
    assert [each.language for each in (right, wrong, given)] == ["en", "de", "en"]
    assert (found["languages_right"], found["languages_detected"]) == (1, 2)
    assert figures(given)["languages_detected"] is None


def test_the_bound_is_that_of_the_last_reading() -> None:
    words = (
        ForeseenWord(" The", 0.5, 1.0, 2.0),
        ForeseenWord(" time", 1.5, 2.0, 2.0),
        ForeseenWord(".", 4.0, 4.0, 4.0),
    )
    found = figures(said(" The tide turns.", foreseen=words))
    assert found["wer"] == 0
    # A word is wrong and one is missing; an even pace would say one every 4/3 s.
    assert found["wer_foreseen"] == 66.67
    assert found["laal_end_s"] == pytest.approx((0.5 + 1.5 - 4 / 3) / 2, abs=1e-3)
    assert found["laal_chunk_s"] == pytest.approx((1 + 2 - 4 / 3) / 2, abs=1e-3)
    assert found["laal_earliest_s"] == pytest.approx((2 + 2 - 4 / 3) / 2, abs=1e-3)
    assert figures(said(" The tide turns.", foreseen=words), said(" The tide turns."))["laal_earliest_s"] is None
    unread = figures(said(" The tide turns.", foreseen=()))
    assert (unread["wer_foreseen"], unread["laal_earliest_s"]) == (100, None)


def test_all_computing_counts_also_what_no_stage_accounts_for() -> None:
    found = figures(result(emission(2.0, ["x"], late_s=1.0), emission(4.0, [], late_s=1.0)))
    assert found["compute_per_audio_s"] == 0.5
    assert sum(found["stages"].values()) == pytest.approx(0.5)


def test_cpu_seconds_are_those_of_all_clips_or_none() -> None:
    found = figures(said("x", cpu_s=1.0), said("x", cpu_s=3.0))
    assert found["cpu_per_audio_s"] == 0.5
    assert figures(said("x", cpu_s=1.0), said("x"))["cpu_per_audio_s"] is None


def test_a_report_has_every_group_and_clip_and_is_json() -> None:
    clips = [said("The tide turns."), said("x", id="b", kind="long"), said("", id="c", lang="none", reference="")]
    found = json.loads(json.dumps(report(clips, AlignAttConfig())))
    assert list(found["groups"]) == ["en/long", "en/short", "none/short"]
    assert [clip["text"] for clip in found["clips"]] == ["The tide turns.", "x", ""]
    assert [clip["errors"] for clip in found["clips"]] == [0, 3, None]
    assert found["overall"]["clips"] == 3

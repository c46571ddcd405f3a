"""Search over a scripted decoder: which hypothesis wins, why it ended, and where its tokens were read."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product, takewhile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simul_whisper.alignatt import AlignedToken, StopReason
from simul_whisper.decoders import Limits
from simul_whisper.pieces import finished
from simul_whisper.reading import EncodedWindow, Prompt
from simul_whisper.search import BeamSearch, BeyondTheEdge, LogitFilter, SearchResult, StopRule
from tests.fakes import EOT, FakeDecoder, Prediction, answering, scripted, tokenizer_of
from tests.listener import cut_short

TOKENIZER = tokenizer_of("base")
A, B, C, D = (TOKENIZER.encode(f" {word}")[0] for word in ("one", "four", "five", "six"))
START = TOKENIZER.sot_sequence("en", "transcribe")
PROMPT = Prompt(START, 0, has_text=False)
CONTENT_FRAMES = 400
FEATURES = np.zeros((500, 8), np.float32)
Lines = Mapping[tuple[int, ...], Prediction]


def likely(frame: int, **probabilities: float) -> Prediction:
    """Probabilities of the tokens a, b, c, d and eot, read from `frame`."""
    named = {"a": A, "b": B, "c": C, "d": D, "eot": EOT}
    return {named[name]: float(np.log(value)) for name, value in probabilities.items()}, frame


def never(tokens: Sequence[AlignedToken], token: int, frame: int) -> StopReason | None:  # noqa: ARG001
    return None


def at_edge(tokens: Sequence[AlignedToken], token: int, frame: int) -> StopReason | None:  # noqa: ARG001
    return StopReason.EDGE if CONTENT_FRAMES - frame <= 25 else None


def window_of(decoder: FakeDecoder) -> EncodedWindow:
    return EncodedWindow(decoder.begin(FEATURES), FEATURES, CONTENT_FRAMES, Limits())


def always(rule: StopRule) -> BeyondTheEdge:
    return lambda n_before: rule  # noqa: ARG005


def search(
    lines: Lines,
    *,
    n_beams: int = 1,
    stop: StopRule = never,
    prompt: Prompt = PROMPT,
    beyond: StopRule | None = None,
) -> SearchResult:
    """beyond: the rule of what is read past the edge."""
    decoder = FakeDecoder(TOKENIZER.n_vocab, scripted(lines, prompt.tokens))
    past = None if beyond is None else always(beyond)
    return finished(BeamSearch(TOKENIZER, n_beams).run(window_of(decoder), prompt, stop, past), answering(decoder))


def text_of(result: SearchResult) -> list[int]:
    return [token.token for token in result.best.tokens]


def test_greedy_follows_the_best_tokens_to_the_end_of_text() -> None:
    lines = {
        (): likely(40, a=0.6, b=0.4),
        (A,): likely(120, b=0.3, c=0.7),
        (A, C): likely(200, eot=0.8, d=0.2),
    }
    result = search(lines)
    assert text_of(result) == [A, C]
    assert result.best.stop is StopReason.END_OF_TEXT
    assert result.best.logprob == pytest.approx(np.log(0.6 * 0.7 * 0.8), abs=1e-5)
    assert result.best.mean_logprob == pytest.approx(np.log(0.6 * 0.7 * 0.8) / 3, abs=1e-5)
    assert [token.logprob for token in result.best.tokens] == pytest.approx(np.log([0.6, 0.7]), abs=1e-5)
    assert len(result.step_s) == 2


def test_a_token_tells_how_likely_the_word_before_it_was_over() -> None:
    part = next(token for token in range(TOKENIZER.eot) if TOKENIZER.bytes_of(token) == b"ness")
    comma = next(token for token in range(TOKENIZER.eot) if TOKENIZER.bytes_of(token) == b",")
    lines = {
        (): likely(40, a=1.0),
        (A,): ({B: float(np.log(0.4)), part: float(np.log(0.25)), comma: float(np.log(0.35))}, 120),
        (A, B): likely(200, eot=0.8, c=0.2),
    }
    ends = [token.word_ended for token in search(lines).best.tokens]
    assert ends == pytest.approx([1.0, 0.75], abs=1e-3)


def test_the_edge_stops_before_the_token_that_reads_there() -> None:
    lines = {
        (): likely(100, a=1.0),
        (A,): likely(200, b=1.0),
        (A, B): likely(390, c=0.5, d=0.4),
    }
    best = search(lines, stop=at_edge).best
    assert [token.token for token in best.tokens] == [A, B]
    assert best.stop is StopReason.EDGE
    assert best.next_token is not None
    assert best.next_token.token == C
    assert best.next_token.frame == pytest.approx(390, abs=9)
    assert best.logprob == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("n_beams", [1, 3])
def test_the_first_token_may_already_be_stopped(n_beams: int) -> None:
    result = search({(): likely(390, a=0.6, b=0.4)}, n_beams=n_beams, stop=at_edge)
    assert text_of(result) == []
    assert result.best.stop is StopReason.EDGE
    assert result.best.mean_logprob == 0.0


@pytest.mark.parametrize("reason", list(StopReason))
def test_the_reason_of_the_rule_is_the_reason_of_the_pass(reason: StopReason) -> None:
    lines = {(): likely(40, a=1.0), (A,): likely(120, b=1.0)}

    def rule(tokens: Sequence[AlignedToken], token: int, frame: int) -> StopReason | None:
        assert token == (B if tokens else A)
        assert frame == pytest.approx(120 if tokens else 40, abs=9)
        return reason if tokens else None

    best = search(lines, stop=rule).best
    assert (best.stop, best.next_token and best.next_token.token) == (reason, B)


GARDEN_PATH = {
    (): likely(40, a=0.55, b=0.45),
    (A,): likely(80, c=0.5, d=0.5),
    (B,): likely(120, d=0.98, c=0.02),
    (A, C): likely(160, eot=0.5, a=0.5),
    (A, D): likely(160, eot=0.5, b=0.5),
    (B, D): likely(200, eot=0.98, a=0.02),
}


def test_a_beam_finds_what_greedy_misses() -> None:
    greedy, beam = search(GARDEN_PATH), search(GARDEN_PATH, n_beams=3)
    assert text_of(greedy)[0] == A
    assert text_of(beam) == [B, D]
    assert beam.best.stop is StopReason.END_OF_TEXT
    assert beam.best.logprob == pytest.approx(np.log(0.45 * 0.98 * 0.98), abs=1e-4)
    assert beam.best.mean_logprob > greedy.best.mean_logprob


def test_a_beam_gives_up_what_is_hopeless() -> None:
    rare = {**GARDEN_PATH, (): likely(40, a=0.9, b=0.1)}
    assert text_of(search(rare, n_beams=3))[0] == A


def test_what_is_most_likely_over_is_not_gone_on_with_however_likely_each_word_of_it_is() -> None:
    lines = {(): likely(40, a=1.0), (A,): likely(120, eot=0.5, b=0.4), (A, B): likely(160, c=1.0)}
    lines |= {(A, B, C): likely(200, d=1.0), (A, B, C, D): likely(240, eot=1.0)}
    assert text_of(search(lines, n_beams=5)) == [A]
    unlikely_end = {**lines, (A,): likely(120, eot=0.4, b=0.5)}
    assert text_of(search(unlikely_end, n_beams=5)) == [A, B, C, D]


def random_tree(seed: int, depth: int) -> dict[tuple[int, ...], Prediction]:
    """Every text of a, b, c up to `depth`, each with its own probabilities and its own frame, later when longer."""
    random = np.random.default_rng(seed)
    tree: dict[tuple[int, ...], Prediction] = {}
    for length in range(depth):
        for text in product((A, B, C), repeat=length):
            a, b, c = random.dirichlet([1, 1, 1]).tolist()
            tree[text] = likely(30 + 70 * length + int(random.integers(40)), a=a, b=b, c=c)
    return tree


@pytest.mark.parametrize("n_beams", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", range(8))
def test_every_token_has_the_frame_of_its_own_beam(seed: int, n_beams: int) -> None:
    tree = random_tree(seed, depth=4)
    tokens = search(tree, n_beams=n_beams).best.tokens
    assert len(tokens) == 4
    for n, token in enumerate(tokens):
        logprobs, frame = tree[tuple(each.token for each in tokens[:n])]
        assert token.frame == pytest.approx(frame, abs=3)
        assert token.logprob == pytest.approx(logprobs[token.token], abs=1e-4)


@pytest.mark.parametrize("seed", range(8))
def test_a_beam_as_wide_as_the_tree_finds_its_best_text(seed: int) -> None:
    tree = random_tree(seed, depth=2)
    totals = {
        (first, second): tree[()][0][first] + tree[first,][0][second] for first, second in product((A, B, C), repeat=2)
    }
    best = max(totals, key=lambda text: totals[text])
    assert text_of(search(tree, n_beams=9)) == list(best)


def test_a_rewound_hypothesis_loses_against_any_other() -> None:
    lines = {
        (): likely(200, a=0.7, b=0.3),
        (A,): likely(10, c=1.0),
        (B,): likely(300, d=0.3, c=0.2, a=0.2, eot=0.3),
        (B, D): likely(340, eot=0.1, d=0.01),
    }

    def no_return(tokens: Sequence[AlignedToken], token: int, frame: int) -> StopReason | None:  # noqa: ARG001
        return StopReason.REWIND if tokens and tokens[-1].frame - frame > 100 else None

    result = search(lines, n_beams=2, stop=no_return)
    assert text_of(result)[0] == B
    assert result.best.stop is StopReason.END_OF_TEXT
    assert search(lines, stop=no_return).best.stop is StopReason.REWIND


def test_an_unlikely_loop_does_not_end_the_likely_text() -> None:
    lines = {
        (): likely(40, a=1.0),
        (A,): likely(120, b=0.9, c=0.1),
        (A, B): likely(200, d=0.9, a=0.1),
        (A, B, D): likely(280, eot=1.0),
    }

    def not_c(tokens: Sequence[AlignedToken], token: int, frame: int) -> StopReason | None:  # noqa: ARG001
        return StopReason.LOOP if token == C else None

    assert text_of(search(lines, n_beams=1, stop=not_c)) == [A, B, D]
    beam = search(lines, n_beams=2, stop=not_c)
    assert text_of(beam) == [A, B, D]
    assert beam.best.stop is StopReason.END_OF_TEXT


def test_hypotheses_end_at_their_own_edge() -> None:
    lines = {
        (): likely(40, a=0.5, b=0.4),
        (A,): likely(390, c=1.0),
        (B,): likely(120, d=1.0),
        (B, D): likely(395, a=1.0),
    }
    best = search(lines, n_beams=2, stop=at_edge).best
    assert [token.token for token in best.tokens] == [B, D]
    assert best.stop is StopReason.EDGE


@pytest.mark.parametrize("n_beams", [1, 2])
def test_a_text_does_not_begin_with_its_end_or_a_blank(n_beams: int) -> None:
    lines: Lines = {(): ({EOT: 5.0, TOKENIZER.blank: 4.0, A: 0.0}, 40)}
    assert text_of(search(lines, n_beams=n_beams)) == [A]
    with_text = Prompt([*START, B], 0, has_text=True)
    ended = search(lines, n_beams=n_beams, prompt=with_text)
    assert text_of(ended) == []
    assert ended.best.stop is StopReason.END_OF_TEXT


def test_a_blank_may_follow_the_first_token() -> None:
    lines: Lines = {(): likely(40, a=1.0), (A,): ({TOKENIZER.blank: 0.0}, 80)}
    assert text_of(search(lines)) == [A, TOKENIZER.blank]


def test_special_tokens_and_symbols_are_never_written() -> None:
    logits = np.full(TOKENIZER.n_vocab, 1.0, np.float32)
    logits[A] = 0.0
    logprobs = LogitFilter(TOKENIZER).logprobs(logits, first=False)
    written = set(np.flatnonzero(np.isfinite(logprobs)).tolist())
    assert written == set(range(TOKENIZER.n_vocab)) - {*TOKENIZER.special_tokens, *TOKENIZER.non_speech_tokens}
    assert np.exp(logprobs).sum() == pytest.approx(1, abs=1e-3)
    assert logits[A] == 0.0
    assert logits.max() == 1.0


@pytest.mark.parametrize("likelihood", [0.9, 0.3])
def test_how_likely_a_description_of_a_sound_is(likelihood: float) -> None:
    bracket, parenthesis = (TOKENIZER.encode(f" {mark}")[0] for mark in "[(")
    words = {A: np.log(1 - likelihood)}
    sounds = {bracket: np.log(likelihood - 0.1), parenthesis: np.log(0.1)}
    result = search({(): ({**sounds, **words}, 40), (A,): ({bracket: 0.0}, 80)})
    assert result.described == pytest.approx(likelihood, abs=1e-3)
    assert text_of(result)[0] == A


def test_a_likely_special_token_gives_way() -> None:
    loud = dict.fromkeys((TOKENIZER.sot, TOKENIZER.sot_prev, TOKENIZER.n_vocab - 1), 9.0)
    symbol = TOKENIZER.encode("♪")[0]
    lines: Lines = {(): ({**loud, symbol: 8.0, B: 0.0}, 40), (B,): ({**loud, C: 0.0, A: -1.0}, 80)}
    assert text_of(search(lines)) == text_of(search(lines, n_beams=2)) == [B, C]


@pytest.mark.parametrize("context", [[], [TOKENIZER.sot_prev, A, B, C]])
def test_no_speech_is_read_at_the_start_of_transcript(context: list[int]) -> None:
    prompt = Prompt([*context, *START], len(context), has_text=False)
    unheard: Prediction = ({TOKENIZER.no_speech: float(np.log(0.7)), START[1]: float(np.log(0.3))}, 0)
    decoder = FakeDecoder(TOKENIZER.n_vocab, scripted({(): likely(40, a=1.0)}, prompt.tokens, unheard))
    result = finished(BeamSearch(TOKENIZER, 1).run(window_of(decoder), prompt, never), answering(decoder))
    assert result.no_speech == pytest.approx(0.7, abs=1e-4)
    assert text_of(result) == [A]


def test_a_prompt_is_read_in_one_step() -> None:
    prompt = Prompt([TOKENIZER.sot_prev, C, *START, D], 2, has_text=True)
    decoder = FakeDecoder(TOKENIZER.n_vocab, scripted({}, prompt.tokens))
    finished(BeamSearch(TOKENIZER, 1).run(window_of(decoder), prompt, never), answering(decoder))
    assert decoder.n_steps == 1


@pytest.mark.parametrize("seed", range(4))
@settings(deadline=None)
@given(guess=st.lists(st.sampled_from([A, B, C, D, EOT]), max_size=6), n_beams=st.integers(1, 5))
def test_a_guess_changes_the_cost_and_not_the_result(seed: int, guess: list[int], n_beams: int) -> None:
    tree = random_tree(seed, depth=4)
    plain = search(tree, n_beams=n_beams)
    guessed = search(tree, n_beams=n_beams, prompt=replace(PROMPT, guess=tuple(guess)))
    assert text_of(guessed) == text_of(plain)
    assert [token.frame for token in guessed.best.tokens] == [token.frame for token in plain.best.tokens]
    assert guessed.best.logprob == pytest.approx(plain.best.logprob)
    if n_beams > 1:
        assert len(guessed.step_s) <= len(plain.step_s)
        return
    n_right = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(guess, text_of(plain), strict=False)))
    assert len(guessed.step_s) == len(plain.step_s) - n_right


@pytest.mark.parametrize("n_beams", [1, 2, 5])
@pytest.mark.parametrize("seed", range(6))
def test_reading_past_the_edge_goes_on_with_the_best_and_changes_nothing_before_it(seed: int, n_beams: int) -> None:
    tree = random_tree(seed, depth=6)

    def past_two(tokens: Sequence[AlignedToken], token: int, frame: int) -> StopReason | None:
        return StopReason.EDGE if frame > 240 else never(tokens, token, frame)

    def past_four(tokens: Sequence[AlignedToken], token: int, frame: int) -> StopReason | None:
        return StopReason.EDGE if frame > 340 else never(tokens, token, frame)

    plain = search(tree, n_beams=n_beams, stop=past_two)
    found = search(tree, n_beams=n_beams, stop=past_two, beyond=past_four)
    assert found.best == plain.best
    assert plain.past == ()
    assert found.past[0] == found.best.next_token
    text = text_of(found)
    for before, token in zip(found.past, found.past[1:], strict=False):
        text.append(before.token)
        logprobs, frame = tree[tuple(text)]
        assert token.token == max(logprobs, key=lambda each: logprobs[each])
        assert token.frame == pytest.approx(frame, abs=3)
    assert all(token.frame <= 340 for token in found.past[:-1])
    assert found.past[-1].frame > 340


def test_nothing_is_read_past_an_end_that_is_no_edge() -> None:
    lines = {(): likely(40, a=1.0), (A,): likely(120, eot=1.0)}
    assert search(lines, beyond=never).past == ()
    looping = search(lines, stop=lambda tokens, token, frame: StopReason.LOOP if tokens else None, beyond=never)  # noqa: ARG005
    assert looping.past == ()


@pytest.mark.parametrize("n_beams", [1, 3])
def test_reading_past_the_edge_ends_with_the_text_or_after_a_few_tokens(n_beams: int) -> None:
    lines = {(): likely(390, a=1.0), (A,): likely(395, b=1.0), (A, B): likely(399, eot=1.0)}
    assert [token.token for token in search(lines, n_beams=n_beams, stop=at_edge, beyond=never).past] == [A, B, EOT]
    endless = {(A,) * n: likely(390, a=1.0) for n in range(20)}
    assert len(search(endless, n_beams=n_beams, stop=at_edge, beyond=never).past) == 9


def test_a_pass_that_is_cut_short_reads_nothing_past_the_edge() -> None:
    lines = {
        (): likely(40, a=0.5, b=0.45),
        (A,): likely(390, c=0.9),
        (B,): likely(100, d=0.5),
        (A, C): likely(390, d=1.0),
    }
    decoder = FakeDecoder(TOKENIZER.n_vocab, scripted(lines, PROMPT.tokens))
    pieces = BeamSearch(TOKENIZER, 2).run(window_of(decoder), PROMPT, at_edge, always(never))
    found, n_cut = cut_short(pieces, answering(decoder), 1)
    assert n_cut == 1
    assert (text_of(found), found.best.stop, found.past) == ([A], StopReason.EDGE, ())

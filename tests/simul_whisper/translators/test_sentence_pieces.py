"""Words to pieces and back, by small SentencePiece models trained here."""

import io
from pathlib import Path
from typing import Any

import pytest
import sentencepiece

from simul_whisper.errors import WeightsError
from simul_whisper.translators.sentence_pieces import SentencePieces
from tests.fixture_translator import DIRECTORY, held_out

CHINESE = ["今天天气很好,我们去公园散步。", "他昨天在图书馆看书。", "明天我们一起吃饭吧!", "这本书很有意思。"]


@pytest.fixture(scope="module")
def english() -> SentencePieces:
    return SentencePieces(DIRECTORY / "source.spm")


def trained(path: Path, lines: list[str], **options: Any) -> SentencePieces:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines * 20), model_writer=model, minloglevel=2, num_threads=1, **options
    )
    path.write_bytes(model.getvalue())
    return SentencePieces(path)


def test_pieces_are_those_of_the_whole_text(english: SentencePieces) -> None:
    """Each word is cut for itself, which changes nothing: no piece reaches over a space."""
    reference = sentencepiece.SentencePieceProcessor(model_file=str(DIRECTORY / "source.spm"))
    for words in held_out(50):
        pieces, word_of = english.pieces(words)
        assert pieces == reference.encode("".join(words).strip(), out_type=str)
        of_words = ["" for _ in words]
        for piece, word in zip(pieces, word_of, strict=True):
            of_words[word] += piece.replace("▁", " ")
        assert tuple(of_words) == words


def test_texts_join_to_what_was_said(english: SentencePieces) -> None:
    for words in held_out(20):
        assert "".join(english.texts(english.pieces(words)[0])) == "".join(words)


def test_words_without_spaces_lie_beside_their_pieces(tmp_path: Path) -> None:
    chinese = trained(tmp_path / "zh.spm", CHINESE, vocab_size=60, character_coverage=1.0, hard_vocab_limit=False)
    words = ["今天", "天气", "很好,", "我们", "去", "公园", "散步。"]
    pieces, word_of = chinese.pieces(words)
    assert "".join(chinese.texts(pieces)).strip() == "".join(words)
    ends = [sum(map(len, words[: n + 1])) for n in range(len(words))]
    read = 0
    for piece, word in zip(pieces, word_of, strict=True):
        read += len(piece.replace("▁", ""))
        assert word == next(n for n, end in enumerate(ends) if read <= end)


def test_bytes_become_the_characters_they_are_of(tmp_path: Path) -> None:
    model = trained(tmp_path / "bytes.spm", ["a b c d"], vocab_size=270, byte_fallback=True, hard_vocab_limit=False)
    pieces, word_of = model.pieces([" a", " 日本", " b"])
    texts = model.texts(pieces)
    assert "".join(texts) == " a 日本 b"
    assert [text.strip() for text in texts if text.strip()] == ["a", "日", "本", "b"]
    assert sorted(set(word_of)) == [0, 1, 2]


def test_what_is_no_text_is_left_out(english: SentencePieces) -> None:
    assert english.texts(["▁The", "</s>", "<unk>", "eng_Latn", "__en__", ">>deu<<"]) == [" The", "", "", "", "", ""]


@pytest.mark.parametrize("content", [b"", b"no model", (DIRECTORY / "source.spm").read_bytes()[:1000]])
def test_a_damaged_file_is_told_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "source.spm").write_bytes(content)
    with pytest.raises(WeightsError, match=r"source\.spm: is no SentencePiece model") as refused:
        SentencePieces(tmp_path / "source.spm")
    assert str(refused.value).isprintable()

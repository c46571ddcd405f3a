"""Families told apart by their files, and Whisper's codes to each family's."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from simul_whisper.errors import ConfigError
from simul_whisper.languages import LANGUAGES
from simul_whisper.translators.model_files import Family, read_files
from simul_whisper.translators.pairs import Pairs, pairs_of
from tests.simul_whisper.translators.model_directory import copy_of_fixture, of_family

# NLLB-200's codes of the languages that Whisper knows; Latin, Breton, Hawaiian and a few more it does not have.
FLORES = """
af afr_Latn am amh_Ethi ar arb_Arab as asm_Beng az azj_Latn ba bak_Cyrl be bel_Cyrl bg bul_Cyrl bn ben_Beng bo bod_Tibt
bs bos_Latn ca cat_Latn cs ces_Latn cy cym_Latn da dan_Latn de deu_Latn el ell_Grek en eng_Latn es spa_Latn et est_Latn
eu eus_Latn fa pes_Arab fi fin_Latn fo fao_Latn fr fra_Latn gl glg_Latn gu guj_Gujr ha hau_Latn he heb_Hebr hi hin_Deva
hr hrv_Latn ht hat_Latn hu hun_Latn hy hye_Armn id ind_Latn is isl_Latn it ita_Latn ja jpn_Jpan jw jav_Latn ka kat_Geor
kk kaz_Cyrl km khm_Khmr kn kan_Knda ko kor_Hang lb ltz_Latn ln lin_Latn lo lao_Laoo lt lit_Latn lv lvs_Latn mg plt_Latn
mi mri_Latn mk mkd_Cyrl ml mal_Mlym mn khk_Cyrl mr mar_Deva ms zsm_Latn mt mlt_Latn my mya_Mymr ne npi_Deva nl nld_Latn
nn nno_Latn no nob_Latn oc oci_Latn pa pan_Guru pl pol_Latn ps pbt_Arab pt por_Latn ro ron_Latn ru rus_Cyrl sa san_Deva
sd snd_Arab si sin_Sinh sk slk_Latn sl slv_Latn sn sna_Latn so som_Latn sq als_Latn sr srp_Cyrl su sun_Latn sv swe_Latn
sw swh_Latn ta tam_Taml te tel_Telu tg tgk_Cyrl th tha_Thai tk tuk_Latn tl tgl_Latn tr tur_Latn tt tat_Cyrl uk ukr_Cyrl
ur urd_Arab uz uzn_Latn vi vie_Latn yi ydd_Hebr yo yor_Latn yue yue_Hant zh zho_Hans
""".split()
WHISPER_TO_FLORES = dict(zip(FLORES[::2], FLORES[1::2], strict=True))
OTHERS = "zho_Hant arz_Arab ary_Arab azb_Arab ace_Latn min_Arab kas_Deva taq_Tfng".split()


def pairs(directory: Path, name: str = "") -> Pairs:
    return pairs_of(read_files(directory), name)


def test_nllb_has_all_but_a_few_of_whispers_languages(tmp_path: Path) -> None:
    vocabulary = ["</s>", "▁a", *OTHERS, *WHISPER_TO_FLORES.values()]
    directory = of_family(tmp_path / "nllb", "sentencepiece.bpe.model", vocabulary)
    assert read_files(directory).family is Family.NLLB
    assert pairs(directory).sources == pairs(directory).targets == WHISPER_TO_FLORES
    assert set(LANGUAGES) - set(WHISPER_TO_FLORES) == {"la", "br", "haw"}


def test_m2m100(tmp_path: Path) -> None:
    vocabulary = "</s> ▁a __af__ __en__ __es__ __jv__ __zh__ __no__ __ns__ __tl__ __he__".split()
    directory = of_family(tmp_path / "m2m", "sentencepiece.bpe.model", vocabulary)
    assert read_files(directory).family is Family.M2M100
    known = {"af": "__af__", "en": "__en__", "es": "__es__", "jw": "__jv__", "zh": "__zh__", "no": "__no__"}
    assert pairs(directory).targets == known | {"tl": "__tl__", "he": "__he__"}


def test_madlad_takes_any_source(tmp_path: Path) -> None:
    vocabulary = "</s> ▁a <2en> <2es> <2iw> <2fil> <2jv> <2ru> <2ru_Latn> <2en_xx_simple> <2zh> <2zh_Latn>".split()
    directory = of_family(tmp_path / "madlad", "spiece.model", vocabulary)
    assert read_files(directory).family is Family.MADLAD
    found = pairs(directory)
    assert found.sources is None
    codes = {"en": "<2en>", "es": "<2es>", "he": "<2iw>", "tl": "<2fil>", "jw": "<2jv>", "ru": "<2ru>", "zh": "<2zh>"}
    assert found.targets == codes


def test_an_opus_mt_with_many_targets(tmp_path: Path) -> None:
    directory = copy_of_fixture(tmp_path / "opus")
    (directory / "tokenizer_config.json").write_text('{"source_lang": "eng", "target_lang": "mul"}')
    tokens = ">>deu<< >>cmn_Hant<< >>cmn_Hans<< >>por<< >>pt_BR<< >>srp_Latn<< >>srp_Cyrl<< >>epo<< >>sqi<<".split()
    (directory / "shared_vocabulary.json").write_text(json.dumps(["</s>", *tokens]))
    found = pairs(directory)
    assert found.sources == {"en": ""}
    known = {"de": ">>deu<<", "zh": ">>cmn_Hans<<", "pt": ">>por<<", "sr": ">>srp_Cyrl<<", "sq": ">>sqi<<"}
    assert found.targets == known


@pytest.mark.parametrize(
    ("name", "source", "target"),
    [
        ("Helsinki-NLP/opus-mt-en-de", "en", "de"),
        ("gaudi/opus-mt-en-ja-ctranslate2", "en", "ja"),
        ("/models/opus-mt-tc-big-en-pt", "en", "pt"),
        ("opus-mt-ROMANCE-en", None, "en"),
        ("my-own-model", None, None),
    ],
)
def test_an_opus_mt_says_its_pair_in_its_name(
    tmp_path: Path, name: str, source: str | None, target: str | None
) -> None:
    directory = copy_of_fixture(tmp_path / "model")
    (directory / "tokenizer_config.json").unlink()
    found = pairs(directory, name)
    assert found == Pairs({source: ""} if source else None, {target: ""} if target else None)


@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        ("de", "la", "m does not translate from de, but from en"),
        ("en", "de", "m does not translate into de, but into la"),
    ],
)
def test_other_pairs_are_refused_in_one_line(source: str, target: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Pairs({"en": ""}, {"la": ""}).check(source, target, "m")
    assert str(refused.value) == said


def test_a_language_is_not_translated_into_itself() -> None:
    with pytest.raises(ConfigError, match="two languages"):
        Pairs(None, None).check("en", "en", "m")


def test_only_a_few_of_many_languages_are_listed() -> None:
    many: Sequence[str] = sorted(WHISPER_TO_FLORES)
    with pytest.raises(ConfigError, match="into af, am, ar, as, az, ba, be, bg, bn, bo, bs, ca and 85 more"):
        Pairs(None, dict.fromkeys(many, "")).check("en", "xx", "m")

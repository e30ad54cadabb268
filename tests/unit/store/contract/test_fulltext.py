"""Words: what people type is data, whatever it looks like."""

from __future__ import annotations

import pytest

from indexd.store.protocols import IndexStore
from tests.unit.store.sample_rows import Library


def _found(store: IndexStore, query: str) -> set[int]:
    return {image_id for image_id, _ in store.fulltext.match(query, 100)}


def test_every_word_is_required(store: IndexStore, library: Library) -> None:
    both = library.add("1.png", prompt="a red cat on a mat")
    library.add("2.png", prompt="a red dog")
    assert _found(store, "cat red") == {both}
    assert _found(store, "cat dog") == set()


def test_a_phrase_is_kept_together_and_a_star_matches_beginnings(store: IndexStore, library: Library) -> None:
    together = library.add("1.png", prompt="long_hair, red dress")
    apart = library.add("2.png", prompt="hair that is long, dressed up")
    assert _found(store, '"long hair"') == {together}
    assert _found(store, "long hair") == {together, apart}
    assert _found(store, "dress*") == {together, apart}
    assert _found(store, '"red dre"*') == {together}
    assert _found(store, "dress") == {together}


def test_case_and_accents_do_not_matter(store: IndexStore, library: Library) -> None:
    image_id = library.add("1.png", prompt="Un CAFÉ à Zürich")
    assert _found(store, "café zurich") == {image_id}


JOINED = {
    "zh": "一个白发女孩，站在樱花树下。4K画质",
    "ja": "桜の木の下で微笑むアニメの女の子、ﾈｺﾐﾐ",
    "ko": "벚꽃나무 아래에서 고양이를 안고 있는 소녀",
    "th": "เด็กผู้หญิงผมขาวใต้ต้นซากุระ",
    "en": "a white-haired girl under a cherry tree, ＦＵＬＬ　ｗｉｄｔｈ, 🌸 and 👩‍🚀 ❤️",
}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("白发", {"zh"}),
        ("女孩", {"zh"}),
        ("发女孩", {"zh"}),
        ("女孩白发", set()),
        ("樱花树", {"zh"}),
        ("樱", {"zh"}),
        ("女", {"zh", "ja"}),
        ("画", {"zh"}),
        ("质", {"zh"}),
        ("4k画质", {"zh"}),
        ("4K画", {"zh"}),
        ("女孩 樱花", {"zh"}),
        ('"女孩，站在"', {"zh"}),
        ("女孩，站", {"zh"}),
        ("猫", set()),
        ("女树", set()),
        ("桜", {"ja"}),
        ("微笑む", {"ja"}),
        ("アニメ", {"ja"}),
        ("ｱﾆﾒ", {"ja"}),
        ("ネコ", {"ja"}),
        ("の", {"ja"}),
        ("고양이", {"ko"}),
        ("소녀", {"ko"}),
        ("나무", {"ko"}),
        ("ผมขาว", {"th"}),
        ("ซากุระ", {"th"}),
        ("full WIDTH", {"en"}),
        ("ｇｉｒｌ", {"en"}),
        ("🌸", {"en"}),
        ("🚀", {"en"}),
        ("👩‍🚀", {"en"}),
        ("❤", {"en"}),
        ("❤️", {"en"}),
        ("🐈", set()),
    ],
)
def test_a_piece_of_a_text_is_found_in_any_language(
    store: IndexStore, library: Library, query: str, expected: set[str]
) -> None:
    names = {library.add(f"{language}.png", prompt=prompt): language for language, prompt in JOINED.items()}
    assert {names[image_id] for image_id in _found(store, query)} == expected


def test_no_phrase_reaches_into_the_characters_behind_the_text(store: IndexStore, library: Library) -> None:
    library.add("1.png", prompt="画質4k")
    assert _found(store, "4k画") == set()


def test_names_of_files_tags_and_captions_are_found_by_their_pieces(store: IndexStore, library: Library) -> None:
    image_id = library.add("桜と少女.png", prompt="a girl")
    store.annotations.tag([image_id], add=["作風/水彩画"])
    assert _found(store, "少女") == {image_id}
    assert _found(store, "水彩") == {image_id}
    assert store.fulltext.texts([image_id]) == {
        image_id: {
            "prompt": "a girl",
            "negative": "",
            "raw_prompt": "",
            "tags": "作風/水彩画",
            "captions": "",
            "file_name": "桜と少女.png",
        }
    }


def test_the_negative_prompt_is_not_searched(store: IndexStore, library: Library) -> None:
    library.add("1.png", prompt="a cat", negative_prompt="blurry")
    assert _found(store, "blurry") == set()


@pytest.mark.parametrize(
    "query",
    ["", "   ", '"', '""', "*", "**", "- ( ) : ^", "!!! ???", "\0", '"\0"', "\ud800", "\u0301"],
)
def test_a_query_without_a_word_finds_nothing(store: IndexStore, library: Library, query: str) -> None:
    library.add("1.png", prompt="a cat")
    assert _found(store, query) == set()


@pytest.mark.parametrize(
    "query",
    [
        'cat"',
        "cat AND",
        "NOT cat",
        "cat OR dog",
        "NEAR(cat mat)",
        "prompt:cat",
        "^cat",
        "{prompt}:cat",
        "cat + mat",
        "-cat",
        "(cat",
        "cat*mat",
        "'; DROP TABLE image; --",
        'a" OR "b',
        "\ud800cat",
        "cat\0mat",
        "(masterpiece:1.2), <lora:x:0.5> BREAK",
    ],
)
def test_fts_syntax_is_treated_as_words(store: IndexStore, library: Library, query: str) -> None:
    image_id = library.add("1.png", prompt=query)
    library.add("2.png", prompt="something else")
    assert _found(store, query) == {image_id}


def test_the_best_hit_comes_first_with_the_greatest_score(store: IndexStore, library: Library) -> None:
    library.add_many(20, prompt="a house in the fog")
    weak = library.add("weak.png", prompt="a house and a garden and a street and a cat and a tree and a car")
    strong = library.add("strong.png", prompt="cat, cat")
    hits = store.fulltext.match("cat", 10)
    assert [image_id for image_id, _ in hits] == [strong, weak]
    assert hits[0][1] > hits[1][1] > 0


def test_hits_are_restricted_to_candidates_and_limited(store: IndexStore, library: Library) -> None:
    ids = library.add_many(10, prompt="cat")
    assert {hit for hit, _ in store.fulltext.match("cat", 10, {ids[2], ids[4], 999})} == {ids[2], ids[4]}
    assert len(store.fulltext.match("cat", 3)) == 3
    assert store.fulltext.match("cat", 10, []) == []
    assert store.fulltext.match("cat", 0) == []

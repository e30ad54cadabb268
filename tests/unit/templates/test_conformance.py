"""The 112 cases of template syntax that other programs were observed to follow, and where indexd deviates.

The numbers are those of the table from which the cases come. An outcome is every text in product order, or the part of an error.
Blanks before a line break are not compared.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice

import pytest

from indexd.templates.errors import TemplateError, TemplateSource
from indexd.templates.syntax import Sampling
from indexd.templates.template import Template, compile_text
from indexd.templates.wildcards import WildcardLibrary, WildcardValue, lists_from_data, values_from_text

FILES = {
    "colors/cold": "blue\ngreen\n",
    "colors/warm": "red\nyellow\n",
    "refs": "__colors/warm__\n__colors/cold__\n",
    "var": "{red|green} hat\n",
    "dupes": "red\nred\nblue\n",
    "tmpl": "In ${season:summer}\n",
    "tmpl2": "In ${season}\n",
}
PANTRY = {"pantry": {"fruit": ["3::apple", "0.5::pear", {"weight": 2, "text": "fig"}], "one": "plum", "num": 5}}


def _library() -> WildcardLibrary:
    lists: dict[str, list[WildcardValue]] = {
        name: values_from_text(text, f"{name}.txt") for name, text in FILES.items()
    }
    lists |= lists_from_data(PANTRY, "", "pantry.yaml", "pantry")
    lists |= lists_from_data({"bitter": ["coffee"]}, "a", "a/p.json", "p")
    lists |= lists_from_data(["iguana", "gecko"], "a", "a/lizards.yaml", "lizards")
    return WildcardLibrary(lists, lists.__getitem__, {"pantry": "", "a/p": "a", "a/lizards": "a"})


@dataclass(frozen=True)
class Fails:
    """The case is refused with an error that contains `text`."""

    text: str


SIX_PAIRS = ["a,b", "a,c", "b,a", "b,c", "c,a", "c,b"]
SIX_TRIPLES = ["a,b,c", "a,c,b", "b,a,c", "b,c,a", "c,a,b", "c,b,a"]
COLD, WARM = ["blue", "green"], ["red", "yellow"]

CASES: list[tuple[int, str, list[str] | Fails]] = [
    (1, "plain text", ["plain text"]),
    (2, "{a|b}", ["a", "b"]),
    (3, "{a}", ["a"]),
    (4, "{}", [""]),
    (5, "{|a}", ["", "a"]),
    (6, "{a|b|}", ["a", "b", ""]),
    (7, "x{ a | b }y", ["xa y", "xb y"]),
    (8, "{a|{b|c}}", ["a", "b", "c"]),
    (9, "{a|b} {c|d}", ["a c", "a d", "b c", "b d"]),
    (10, "{0.9::a|0.1::b}", ["a", "b"]),
    (11, "{3::a|b}", ["a", "b"]),
    (12, "{0::a|b}", ["b"]),  # deviates: weight 0 removes the option everywhere
    (13, "{ 2::a | 3::b }", ["a ", "b "]),
    (14, "{a::b|c}", ["a::b", "c"]),
    (15, "{1::2::a|b}", ["2::a", "b"]),
    (16, "{2$$a|b|c}", SIX_PAIRS),
    (17, "{2$$ and $$a|b|c}", [pair.replace(",", " and ") for pair in SIX_PAIRS]),
    (18, "{1-2$$a|b|c}", ["a", "b", "c", *SIX_PAIRS]),
    (19, "{-2$$a|b|c}", ["a", "b", "c", *SIX_PAIRS]),
    (20, "{2-$$a|b|c}", [*SIX_PAIRS, *SIX_TRIPLES]),
    (21, "{0-1$$a|b}", ["", "a", "b"]),
    (22, "{0$$a|b}", [""]),
    (23, "{3-2$$a|b|c}", [*SIX_PAIRS, *SIX_TRIPLES]),
    (24, "{5$$a|b|c}", SIX_TRIPLES),
    (25, "{2$$a|a|b}", ["a,b", "b,a"]),
    (26, "{2$$|$$a|b|c}", [pair.replace(",", "|") for pair in SIX_PAIRS]),
    (27, "{2$$  $$a|b}", ["a  b", "b  a"]),
    (28, "{2$$$$a|b}", ["ab", "ba"]),  # deviates: an empty separator is allowed
    (29, "{2$$ $ $$a|b}", Fails("a separator must not contain")),
    (30, "{2$$a}", ["a"]),
    (31, "{2$$a|b|}", ["a", "b", "a,b", "b,a"]),  # deviates: without repeats, the shorter first
    (32, "{2$$__colors/cold__}", ["blue,green", "green,blue"]),
    (33, "{1-3$$__colors/cold__}", ["blue", "green", "blue,green", "green,blue"]),
    (
        34,
        "{2$$__colors/cold__|__colors/warm__}",
        [
            *("blue,red", "blue,yellow", "green,red", "green,yellow"),
            *("red,blue", "red,green", "yellow,blue", "yellow,green"),
        ],
    ),
    (35, "{2$$__colors/*__}", [f"{one},{two}" for one in COLD + WARM for two in COLD + WARM if one != two]),
    (36, "{2$$x __colors/cold__}", ["x blue", "x green"]),
    (37, "{2$$, $$__colors/cold__|y}", ["blue, y", "green, y", "y, blue", "y, green"]),
    (38, "{__colors/cold__ x|y}", ["blue x", "green x", "y"]),
    (39, "{2::__colors/cold__|1::none}", ["blue", "green", "none"]),
    (40, "__colors/cold__", COLD),
    (41, "__colors/*__", COLD + WARM),
    (42, "__colors*__", COLD + WARM),
    (43, "__cold__", COLD),
    (44, "__**/cold__", COLD),
    (45, "__nope__", Fails("there is no wildcard 'nope'")),  # deviates: refused
    (46, "__COLORS/COLD__", COLD),  # as the Impact Pack
    (47, "__ colors/cold __", Fails("there is no wildcard ' colors/cold '; did you mean 'colors/cold'")),
    (48, "__../x__", Fails("`..` is not used in names of wildcards")),
    (49, "__dupes__", ["red", "blue"]),  # deviates: the order of the file
    (50, "__var__", ["red hat", "green hat"]),
    (51, "__refs__", WARM + COLD),  # deviates: the order of the file
    (52, "__pantry/fruit__", ["apple", "pear", "fig"]),  # deviates: each once
    (53, "__pantry/one__", ["plum"]),
    (54, "__pantry/num__", Fails("there is no wildcard 'pantry/num'")),
    (55, "__a/bitter__", ["coffee"]),
    (56, "__a/lizards__", ["iguana", "gecko"]),  # deviates: the order of the file
    (57, "1__colors/cold__2", ["1blue2", "1green2"]),
    (58, "__colors/cold____colors/warm__", [one + two for one in COLD for two in WARM]),
    (59, "(__colors/cold__:1.2)", ["(blue:1.2)", "(green:1.2)"]),
    (60, "3#__colors/cold__", [f"{a}, {b}, {c}" for a in COLD for b in COLD for c in COLD]),  # deviates: joined copies
    (63, "{!a|b}", ["a", "b"]),
    (64, "{a|b} {@c|d}", ["a c", "b d"]),
    (66, "{@a|b} {@c|d}", ["a c"]),
    (67, "{a|b}{@1|2}{@x|y}", ["a1x", "b2y"]),
    (68, "A {red|{@green|blue}} {@ball|car}", ["A red ball", "A green car"]),
    (69, "${x=a}${x}", ["a"]),
    (70, "${x={a|b}}${x} ${x}", ["a a", "a b", "b a", "b b"]),
    (71, "${x=!{a|b}}${x} ${x}", ["a a", "b b"]),  # deviates: an early variable is a slot
    (72, "${x=!__colors/cold__}${x}${x}", ["blueblue", "greengreen"]),
    (73, "${x:dflt}", ["dflt"]),
    (74, "${x}", Fails("the variable 'x' has no value")),
    (75, "${x?=a}${x}", ["a"]),
    (76, "${x=b}${x?=a}${x}", ["b"]),  # deviates: x is set
    (77, "${x = a }[${x}]", ["[a ]"]),
    (78, "${x=${y:q}}${y=z}${x}", ["z"]),
    (79, "${x=${x}}${x}", Fails("the variable 'x' uses itself: x -> x")),
    (80, "${a-b=1}${a-b}", ["1"]),
    (81, "${1x=1}", Fails("begins with no digit")),
    (82, "{${x=a}|b}", Fails("an assignment must stand outside of { }")),
    (83, "__tmpl__", ["In summer"]),
    (84, "__tmpl(season=winter)__", ["In winter"]),
    (85, "__tmpl2__", Fails("the variable 'season' has no value")),
    (86, "__tmpl2(season={winter|fall})__", ["In winter", "In fall"]),
    (87, "${season=!{w|s}}__tmpl2__", ["In w", "In s"]),
    (88, "${t=warm}__colors/${t}__", WARM),
    (89, "__colors/${t:cold}__", COLD),
    (90, "__colors/{cold|warm}__", COLD + WARM),  # deviates: every path
    (91, "%{... in jail$${fox|cow}}", ["fox in jail", "cow in jail"]),
    (92, "%{happy $${fox|cow}}", ["happy fox", "happy cow"]),
    (93, "%{a ... b ... c$$x}", ["a x b ... c"]),
    (94, "%{ {cool|hot} ...$${fox|cow}}", ["cool fox", "cool cow", "hot fox", "hot cow"]),
    (95, "a # comment\nb", ["a \nb"]),
    (96, "{a|b} # {c|d}", ["a ", "b "]),
    (97, "#{a|b}", [""]),
    (98, "color #ff0000", ["color #ff0000"]),  # deviates: a colour is text
    (99, "http://x.y/{a|b}", ["http://x.y/a", "http://x.y/b"]),
    (100, "a /* c */ b", ["a /* c */ b"]),
    (101, "a } b", ["a } b"]),
    (102, "a | b", ["a | b"]),
    (103, "{a|b", Fails("has no closing }")),
    (104, "[cat|dog] (x:1.2)", ["[cat|dog] (x:1.2)"]),
    (105, "[{a|b}:c:0.5]", ["[a:c:0.5]", "[b:c:0.5]"]),
    (106, "<lora:x:{0.5|1}>", ["<lora:x:0.5>", "<lora:x:1>"]),
    (107, "{<lora:x:1>|b}", ["<lora:x:1>", "b"]),
    (108, "price $5", ["price $5"]),  # deviates: a lone sign is text
    (109, "100% {a|b}", ["100% a", "100% b"]),  # deviates: a lone sign is text
    (110, "a__b", ["a__b"]),  # deviates: lone underscores are text
    (111, "score_9, snake_case, {a|b}", ["score_9, snake_case, a", "score_9, snake_case, b"]),
    (112, r"\{a|b\}", ["{a|b}"]),  # deviates: escaped braces are text
]
SAMPLED = (61, 62, 65)
"""Cases about draws, which have tests of their own below."""


def _compile(text: str, order: Sampling = "product", seed: int = 0) -> Template:
    return compile_text(text, _library(), order, seed)


def _all_texts(template: Template) -> list[str]:
    return [texts[0] for texts in islice(template.texts(), template.count)]


def test_every_case_of_the_table_is_here() -> None:
    assert sorted([*(number for number, _, _ in CASES), *SAMPLED]) == list(range(1, 113))


@pytest.mark.parametrize(("text", "outcome"), [case[1:] for case in CASES], ids=[str(case[0]) for case in CASES])
def test_a_case_of_the_table(text: str, outcome: list[str] | Fails) -> None:
    if isinstance(outcome, Fails):
        with pytest.raises(TemplateError, match=re.escape(outcome.text)):
            _compile(text)
        return
    template = _compile(text)
    assert template.count == len(outcome)
    assert _all_texts(template) == outcome
    assert [one.texts["text"] for one in islice(template.combinations(), template.count)] == outcome


@pytest.mark.parametrize(
    ("text", "outcome"),
    [(case[1], case[2]) for case in CASES if isinstance(case[2], list)],
    ids=[str(case[0]) for case in CASES if isinstance(case[2], list)],
)
def test_random_order_gives_the_same_texts(text: str, outcome: list[str]) -> None:
    template = _compile(text, "random", 5)
    drawn = [one.texts["text"] for one in islice(template.combinations(), template.count)]
    if "{@" in text:  # the other cyclic slots are in step, whatever the order
        assert len(drawn) == len(outcome)
    else:
        assert sorted(drawn) == sorted(outcome)


def _shares(text: str, draws: int = 4000) -> dict[str, float]:
    """How often the first combination in random order is which text, over many seeds."""
    library = _library()
    counts: dict[str, int] = {}
    for seed in range(draws):
        text_drawn = next(iter(compile_text(text, library, "random", seed).texts()))[0]
        counts[text_drawn] = counts.get(text_drawn, 0) + 1
    return {one: number / draws for one, number in counts.items()}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{0.9::a|0.1::b}", {"a": 0.9, "b": 0.1}),
        ("{3::a|b}", {"a": 0.75, "b": 0.25}),
        ("{0::a|b}", {"b": 1.0}),
        ("{2::__colors/cold__|1::none}", {"blue": 1 / 3, "green": 1 / 3, "none": 1 / 3}),
        ("__dupes__", {"red": 2 / 3, "blue": 1 / 3}),
        ("__pantry/fruit__", {"apple": 3 / 5.5, "pear": 0.5 / 5.5, "fig": 2 / 5.5}),
        ("{a|{b|c}}", {"a": 0.5, "b": 0.25, "c": 0.25}),
        ("{1-2$$3::a|b}", {"a": 0.375, "b": 0.125, "a,b": 0.375, "b,a": 0.125}),
    ],
)
def test_random_draws_follow_the_weights(text: str, expected: dict[str, float]) -> None:
    shares = _shares(text)
    assert shares == pytest.approx(expected, abs=0.03)


def test_case_61_a_random_slot_adds_no_combination() -> None:
    template = _compile("{~a|b}")
    assert template.count == 1
    assert {one.texts["text"] for one in islice(template.combinations(), 50)} == {"a", "b"}


def test_case_62_a_cyclic_slot_takes_its_options_in_turn() -> None:
    assert [one[0] for one in islice(_compile("{@a|b}").texts(), 4)] == ["a", "b", "a", "b"]


def test_case_65_a_random_slot_beside_a_product() -> None:
    template = _compile("{a|b} {~c|d}", seed=1)
    texts = [one.texts["text"] for one in islice(template.combinations(), 40)]
    assert template.count == 2
    assert [text[0] for text in texts] == ["a", "b"] * 20
    assert {text[2] for text in texts} == {"c", "d"}


def test_case_66_all_cyclic_slots_advance_together() -> None:
    template = _compile("{a|b} {c|d}", "cyclic")
    assert template.count == 2
    assert _all_texts(template) == ["a c", "b d"]


def test_cyclic_slots_stay_in_step_whatever_repeats() -> None:
    assert [one[0] for one in islice(_compile("{@a|a|b} {@x|y|z}").texts(), 3)] == ["a x", "a y", "b z"]


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("{1-3}", ["1", "2", "3"]),
        ("{0.5-1:0.25}", ["0.50", "0.75", "1.00"]),
        ("{-1-1}", ["-1", "0", "1"]),
        ("{1-9:4} {a|b}", ["1 a", "1 b", "5 a", "5 b", "9 a", "9 b"]),
        ("{pantry:pantry.fruit}", ["apple", "pear", "fig"]),
        ("{a/p:bitter}", ["coffee"]),
        ("{2$$ + $$2#__colors/cold__|x}", ["blue + blue", "blue + green", "green + blue", "green + green"] * 2),
    ],
)
def test_syntax_of_other_programs(text: str, outcome: list[str]) -> None:
    template = _compile(text)
    found = _all_texts(template)
    assert [one for one in found if "x" not in one] == outcome


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{3-1}", "text, line 1, column 1: the range runs backwards; write {1-3}"),
        ("{1-2:0}", "text, line 1, column 1: the step of a range must not be 0"),
        (
            "{1-999999}",
            "text, line 1, column 1: the range has 999999 values; at most 10000 are possible, write a larger step",
        ),
        (
            "{1-1000000000000}",
            "text, line 1, column 1: a number of a range has at most 9 digits before and after the point",
        ),
        ("{0-1:0.0000000001}", "a number of a range has at most 9 digits"),
        ("a\n {b|", "text, line 2, column 2: this { has no closing }; add it, or write \\{ for the signs themselves"),
        ("__colors/cool__", "text, line 1, column 1: there is no wildcard 'colors/cool'; did you mean 'colors/cold'"),
        ("{pantri:x}", "did you mean 'pantry'"),
        ("{pantry:pantry.friut}", "the file 'pantry' has no list 'pantry.friut'; did you mean 'pantry.fruit'"),
        ("${seeson=w}${season}", "the variable 'season' has no value; write ${season:default}; did you mean 'seeson'?"),
        ("{0::a|0::b}", "every option has weight 0"),
        ("{" * 40 + "a" + "}" * 40, "nested more than 30 deep"),
    ],
)
def test_errors_say_where_and_what_to_change(text: str, sentence: str) -> None:
    with pytest.raises(TemplateError) as raised:
        _compile(text)
    assert sentence in str(raised.value)


def test_an_error_names_the_chain_of_files_that_led_to_it() -> None:
    lists = {"outer": ["x", "a __inner__"], "inner": ["{b|"]}
    library = WildcardLibrary(
        lists,
        lambda name: [WildcardValue(TemplateSource(f"{name}.txt", text, n)) for n, text in enumerate(lists[name], 1)],
    )
    with pytest.raises(TemplateError) as raised:
        compile_text("see __outer__", library)
    assert str(raised.value) == (
        "inner.txt, line 1, column 1: this { has no closing }; add it, or write \\{ for the signs themselves "
        "(used at outer.txt, line 2, column 3, used at text, line 1, column 5)"
    )


def test_lists_that_use_each_other_are_refused() -> None:
    library = WildcardLibrary.from_texts({"a": ["__b__"], "b": ["__c__"], "c": ["__a__"]})
    with pytest.raises(TemplateError, match="the wildcard 'a' uses itself: a -> b -> c -> a"):
        compile_text("__a__", library)


def test_names_that_differ_in_letter_case_only_must_be_written_exactly() -> None:
    library = WildcardLibrary.from_texts({"Hair": ["x"], "hair": ["y"]})
    assert next(iter(compile_text("__Hair__", library).texts())) == ("x",)
    with pytest.raises(TemplateError, match="'HAIR' fits several wildcards: Hair, hair"):
        compile_text("__HAIR__", library)

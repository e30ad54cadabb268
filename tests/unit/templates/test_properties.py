"""Properties of all templates: the count, the orders, round trips; and hostile texts."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexd.templates.errors import TemplateError
from indexd.templates.random_order import KeyedPermutation, RandomNumbers
from indexd.templates.template import Template, compile_text, normalize_prompt
from indexd.templates.wildcards import WildcardLibrary

LISTS = {"four": ["p", "q", "r", "s"], "two": ["{t|u}", "v"]}


@dataclass(frozen=True)
class Leaf:
    """A fixed text."""


@dataclass(frozen=True)
class Named:
    """`__name__`."""

    name: str


@dataclass(frozen=True)
class Several:
    """Trees one after the other."""

    trees: tuple[Tree, ...]


@dataclass(frozen=True)
class OneOf:
    """`{a|b}`, or `{low-high$$+$$a|b}`; weights do not change the set of texts."""

    trees: tuple[Tree, ...]
    weights: tuple[int, ...]
    bounds: tuple[int, int] | None


Tree = Leaf | Named | Several | OneOf


def _one_of(trees: list[Tree], weights: list[int], bounds: tuple[int, int] | None) -> OneOf:
    return OneOf(tuple(trees), tuple(weights[: len(trees)]), bounds and (min(bounds), max(bounds)))


BOUNDS = st.none() | st.tuples(st.integers(1, 3), st.integers(1, 3))
WEIGHTS = st.lists(st.sampled_from([1, 1, 2, 7]), min_size=3, max_size=3)
TREES: st.SearchStrategy[Tree] = st.recursive(
    st.one_of(st.just(Leaf()), st.sampled_from([Named("four"), Named("two")])),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda trees: Several(tuple(trees))),
        st.builds(_one_of, st.lists(inner, min_size=1, max_size=3), WEIGHTS, BOUNDS),
    ),
    max_leaves=6,
)
MANY = 3000


def _write(tree: Tree, labels: Iterator[int]) -> tuple[str, list[str]]:
    """The tree as a template, and every text that it stands for, by brute force. Each leaf has a label of its own."""
    label = f"<{next(labels)}>"
    if isinstance(tree, Leaf):
        return label, [label]
    if isinstance(tree, Named):
        values = ["t", "u", "v"] if tree.name == "two" else LISTS[tree.name]
        return f"{label}__{tree.name}__", [label + value for value in values]
    written = [_write(inner, labels) for inner in tree.trees]
    if isinstance(tree, Several):
        texts = ["".join(parts) for parts in itertools.product(*(texts for _, texts in written))]
        return "".join(text for text, _ in written), texts
    options = "|".join(f"{weight}::{text}" for (text, _), weight in zip(written, tree.weights, strict=True))
    if tree.bounds is None:
        return f"{{{options}}}", [text for _, texts in written for text in texts]
    low, high = (min(bound, len(written)) for bound in tree.bounds)
    picks = [
        "+".join(parts)
        for length in range(low, high + 1)
        for order in itertools.permutations([texts for _, texts in written], length)
        for parts in itertools.product(*order)
    ]
    return f"{{{tree.bounds[0]}-{tree.bounds[1]}$$+$${options}}}", picks


def _library() -> WildcardLibrary:
    return WildcardLibrary.from_texts(LISTS)


def _texts(template: Template, count: int) -> list[str]:
    return [one.texts["text"] for one in islice(template.combinations(), count)]


@given(TREES)
@settings(max_examples=150, deadline=None)
def test_the_product_is_every_text_once_with_the_last_slot_fastest(tree: Tree) -> None:
    text, expected = _write(tree, itertools.count())
    template = compile_text(text, _library())
    assert template.count == len(expected) == len(set(expected))
    if template.count <= MANY:
        assert _texts(template, template.count) == expected
        assert [one[0] for one in islice(template.texts(), template.count)] == expected


@given(TREES, st.integers(0, 2**64 - 1))
@settings(max_examples=150, deadline=None)
def test_random_order_repeats_nothing_until_everything_came(tree: Tree, seed: int) -> None:
    text, expected = _write(tree, itertools.count())
    if len(expected) > MANY:
        return
    drawn = _texts(compile_text(text, _library(), "random", seed), 2 * len(expected))
    assert set(drawn[: len(expected)]) == set(drawn[len(expected) :]) == set(expected)
    assert drawn[: len(expected)] == _texts(compile_text(text, _library(), "random", seed), len(expected))


@given(TREES, st.integers(0, 1000))
@settings(max_examples=100, deadline=None)
def test_the_number_of_a_combination_gives_it_again(tree: Tree, seed: int) -> None:
    text, _ = _write(tree, itertools.count())
    library = _library()
    product = compile_text(text, library)
    for one in islice(compile_text(text, library, "random", seed).combinations(), 10):
        again = product.at(one.number)
        assert (again.texts, again.choices) == (one.texts, one.choices)


@given(TREES)
@settings(max_examples=100, deadline=None)
def test_nothing_is_left_unexpanded(tree: Tree) -> None:
    text, _ = _write(tree, itertools.count())
    for one in islice(compile_text(f"${{x=!{text}}}${{x}} {text}", _library(), "random").combinations(), 20):
        assert not any(sign in one.texts["text"] for sign in ("{", "}", "__", "${", "::", "$$"))


@given(st.text(alphabet="{}|$%#_ab1-:=!?~@(),.\\\n ", max_size=40))
@settings(max_examples=1000, deadline=None)
def test_any_text_is_a_template_or_an_error_with_a_place(text: str) -> None:
    library = WildcardLibrary.from_texts({"a": ["x", "__b__"], "b": ["{y|z}"]})
    try:
        template = compile_text(text, library, "random", 1)
    except TemplateError as error:
        assert error.places
        return
    assert template.count >= 1
    assert len(list(islice(template.combinations(), 3))) == 3


def test_a_seed_draws_the_same_combinations_on_every_machine() -> None:
    assert _texts(compile_text("{1-10} {1-10}", order="random", seed=7), 6) == [
        "8 3",
        "1 5",
        "6 5",
        "2 9",
        "8 6",
        "9 1",
    ]
    assert _texts(compile_text("{3::a|b} {1-9}", order="random", seed=7), 6) == [
        "a 6",
        "a 1",
        "a 3",
        "a 2",
        "a 9",
        "b 4",
    ]


@pytest.mark.parametrize("size", [*range(1, 40), 1000, 65_537])
def test_a_keyed_permutation_gives_every_number_once(size: int) -> None:
    permutation = KeyedPermutation(size, 3)
    assert sorted(permutation[index] for index in range(size)) == list(range(size))


@pytest.mark.parametrize("size", [10**12, 10**30, 2**128 + 2**64, 7**400])
def test_a_large_permutation_repeats_nothing(size: int) -> None:
    permutation = KeyedPermutation(size, 3)
    numbers = [permutation[index] for index in (*range(2000), size - 1)]
    assert len(set(numbers)) == len(numbers)
    assert all(0 <= number < size for number in numbers)


def test_permutations_of_different_keys_differ() -> None:
    first, second = KeyedPermutation(1000, 1), KeyedPermutation(1000, 2)
    same = sum(first[index] == second[index] for index in range(1000))
    assert same < 20


def test_random_numbers_are_even() -> None:
    numbers = RandomNumbers(5)
    counts = [0] * 7
    for _ in range(70_000):
        counts[numbers.below(7)] += 1
    assert all(abs(one - 10_000) < 500 for one in counts)


def test_a_combination_of_a_trillion_is_made_alone() -> None:
    template = compile_text(" ".join(["{1-10000}"] * 3), order="random", seed=1)
    assert template.count == 10**12
    assert compile_text(" ".join(["{1-10000}"] * 3)).at(7_214).texts["text"] == "1 1 7215"
    drawn = _texts(template, 1000)
    assert len(set(drawn)) == 1000


def test_choices_have_the_names_of_lists_and_variables() -> None:
    library = WildcardLibrary.from_texts({"hair": ["bob", "{long|short} braid"]})
    template = compile_text("${mood=!{sad|happy}}__hair__, ${mood}, {a|{b|c}}, __hair__", library)
    found = {tuple(one.choices) for one in islice(template.combinations(), template.count)}
    assert found == {("mood", "hair", "2", "hair#2"), ("mood", "hair", "2", "3", "hair#2")}
    last = template.at(template.count - 1)
    assert last.choices == {"mood": "happy", "hair": "short braid", "2": "c", "3": "c", "hair#2": "short braid"}
    assert last.texts["text"] == "short braid, happy, c, short braid"


HOSTILE = {
    "unclosed braces": "{" * 10_000,
    "unclosed wraps": "%{" * 10_000,
    "unclosed variables": "${a=" * 10_000,
    "underscores": "__" * 50_001,
    "open wildcards": "__{a|" * 29,
    "wildcard of wildcards": "__a" * 20_000,
    "options": "{" + "|" * 60_000 + "}",
    "huge bounds": "{999999$$" + "|".join(map(str, range(2000))) + "}",
    "picks of picks": "{2$$" + "|".join("{1-9$$a|b|c|d|e|f}" for _ in range(300)) + "}",
    "towers": "{1-10000}" * 2000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=list(HOSTILE))
def test_hostile_texts_cost_bounded_time(text: str) -> None:
    began = time.process_time()
    try:
        template = compile_text(text, order="random")
        template.at(template.count // 2)
    except TemplateError as error:
        assert len(str(error)) < 2000
    assert time.process_time() - began < 5


def test_lists_that_double_each_other_cost_bounded_time() -> None:
    lists = {f"l{n}": [f"__l{n + 1}____l{n + 1}__"] for n in range(50)}
    began = time.process_time()
    with pytest.raises(TemplateError, match="more than 200000 characters"):
        compile_text("__l0__", WildcardLibrary.from_texts(lists | {"l50": ["x"]})).at(0)
    with pytest.raises(TemplateError, match=r"more than 10\^1200 combinations"):
        compile_text("__l0__", WildcardLibrary.from_texts(lists | {"l50": ["x", "y"]}))
    with pytest.raises(TemplateError, match="more than 200000 characters"):
        compile_text("__l0__", WildcardLibrary.from_texts(lists | {"l50": ["{~x|y}"]})).at(0)
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("  , 1girl,, beautiful  \n\n\n  detailed background,  ", "1girl, beautiful\n\ndetailed background"),
        ("a, , b", "a, b"),
        ("a ,b", "a, b"),
        (",", ""),
        ("a\n,\nb", "a\nb"),
        ("a\n\n\n\nb\n", "a\n\nb"),
        ("(a, b:1.2), c", "(a, b:1.2), c"),
        ("plain text", "plain text"),
    ],
)
def test_prompts_are_normalized(text: str, normal: str) -> None:
    assert normalize_prompt(text) == normal
    assert normalize_prompt(normal) == normal


def test_normalizing_loses_no_word() -> None:
    chooser = random.Random(3)
    for _ in range(300):
        text = "".join(chooser.choice(["a", "b c", ",", " ", "\n", ", ", "(x:1.2)"]) for _ in range(20))
        assert "".join(normalize_prompt(text).replace(",", "").split()) == "".join(text.replace(",", "").split())

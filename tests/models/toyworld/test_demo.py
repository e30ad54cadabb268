"""The demo asks for nothing that the toy world has not learnt."""

from __future__ import annotations

import pytest

from indexd.demo import tour
from indexd_toyworld.captions import vocabulary_words


@pytest.mark.parametrize("prompt", tour.PROMPTS.values())
def test_every_word_of_a_prompt_is_one_of_the_captions(prompt: str) -> None:
    assert set(prompt.split()) <= set(vocabulary_words())

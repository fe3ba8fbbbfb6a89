"""What people guess leads to the right word."""

import re

import pytest

from llmbatch.cli.guesses import _OPTIONS, about_command, about_option
from llmbatch.cli.lazy_commands import VERBS
from llmbatch.options.table import OPTIONS

FLAGS = [option.flag for option in OPTIONS]
ELSEWHERE = {"--version", "--profile", "--check", "--excel", "--format", "--to"}
"""Flags of other commands, which answers name too."""


@pytest.mark.parametrize(
    ("guess", "word"),
    [
        ("--api-key", "--key-env"),
        ("--workers", "-c N"),
        ("--threads", "-c N"),
        ("-j", "-c N"),
        ("--jobs", "-c N"),
        ("--proxy", "HTTPS_PROXY"),
        ("--seed", "--param seed=1"),
        ("--out", "-o FILE"),
        ("--max_tokens", "--max-tokens"),
        ("--Concurrency", "--concurrency"),
        ("--concurency", "--concurrency"),
        ("--resume", "same command"),
        ("-H", "--header"),
        ("--fail", "--max-failures"),
        ("--attachment", "--image"),
        ("--prompt-column", "-t '{{ FIELD }}'"),
        ("--cache", "--reuse"),
        ("--num-retries", "--retries N"),
        ("--env-file", ". ./.env"),
        ("--requests-per-minute", "--rpm N"),
        ("--estimate", "--dry-run"),
        ("--explain", "--dry-run"),
        ("--deployment", "-m NAME"),
        ("-O", "-o FILE"),
        ("--rerun", "--redo"),
        ("--cheap", "--batch-api"),
        ("--currency", "--price IN,OUT"),
        ("--no-meta", "--meta none"),
        ("--offset", "--limit N"),
        ("--keep-order", "--ordered"),
    ],
)
def test_a_guess_is_answered_with_the_right_word(guess: str, word: str) -> None:
    assert word in (about_option(guess, FLAGS) or "")


def test_what_is_near_nothing_has_no_answer() -> None:
    assert about_option("--zzz", FLAGS) is None


def test_no_guess_is_an_option_and_every_option_in_an_answer_exists() -> None:
    shorts = {option.short for option in OPTIONS if option.short}
    for guess, answer in _OPTIONS.items():
        assert guess.startswith("-") and len(guess) > 1, f"{guess} is no option"
        assert guess not in FLAGS and guess not in shorts, f"{guess} exists: remove it from the guesses"
        told = set(re.findall(r"(?<!\S)--[a-z][a-z-]+", answer)) - ELSEWHERE
        assert told <= set(FLAGS), f"{guess}: {told - set(FLAGS)} does not exist"


@pytest.mark.parametrize(
    ("name", "is_file", "words"),
    [
        ("prompts.jsonl", False, "llmbatch run prompts.jsonl -m MODEL"),
        ("prompts", True, "llmbatch run prompts -m MODEL"),
        ("version", False, "llmbatch --version"),
        ("rnu", False, "Did you mean llmbatch run?"),
        ("summary", False, "llmbatch report FILE"),
        ("status", False, "llmbatch report FILE"),
        ("retry", False, "the same `llmbatch run` command again"),
        ("init", False, "llmbatch config init"),
        ("ls", False, "llmbatch batches FILE"),
        ("estimate", False, "--dry-run"),
        ("zzz", False, "Commands are: run, report"),
    ],
)
def test_a_command_that_does_not_exist_is_answered(name: str, is_file: bool, words: str) -> None:
    assert words in about_command(name, VERBS, is_file=is_file)

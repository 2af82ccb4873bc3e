"""Every `nnunet-nacl ...` in README and docs is one that the command line knows."""

import argparse
import re
import shlex
from itertools import takewhile

import pytest
from pages import PAGES, blocks, name, prose

from nnunet_nacl.cli import _parser

_SPAN = re.compile(r"`(nnunet-nacl [^`]+)`")
_PLACEHOLDER = re.compile(r"\.\.\.|[\[\]]|\w\|\w")
_END = re.compile(r"^[|;&<>]+$")


def commands_in_blocks(page):
    """Return the commands in a page's shell blocks, without shell around them."""
    lines = "\n".join(blocks(page, "bash", "sh", "console")).replace("\\\n", " ").splitlines()
    found = [match[0] for line in lines for match in re.finditer(r"(?<![\w/-])nnunet-nacl [^)]*", line.split(" #")[0])]
    return [command.strip() for command in found]


def commands_in_text(page):
    return [match[1].replace("\\|", "|") for match in _SPAN.finditer(prose(page))]


def words_of_shell(command):
    """Return the words behind `nnunet-nacl`, up to a pipe or redirection."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars="|;&<>")
    lexer.whitespace_split = True
    return list(takewhile(lambda word: not _END.match(word), lexer))[1:]


def words_of_text(command):
    """Return the words behind `nnunet-nacl`, where `fit | apply` is one: either of them."""
    return re.sub(r"\s*\|\s*", "|", command).split()[1:]


def unknown(words):
    """Return the first word that is no subcommand or option where it has to be one, or None."""
    parser = _parser()
    for word in words:
        if word == "--":
            return None
        choices = [action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
        plain = word.strip("[]")
        if plain.startswith("-"):
            if plain.split("=")[0] not in parser._option_string_actions:
                return word
        elif choices:
            if plain == "..." or plain.isupper():
                return None
            alternatives = plain.split("|")
            wrong = [alternative for alternative in alternatives if alternative not in choices[0]]
            if wrong:
                return wrong[0]
            parser = choices[0][alternatives[0]]
    return None


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_names_exist(page):
    found = [words_of_shell(command) for command in commands_in_blocks(page)]
    found += [words_of_text(command) for command in commands_in_text(page)]
    assert [(words, unknown(words)) for words in found if unknown(words)] == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_whole_lines_parse(page):
    """Lines to be copied are complete: nothing that is required is missing, and values have their types."""
    for command in commands_in_blocks(page):
        if not _PLACEHOLDER.search(command):
            _parser().parse_args(words_of_shell(command))


def test_there_are_commands():
    assert len([command for page in PAGES for command in commands_in_blocks(page)]) > 30
    assert len([command for page in PAGES for command in commands_in_text(page)]) > 30


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("nnunet-nacl measure A B", "measure"),
        ("nnunet-nacl evaluate A B --bin 3", "--bin"),
        ("nnunet-nacl recalibrate fit | undo", "undo"),
        ("nnunet-nacl recalibrate fit|apply", None),
        ("nnunet-nacl compare BASE RUN [RUN ...] --per-class", None),
        ("nnunet-nacl benchmark run my-study -- --jobs 20", None),
        ("nnunet-nacl benchmark commands S --form sbatch > submit.sh", None),
        ("nnunet-nacl evaluate", None),
    ],
)
def test_faults_are_seen(command, expected):
    split = words_of_text if "|" in command else words_of_shell
    assert unknown(split(command)) == expected

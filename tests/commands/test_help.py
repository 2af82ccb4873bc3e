"""What --help says holds for who installed a wheel."""

import argparse

from nnunet_nacl import cli


def parsers_below(parser):
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from parsers_below(below)


def test_no_help_names_a_file_that_a_wheel_does_not_have():
    texts = {parser.prog: parser.format_help() for parser in parsers_below(cli._parser())}
    assert len(texts) > 20
    assert [name for name, text in texts.items() if "docs/" in text or ".md" in text] == []

"""Findings against lesions: connected components of what is predicted and labelled, and what a finding's confidence is worth."""

from nnunet_nacl.lesions.case_lesions import CaseLesions, Findings, Lesions
from nnunet_nacl.lesions.find import find_lesions
from nnunet_nacl.lesions.rules import Rules
from nnunet_nacl.lesions.summary import summarize

__all__ = ["CaseLesions", "Findings", "Lesions", "Rules", "find_lesions", "summarize"]


def __dir__() -> list[str]:
    return sorted(__all__)

"""Questions that are nearly the same: shared runs of words, and whole short questions."""

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from fractions import Fraction

CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
TOKEN = re.compile(rf"[{CJK}]|[^\W_{CJK}]+")


def tokens(text: str) -> list[str]:
    """Words and numbers without case, marks and layout; every Chinese, Japanese, Korean sign."""
    return TOKEN.findall(unicodedata.normalize("NFKC", text).casefold())


class QuestionIndex:
    """The questions of a benchmark, for asking which of them another text holds.

    A question is held where the text has at least `share` of its n-grams of `words` tokens, or,
    where it is shorter than that, where the two are the same. 8 words and 70 % are those of A.
    Chowdhery et al., PaLM (arXiv 2204.02311, 2022), section 8, who count over the whole corpus;
    here one text must hold them all, so that common phrases do not add up.

    Only the rarest n-grams of a question are looked up, so many that a text without any of them
    cannot reach the share: questions from one template do not all become candidates.
    """

    def __init__(self, questions: Sequence[str], words: int, share: float):
        self._words = words
        self._rows: dict[str, list[int]] = defaultdict(list)  # by the normalised question
        for row, question in enumerate(questions):
            found = tokens(question)
            if found:
                self._rows[" ".join(found)].append(row)
        self._grams = {
            text: grams for text in self._rows if (grams := ngrams(text.split(" "), words))
        }
        exact = Fraction(str(share))  # 0.7 of 10 is 7, not 7.000000000000001
        self._needed = {t: max(1, math.ceil(exact * len(g))) for t, g in self._grams.items()}
        self._lookup = self._rarest()

    def _rarest(self) -> dict[int, list[str]]:
        counts = Counter(gram for grams in self._grams.values() for gram in grams)
        lookup: dict[int, list[str]] = defaultdict(list)
        for text, grams in self._grams.items():
            ordered = sorted(grams, key=lambda gram: (counts[gram], gram))
            for gram in ordered[: len(grams) - self._needed[text] + 1]:
                lookup[gram].append(text)
        return lookup

    def find(self, text: str) -> dict[int, float]:
        """Rows whose question the text holds, with the share of their n-grams."""
        found = tokens(text)
        shares = dict.fromkeys(self._rows.get(" ".join(found), ()), 1.0)
        grams = ngrams(found, self._words)
        candidates = {other for gram in grams for other in self._lookup.get(gram, ())}
        for other in candidates:
            held = len(grams & self._grams[other])
            if held >= self._needed[other]:
                share = held / len(self._grams[other])
                shares |= {row: max(share, shares.get(row, 0)) for row in self._rows[other]}
        return shares


def ngrams(found: Sequence[str], words: int) -> frozenset[int]:
    """Hashes of all runs of so many tokens; empty where there are fewer."""
    runs = range(len(found) - words + 1)
    return frozenset(hash(tuple(found[start : start + words])) for start in runs)

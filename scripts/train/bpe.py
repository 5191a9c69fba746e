"""CLIP's byte-pair encoding for the plain English of captions (the tool's own tokenizer, in Rust, also cleans text)."""

import gzip
import re

PIECES = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[a-z]+|[0-9]|[^\sa-z0-9]+")


def byte_letters():
    """Each byte as a printable letter, the printable bytes first: GPT-2's table."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in plain]
    return {b: chr(b) for b in plain} | {b: chr(256 + k) for k, b in enumerate(rest)}


class Bpe:
    def __init__(self, file):
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            merges = [tuple(line.split()) for line in lines.read().split("\n")[1 : 49152 - 256 - 2 + 1]]
        self.letters = byte_letters()
        single = list(self.letters.values())
        names = single + [s + "</w>" for s in single] + ["".join(m) for m in merges]
        self.ids = {name: k for k, name in enumerate(names)}
        self.rank = {merge: k for k, merge in enumerate(merges)}

    def _merged(self, piece):
        word = [self.letters[b] for b in piece.encode()]
        word[-1] += "</w>"
        while len(word) > 1:
            pairs = [(self.rank.get(pair, len(self.rank)), k) for k, pair in enumerate(zip(word, word[1:]))]
            best, _ = min(pairs)
            if best == len(self.rank):
                break
            merged, k = [], 0
            while k < len(word):
                if k + 1 < len(word) and self.rank.get((word[k], word[k + 1])) == best:
                    merged.append(word[k] + word[k + 1])
                    k += 2
                else:
                    merged.append(word[k])
                    k += 1
            word = merged
        return word

    def encode(self, text):
        """Ids of a text, without start and end."""
        return [self.ids[t] for piece in PIECES.findall(text.lower()) for t in self._merged(piece)]

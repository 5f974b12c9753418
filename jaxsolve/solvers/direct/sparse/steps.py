"""Steps: sums of many short lists of terms, cut into pieces of one shape for a loop of a program.

A target changes by its terms, of which it may have any number. Targets stand in blocks, those of a block do not need
each other, and within a block those of more terms stand first. A step takes `width` targets next to each other and at
most `TERMS` terms of each, so that it writes one window, and all it reads are rows by index.
"""

import dataclasses

import jax
import numpy as np

#: Targets and terms of a step that are tried, and what a step costs beside its terms, in terms: 0.3 µs for one set of
#: values and 1.5 µs for 64 of them, where a term takes 2.6 ns and 15 ns. A scatter in place of windows took 145 ns.
WIDTHS, TERMS, STEP_COST = (8, 16, 32, 64, 128), (4, 8), 100
#: The same away from a CPU, where a step launches some kernels.
WIDE, LONG, LAUNCHES = (64, 256, 1024, 4096), (4, 8, 16, 32), 20_000


@dataclasses.dataclass(frozen=True, eq=False)
class Steps:
    """Lists of terms in steps.

    Attributes:
        bounds: The first step of each block, and the one after its last; shape (blocks, 2).
        offsets: The first target of each step; shape (steps,).
        lists: What each term is made of; arrays of shape (steps, terms, width).
    """

    bounds: np.ndarray
    offsets: np.ndarray
    lists: tuple[np.ndarray, ...]


def steps(
    sizes: np.ndarray, counts: np.ndarray, lists: tuple[np.ndarray, ...], fill: tuple[int, ...]
) -> Steps:
    """Lists of terms cut into steps.

    Args:
        sizes: Targets of each block.
        counts: Terms of each target, in the order of the targets; falling within a block.
        lists: What the terms are made of, sorted by target.
        fill: What stands in a list where a target of a step has no more terms.
    """
    widths, lengths, extra = (
        (WIDTHS, TERMS, STEP_COST) if jax.default_backend() == "cpu" else (WIDE, LONG, LAUNCHES)
    )
    shapes = [
        (width, terms) for width in widths for terms in (lengths if counts.max(initial=0) > 1 else (1,))
    ]

    def cost(shape: tuple[int, int]) -> int:
        width, terms = shape
        return int(_rounds(sizes, counts, width, terms)[0].sum()) * (width * terms + extra)

    width, terms = min(shapes, key=cost)
    rounds, chunk, firsts, blocks = _rounds(sizes, counts, width, terms)
    ends = np.cumsum(rounds)
    begins = ends - rounds
    target = np.repeat(np.arange(len(counts)), counts)
    number = np.arange(len(target)) - np.repeat(np.cumsum(counts) - counts, counts)
    step = begins[chunk[target]] + number // terms
    slot = (step * terms + number % terms) * width + target - firsts[chunk[target]]
    total = int(ends[-1]) if len(ends) else 0
    cut = []
    for values, nothing in zip(lists, fill, strict=True):
        whole = np.full(total * terms * width, nothing, np.int32)
        whole[slot] = values
        cut.append(indices(whole.reshape(total, terms, width)))
    by_block = np.concatenate([[0], ends])[np.searchsorted(blocks, np.arange(len(sizes) + 1))]
    bounds = np.stack([by_block[:-1], by_block[1:]], axis=1)
    return Steps(indices(bounds), indices(np.repeat(firsts, rounds)), tuple(cut))


def _rounds(sizes: np.ndarray, counts: np.ndarray, width: int, terms: int) -> tuple[np.ndarray, ...]:
    """For pieces of `width` targets: how many steps each takes; the piece of each target; first targets; blocks."""
    pieces = -(-sizes // width)
    blocks = np.repeat(np.arange(len(sizes)), pieces)
    begins = np.cumsum(sizes) - sizes
    firsts = begins[blocks] + (np.arange(len(blocks)) - np.repeat(np.cumsum(pieces) - pieces, pieces)) * width
    piece = np.repeat(np.arange(len(blocks)), np.diff(np.append(firsts, len(counts))))
    # Counts fall within a block: the first target of a piece has the most terms.
    return -(-counts[firsts] // terms), piece, firsts, blocks


def indices(values: np.ndarray) -> np.ndarray:
    """Index arrays of a program, of four bytes and for reading only."""
    values = np.ascontiguousarray(values, np.int32)
    values.flags.writeable = False
    return values

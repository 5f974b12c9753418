"""What is kept, and for how long."""

import copy
import gc
import pickle
import weakref

import jax
import numpy as np

import jaxsolve as js
from jaxsolve.core import memo
from jaxsolve.core.recent import Recent, array_bytes
from jaxsolve.operators.pattern import Pattern
from jaxsolve.preconditioners.ilu.zero_fill import plan_zero_fill


def test_programs_that_were_not_used_for_long_are_forgotten(monkeypatch):
    monkeypatch.setattr(memo, "PROGRAMS", 3)
    traced = []

    def scaled(factor, x):
        traced.append((factor, x.shape[0]))
        return factor * x

    kept = memo.compiled(scaled, static=1)

    def run(factor, *sizes):
        traced.clear()
        for n in sizes:
            np.testing.assert_array_equal(kept(factor, np.ones(n)), factor * np.ones(n))
        return list(traced)

    def programs():
        return len(jax.devices()[0].client.live_executables())

    assert run(2, 1, 2, 3, 3, 2, 1) == [(2, 1), (2, 2), (2, 3)]
    before = programs()
    assert run(2, *range(4, 12)) == [(2, n) for n in range(4, 12)]
    assert programs() <= before
    assert run(2, 11, 1) == [(2, 1)]
    assert run(3, 11) == [(3, 11)]
    assert jax.jit(lambda x: kept(2, x))(np.ones(3)).tolist() == [2.0, 2.0, 2.0]


def test_what_refers_to_its_object_dies_with_it():
    class Pair:
        pass

    pair, made = Pair(), []
    with_itself = memo.per_object(lambda x, k: made.append(k) or (x, k))
    assert [with_itself(pair, k)[1] for k in (1, 2, 1)] == [1, 2, 1]
    assert made == [1, 2]
    gone = weakref.ref(pair)
    del pair
    gc.collect()
    assert gone() is None


def test_patterns_die_with_all_that_is_remembered_of_them():
    pattern = Pattern.from_coo(*np.tril_indices(4, -1), (4, 4))[0]
    # The strictly lower part has the pattern that it was made of.
    assert plan_zero_fill(pattern).lower[0] is pattern
    gone = weakref.ref(pattern)
    del pattern
    gc.collect()
    assert gone() is None


def test_a_copy_of_a_pattern_is_the_same_object():
    pattern = Pattern.from_coo([0, 1], [1, 0], (2, 2))[0]
    assert pickle.loads(pickle.dumps(pattern)) is pattern
    assert copy.deepcopy(pattern) is pattern


def test_the_latest_are_kept_within_a_number_of_bytes():
    kept = Recent(most=8, most_bytes=100, each=10)
    for k in range(4):
        kept.keep(np.ones(3), k)
    assert (len(kept), kept.nbytes) == (2, 2 * (10 + 24))
    assert [kept.find(k) is not None for k in range(4)] == [False, False, True, True]
    shared = np.ones(9)
    for k in range(4):
        kept.keep(shared, "shared", k)
    assert (len(kept), kept.nbytes) == (2, 2 * 10 + 72)
    assert kept.keep(np.ones(1000), "large").nbytes > 100
    assert len(kept) == 1


def test_programs_count_with_the_patterns_that_they_refer_to():
    A = js.SparseMatrix.from_dense(np.tril(np.ones((40, 40))))
    structure = jax.tree.structure(A)
    before = array_bytes(structure)
    assert before >= A.pattern.indptr.nbytes + A.pattern.indices.nbytes
    A.layout()
    assert array_bytes(structure) > before
    assert array_bytes(structure, structure) == array_bytes(structure)

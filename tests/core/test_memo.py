"""What is kept, and for how long."""

import jax
import numpy as np

from jaxsolve.core import memo


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

"""The store of host objects: bounded, and keyed by content."""

import numpy as np

from jaxsolve.core.store import Store, digest


class Thing:
    def __init__(self, nbytes=10):
        self.nbytes = nbytes


def test_what_was_used_longest_ago_is_forgotten_first():
    store = Store(most=2, most_bytes=1000)
    store.get("a", Thing)
    store.get("b", Thing)
    store.find("a")
    store.get("c", Thing)
    assert store.find("b") is None
    assert store.find("a") is not None
    assert len(store) == 2


def test_bytes_are_bounded_but_the_newest_object_stays():
    store = Store(most=10, most_bytes=100)
    for k in range(5):
        store.get(k, lambda: Thing(60))
    assert len(store) == 1
    assert store.bytes == 60
    store.get("large", lambda: Thing(500))
    assert store.find("large") is not None


def test_a_batch_larger_than_the_store_stays_whole():
    store = Store(most=4, most_bytes=10**6)
    for k in range(20):
        store.get(k, Thing, batch=20)
    assert all(store.find(k) is not None for k in range(20))


def test_an_object_is_made_once():
    store = Store(most=4, most_bytes=100)
    first = store.get("a", Thing)
    assert store.get("a", Thing) is first
    assert store.made == 1
    store.discard("a")
    assert store.bytes == 0
    assert store.get("a", Thing) is not first


def test_digests_tell_values_dtypes_and_shapes_apart():
    x = np.arange(4.0)
    assert (digest(x) == digest(x.copy())).all()
    assert (digest(x[::2]) == digest(np.array([0.0, 2.0]))).all()
    assert (digest(x) != digest(x.astype(np.float32))).any()
    assert (digest(x) != digest(x.reshape(2, 2))).any()
    assert (digest(x) != digest(x + 1e-16 + 1e-9)).any()
    assert digest(np.zeros(0)).shape == (4,)

"""Reading ahead: the same items, errors in their turn, and no thread left behind."""

import threading
import time

import pytest

from nnunet_nacl.evaluation.read_ahead import read_ahead


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("read-ahead")]


def numbers(n, made=None, closed=None):
    try:
        for number in range(n):
            if made is not None:
                made.append(number)
            yield number
    finally:
        if closed is not None:
            closed.append(threading.current_thread().name)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 100])
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_same_items_in_order(n, depth):
    assert list(read_ahead(numbers(n), depth)) == list(range(n))
    assert not threads()


def test_stays_a_bounded_number_of_items_ahead():
    made = []
    items = read_ahead(numbers(100, made), depth=2)
    for number in items:
        time.sleep(0.01)  # time enough to run away in
        assert len(made) <= number + 1 + 2
        if number == 5:
            break
    items.close()


def test_works_while_the_caller_works():
    """The next item is made while the caller holds the present one: the caller waits for just that here."""
    ready = threading.Event()

    def two():
        yield 1
        ready.set()
        yield 2

    items = read_ahead(two(), depth=1)
    assert next(items) == 1
    assert ready.wait(timeout=30)
    assert list(items) == [2]


def test_an_error_comes_in_its_turn():
    def failing():
        yield from (1, 2, 3)
        raise RuntimeError("the fourth")

    seen = []
    with pytest.raises(RuntimeError, match="the fourth"):
        for number in read_ahead(failing(), depth=5):
            seen.append(number)
    assert seen == [1, 2, 3]
    assert not threads()


@pytest.mark.parametrize("stop_after", [1, 3])
def test_stopping_early_ends_the_thread_and_closes_the_generator(stop_after):
    closed = []
    items = read_ahead(numbers(1000, closed=closed))
    for _ in range(stop_after):
        next(items)
    items.close()
    assert closed
    assert not threads()


def test_never_started_starts_no_thread():
    made = []
    items = read_ahead(numbers(10, made))
    del items
    assert not made
    assert not threads()


def test_an_error_of_the_caller_ends_the_thread():
    closed = []
    try:
        for number in read_ahead(numbers(1000, closed=closed)):
            assert number < 2, "enough"
    except AssertionError as error:
        error.__traceback__ = None
    assert closed
    assert not threads()


def test_many_abandoned_iterators():
    for _ in range(200):
        next(read_ahead(numbers(1000)))
    assert not threads()

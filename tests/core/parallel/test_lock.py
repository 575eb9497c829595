import copy
import os
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from inlay.parallel.lock import SharedLock

on_posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture
def lock():
    return SharedLock()


@pytest.fixture
def pool():
    with ThreadPoolExecutor(8) as pool:
        yield pool


def hold(guard, entered, release):
    with guard:
        entered.set()
        assert release.wait(60)


def passes(guard, seconds=60.0):
    """Whether another thread gets through `guard` within some seconds (it stays in line if it does not)."""
    through = threading.Event()

    def enter():
        with guard:
            through.set()

    threading.Thread(target=enter, daemon=True).start()
    return through.wait(seconds)


def shut_by_a_waiting_writer(lock):
    """Start a change behind a reader, return once it keeps readers out; its event says that it ran."""
    ran = threading.Event()

    def change():
        with lock.exclusive():
            ran.set()

    threading.Thread(target=change, daemon=True).start()
    while passes(lock.shared(), 0.5):
        pass
    return ran


# Who may be inside


def test_many_hold_it_shared(lock, pool):
    together = threading.Barrier(4, timeout=60)

    def read():
        with lock.shared():
            together.wait()

    for reader in [pool.submit(read) for _ in range(4)]:
        reader.result()


@pytest.mark.parametrize("holder", ["shared", "exclusive"])
@pytest.mark.parametrize("other", ["shared", "exclusive"])
def test_whoever_holds_it_exclusively_is_alone(lock, pool, holder, other):
    entered, release = threading.Event(), threading.Event()
    pool.submit(hold, getattr(lock, holder)(), entered, release)
    assert entered.wait(60)
    both_shared = holder == other == "shared"
    assert passes(getattr(lock, other)(), 60 if both_shared else 0.3) == both_shared
    release.set()
    assert passes(lock.exclusive())


def test_readers_never_see_half_a_change(lock, pool):
    left, right = [0], [0]

    def change():
        for _ in range(200):
            with lock.exclusive():
                left[0] += 1
                time.sleep(0)
                right[0] += 1

    def read():
        for _ in range(1000):
            with lock.shared():
                seen = left[0]
                time.sleep(0)
                assert seen == left[0] == right[0]

    for job in [pool.submit(work) for work in (change, read, change, read, read)]:
        job.result()
    assert left == right == [400]


@pytest.mark.parametrize("kind", ["shared", "exclusive"])
def test_an_exception_leaves_the_lock_free(lock, kind):
    with pytest.raises(KeyError), getattr(lock, kind)():
        raise KeyError
    assert passes(lock.exclusive())


def test_a_guard_keeps_its_lock_alive():
    guard = SharedLock().exclusive()
    with guard:
        assert not passes(guard, 0.2)
    assert passes(guard)


def test_two_locks_have_nothing_to_do_with_each_other(lock):
    with lock.exclusive(), SharedLock().exclusive():
        pass


# Nobody waits for ever


def take_turns(holders, guest, pool):
    """Let each of `holders` hold its guard over and over while `guest` gets 20 turns."""
    over = threading.Event()

    def keep_holding(guard):
        while not over.is_set():
            with guard:
                time.sleep(0.001)

    def visit():
        for _ in range(20):
            with guest:
                pass

    crowd = [pool.submit(keep_holding, guard) for guard in holders]
    try:
        pool.submit(visit).result(timeout=60)
    finally:
        over.set()
    for holder in crowd:
        holder.result()


def test_a_stream_of_searches_does_not_starve_a_change(lock, pool):
    take_turns([lock.shared()] * 4, lock.exclusive(), pool)


def test_a_stream_of_changes_does_not_starve_a_search(lock, pool):
    take_turns([lock.exclusive()] * 4, lock.shared(), pool)


def test_searches_that_come_after_a_waiting_change_run_after_it(lock, pool):
    entered, release = threading.Event(), threading.Event()
    pool.submit(hold, lock.shared(), entered, release)
    assert entered.wait(60)
    changed = shut_by_a_waiting_writer(lock)
    late = pool.submit(lambda: read_flag(lock, changed))
    release.set()
    assert late.result(timeout=60)


def read_flag(lock, flag):
    with lock.shared():
        return flag.is_set()


# One thread and itself


def test_shared_inside_shared_passes_a_waiting_change(lock):
    with lock.shared():
        changed = shut_by_a_waiting_writer(lock)
        with lock.shared(), lock.shared():
            assert not changed.is_set()
        assert not changed.wait(0.2)  # the outer block still holds it
    assert changed.wait(60)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ("exclusive", "exclusive", "holds the lock exclusively .* to take it exclusively"),
        ("exclusive", "shared", "holds the lock exclusively .* to take it shared"),
        ("shared", "exclusive", "holds the lock shared .* to take it exclusively"),
    ],
)
def test_a_thread_that_would_wait_for_itself_is_told(lock, first, second, message):
    with getattr(lock, first)():
        with pytest.raises(RuntimeError, match=message), getattr(lock, second)():
            pass
        assert not passes(lock.exclusive(), 0.2)
    assert passes(lock.exclusive())


@pytest.mark.parametrize("kind", ["shared", "exclusive"])
def test_leaving_a_block_that_was_not_entered_is_an_error(lock, pool, kind):
    guard = getattr(lock, kind)()
    with pytest.raises(RuntimeError, match="does not hold the lock"):
        guard.__exit__(None, None, None)
    with guard, pytest.raises(RuntimeError, match="does not hold the lock"):
        pool.submit(guard.__exit__, None, None, None).result()
    assert passes(lock.exclusive())


# Signals

WAIT = """
    import signal, threading
    from inlay.parallel.lock import SharedLock
    lock = SharedLock()
    entered, release = threading.Event(), threading.Event()
    def hold(guard):
        with guard:
            entered.set()
            release.wait(60)
    def alarm_in(seconds, handler=signal.default_int_handler):
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, seconds)
"""


@on_posix
@pytest.mark.parametrize("kind", ["shared", "exclusive"])
def test_control_c_ends_the_wait_and_leaves_the_lock_usable(run_script, kind):
    source = f"""
    holder = threading.Thread(target=hold, args=(lock.exclusive(),))
    holder.start()
    entered.wait(60)
    alarm_in(0.2)
    try:
        with lock.{kind}():
            print("inside")
    except KeyboardInterrupt:
        print("interrupted")
    release.set()
    holder.join()
    with lock.exclusive(): pass
    with lock.shared(): pass
    """
    assert run_script(WAIT + source) == "interrupted"


@on_posix
def test_a_change_that_gave_up_waiting_lets_searches_through(run_script):
    source = """
    holder = threading.Thread(target=hold, args=(lock.shared(),))
    holder.start()
    entered.wait(60)
    def read():
        with lock.shared():
            print("read")
    reader = threading.Thread(target=read)
    def handler(*_):
        reader.start()
        reader.join(0.3)
        print("shut out" if reader.is_alive() else "let in")
        raise KeyboardInterrupt
    alarm_in(0.2, handler)
    try:
        with lock.exclusive(): pass
    except KeyboardInterrupt:
        reader.join(60)
    release.set()
    """
    assert run_script(WAIT + source) == "shut out\nread"


@on_posix
def test_a_handler_that_does_not_raise_leaves_the_waiter_in_line(run_script):
    source = """
    holder = threading.Thread(target=hold, args=(lock.exclusive(),))
    holder.start()
    entered.wait(60)
    alarm_in(0.2, lambda *_: release.set())
    with lock.shared():
        print("inside")
    """
    assert run_script(WAIT + source) == "inside"


# Processes


@on_posix
@pytest.mark.parametrize("kind", ["shared", "exclusive"])
def test_a_forked_child_starts_with_a_free_lock(run_script, kind):
    source = f"""
    import os
    threading.Thread(target=hold, args=(lock.{kind}(),)).start()
    entered.wait(60)
    def wait_in_line():
        with lock.exclusive(): pass
    threading.Thread(target=wait_in_line).start()
    child = os.fork()
    if child == 0:
        with lock.exclusive(): pass
        with lock.shared(): pass
        del lock
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    release.set()
    """
    run_script(WAIT + source)


@on_posix
@pytest.mark.parametrize("kind", ["shared", "exclusive"])
def test_a_block_can_be_left_in_a_child_forked_inside_it(run_script, kind):
    source = f"""
    import os
    with lock.{kind}():
        child = os.fork()
    if child == 0:
        with lock.exclusive(): pass
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    with lock.exclusive(): pass
    """
    run_script(WAIT + source)


def test_a_lock_is_neither_pickled_nor_copied(lock):
    for duplicate in (pickle.dumps, copy.copy, copy.deepcopy):
        for thing in (lock, lock.shared()):
            with pytest.raises(TypeError, match="cannot pickle"):
                duplicate(thing)

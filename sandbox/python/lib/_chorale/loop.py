"""asyncio without sockets, threads and processes: a loop that only runs tasks and sleeps."""

import asyncio
import selectors
import time


class SleepingSelector(selectors._BaseSelectorImpl):
    """Waits for time to pass. No file can be waited for."""

    def select(self, timeout=None):
        if timeout is None:
            raise RuntimeError("deadlock: every task waits for something that nothing can bring about any more")
        if timeout > 0:
            time.sleep(timeout)
        return []


class Loop(asyncio.SelectorEventLoop):
    """An event loop whose executors run their function at once, in the calling task."""

    def __init__(self):
        super().__init__(SleepingSelector())

    def _make_self_pipe(self):
        pass  # nothing wakes the loop from outside

    def _close_self_pipe(self):
        pass

    def _write_to_self(self):
        pass

    def run_in_executor(self, executor, func, *args):
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as e:
            future.set_exception(e)
        return future

    async def shutdown_default_executor(self, timeout=None):
        pass


class Policy(asyncio.DefaultEventLoopPolicy):
    _loop_factory = Loop


def abandon(loop):
    """Closes a loop with its tasks where they stand."""
    for task in asyncio.all_tasks(loop):
        task._log_destroy_pending = False  # it is known
    loop.close()


def install():
    asyncio.set_event_loop_policy(Policy())

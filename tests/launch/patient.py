"""A long program, which says what it is told to do; for the tests."""

import signal
import sys
import time


def leave(number, _):
    print(f"got {signal.Signals(number).name}", flush=True)
    sys.exit(75)


def main():
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
    for _ in range(400):
        print("waiting", flush=True)
        time.sleep(0.05)


if __name__ == "__main__":
    main()

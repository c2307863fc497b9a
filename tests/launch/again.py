"""A task of an array that is preempted once, and one that goes on, for the tests.

The first says so at once, if the array's number is its own.
"""

import os
import sys
import time


def main():
    print(f"in {os.getcwd()}", flush=True)
    if os.environ["SLURM_JOB_ID"] != os.environ["SLURM_ARRAY_JOB_ID"]:
        time.sleep(8)
    elif "SLURM_RESTART_COUNT" not in os.environ:
        sys.exit(75)


if __name__ == "__main__":
    main()

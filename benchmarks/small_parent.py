"""Smallest parent of a command: writes the command's wall and CPU seconds, peak memory and exit code into a file.

Linux counts the memory of a process before its `exec` too, which is that of its parent. A benchmark itself is larger
than many commands, so each command is started by this file: `python -I -S small_parent.py FILE SECONDS COMMAND`.
"""

import json
import os
import subprocess
import sys
import threading
import time


def main() -> None:
    file, seconds, *command = sys.argv[1:]
    begun = time.perf_counter()
    process = subprocess.Popen(command)
    timer = threading.Timer(float(seconds), process.kill)
    timer.start()
    _, status, usage = os.wait4(process.pid, 0)
    timer.cancel()
    found = {
        "seconds": time.perf_counter() - begun,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "memory": 1024 * usage.ru_maxrss,
        "code": os.waitstatus_to_exitcode(status),
    }
    with open(file, "w") as output:
        json.dump(found, output)


if __name__ == "__main__":
    main()

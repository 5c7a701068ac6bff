"""Programs that mean harm. Each ends quietly, and so would pass, if its attack came through; `{…}` are filled in by the
test: `secret` and `victim` are files outside, `parent` a process number, `port` a listening socket, `abstract` a local one.
"""
# ruff: noqa: E501

from kasauti.measure.sandbox.outcome import Outcome

TIME, MEMORY, RAISED = Outcome.TIMED_OUT, Outcome.OUT_OF_MEMORY, Outcome.RAISED
EXITED, FAILED, OUTPUT = Outcome.EXITED, Outcome.FAILED, Outcome.TOO_MUCH_OUTPUT
KILLED = Outcome.KILLED

HOSTILE: dict[str, tuple[set[Outcome], str]] = {
    # processor, clock, processes
    "fork bomb": ({TIME, RAISED}, "import os\nwhile True:\n    os.fork()"),
    "fork bomb that ignores errors": (
        {TIME},
        "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass",
    ),
    "thread bomb": (
        {RAISED, MEMORY},
        "import threading, time\nfor _ in range(100_000):\n    threading.Thread(target=time.sleep, args=(99,)).start()",
    ),
    "endless loop": ({TIME}, "while True:\n    pass"),
    "endless loop that ignores signals": (
        {TIME},
        "import signal\nfor s in range(1, 64):\n    try:\n        signal.signal(s, signal.SIG_IGN)\n"
        "    except (OSError, ValueError):\n        pass\nwhile True:\n    pass",
    ),
    "endless sleep": ({TIME}, "import time\ntime.sleep(10_000)"),
    "daemon that stays": (
        {EXITED},
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        time.sleep(600)\n    os._exit(0)\n"
        "os._exit(0)",
    ),
    "endless recursion": ({RAISED, KILLED, TIME, MEMORY}, "import sys\nsys.setrecursionlimit(10**9)\ndef f():\n    f()\nf()"),
    # memory
    "ten gigabytes at once": ({MEMORY}, "x = bytearray(10 * 2**30)"),
    "memory by and by": ({MEMORY}, "x = []\nwhile True:\n    x.append(bytearray(2**20))"),
    "memory of many processes": (
        {MEMORY},
        "import os, time\nfor _ in range(8):\n    if os.fork() == 0:\n        x = bytearray(150 * 2**20)\n"
        "        time.sleep(60)\ntime.sleep(60)",
    ),
    "memory that is no process's": (
        {RAISED},
        "import os\nfor i in range(50):\n    f = os.memfd_create('x')\n    os.write(f, bytes(2**24))",
    ),
    "a number too large": ({TIME, MEMORY}, "x = 9 ** 9 ** 9"),
    # files and output
    "endless output": ({OUTPUT}, "while True:\n    print('x' * 1000)"),
    "endless errors": ({OUTPUT}, "import sys\nwhile True:\n    sys.stderr.write('x' * 1000)"),
    "a huge file": ({RAISED}, "with open('/tmp/x', 'wb') as f:\n    for _ in range(1000):\n        f.write(bytes(2**20))"),
    "many files": (
        {RAISED},
        "for i in range(100_000):\n    open(f'/tmp/{i}', 'w').close()",
    ),
    "full disk": (
        {RAISED},
        "for i in range(100):\n    with open(f'/tmp/{i}', 'wb') as f:\n        f.write(bytes(15 * 2**20))",
    ),
    "delete a file outside": ({RAISED}, "import os\nos.remove('{victim}')"),
    "delete a folder outside": ({RAISED}, "import os, shutil\nshutil.rmtree(os.path.dirname('{victim}'))"),
    "delete the standard library": ({RAISED}, "import os\nos.remove(os.__file__)"),
    "write into the standard library": ({RAISED}, "import os\nopen(os.__file__, 'a').write('\\nraise SystemExit')"),
    "read a file outside": ({RAISED}, "print(open('{secret}').read())"),
    "read through the old root": (
        {RAISED},
        "import os\nos.chroot('/tmp')\n[os.chdir('..') for _ in range(64)]\nos.chroot('.')\nprint(open('{secret}').read())",
    ),
    "read through open descriptors": (
        {FAILED},
        "import os, stat\nfound = []\nfor fd in range(3, 4096):\n    try:\n        found.append(os.fstat(fd).st_mode)\n"
        "    except OSError:\n        pass\nassert any(not stat.S_ISFIFO(mode) for mode in found)",
    ),
    "mount the machine's disk": (
        {RAISED},
        "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        "if libc.mount(b'proc', b'/tmp', b'proc', 0, None):\n    raise OSError(ctypes.get_errno(), 'mount')",
    ),
    "a namespace to be root in": (
        {RAISED},
        "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        "if libc.unshare(0x10000000):\n    raise OSError(ctypes.get_errno(), 'unshare')",
    ),
    "become root": ({RAISED}, "import os\nos.setuid(os.getuid() + 1)"),
    # the parent
    "read the parent's environment": (
        {RAISED},
        "import os\nprint(dict(os.environ))\nprint(open('/proc/{parent}/environ').read())\n",
    ),
    "read the environment it began with": (
        {FAILED},
        "import ctypes\nlibc = ctypes.CDLL(None)\nlibc.getenv.restype = ctypes.c_char_p\nvalue = libc.getenv(b'KASAUTI_CANARY')\n"
        "print(value)\nassert value",
    ),
    "read the parent's memory": (
        {RAISED},
        "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        "if libc.ptrace(16, {parent}, 0, 0) < 0:\n    raise OSError(ctypes.get_errno(), 'ptrace')",
    ),
    "kill the parent": ({RAISED}, "import os\nos.kill({parent}, 9)"),
    "kill everything": ({RAISED, KILLED}, "import os, signal\nos.kill(-1, signal.SIGKILL)\nos.kill(1, 9)\nraise OSError"),
    "kill the group": ({KILLED}, "import os, signal\nos.killpg(0, signal.SIGKILL)"),
    "leave early as if all were well": ({EXITED}, "import os\nos._exit(0)"),
    "exit as if all were well": ({EXITED}, "raise SystemExit(0)"),
    "claim to have passed": (
        {EXITED},
        "import os\nfor fd in range(3, 64):\n    try:\n        os.write(fd, b'[\"passed\", \"\"]')\n"
        "    except OSError:\n        pass\nos._exit(0)",
    ),
    # the network
    "connect to the machine": ({RAISED}, "import socket\nsocket.create_connection(('127.0.0.1', {port}), 2).send(b'x')"),
    "look up a name": ({RAISED}, "import socket\nsocket.getaddrinfo('localhost', {port})\nsocket.socket().connect(('127.0.0.1', {port}))"),
    "connect to a local socket": (
        {RAISED},
        "import socket\ns = socket.socket(socket.AF_UNIX)\ns.connect('\\0{abstract}')\ns.send(b'x')",
    ),
    "raw packets": ({RAISED}, "import socket\nsocket.socket(socket.AF_PACKET, socket.SOCK_RAW)"),
}  # fmt: skip

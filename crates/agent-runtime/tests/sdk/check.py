"""The official Python SDK against envd: every line of output is a check that held."""

import asyncio
import io
import os
import sys
import time
import urllib.request
from importlib.metadata import version

import e2b
from e2b import AsyncSandbox, CommandExitException, FileType, NotFoundException, Sandbox, TimeoutException

NEW = tuple(int(part) for part in version("e2b").split(".")[:2]) >= (2, 60)
LIMIT = 20


def held(name, fact):
    assert fact, name
    print(name, flush=True)


def refused(kind, action):
    try:
        action()
    except kind as problem:
        return problem
    raise AssertionError(f"{kind.__name__} was expected")


def eventually(name, fact):
    limit = time.monotonic() + LIMIT
    while not fact():
        assert time.monotonic() < limit, f"{name}: not within {LIMIT} s"
    print(name, flush=True)


def commands(sbx):
    run = sbx.commands.run
    done = run("echo out; echo err >&2; pwd; id -u")
    held("run", (done.exit_code, done.stdout, done.stderr) == (0, f"out\n{os.environ['SANDBOX_HOME']}\n1000\n", "err\n"))
    problem = refused(CommandExitException, lambda: run("echo x; exit 3"))
    held("non-zero exit", (problem.exit_code, problem.stdout) == (3, "x\n"))
    problem = refused(CommandExitException, lambda: run("kill -9 $$"))
    held("signal", problem.exit_code == -1)
    held("user, directory, environment", run("id -u; pwd; echo $A", user="root", cwd="/usr", envs={"A": "b"}).stdout == "0\n/usr\nb\n")
    # Older versions decode every piece by itself.
    if NEW:
        held("split characters", run("printf '\\xc3'; sleep 0.2; printf '\\xa4'").stdout == "ä")
    start = time.monotonic()
    refused(TimeoutException, lambda: run("sleep 60; echo never", timeout=1))
    held("timeout", time.monotonic() - start < LIMIT)
    eventually("timeout kills", lambda: sbx.commands.list() == [])
    held("no timeout", run("sleep 0.1; echo done", timeout=0).stdout == "done\n")
    pieces = []
    run("echo a; sleep 0.2; echo b", on_stdout=pieces.append)
    held("callbacks", "".join(pieces) == "a\nb\n")


def background(sbx):
    handle = sbx.commands.run("sleep 60; echo never", background=True)
    held("list", [process.pid for process in sbx.commands.list()] == [handle.pid])
    held("kill", handle.kill() is True)
    refused(CommandExitException, handle.wait)
    held("kill again", sbx.commands.kill(handle.pid) is False)
    handle = sbx.commands.run("cat", background=True, stdin=True)
    sbx.commands.send_stdin(handle.pid, "line\n")
    if hasattr(sbx.commands, "close_stdin"):
        sbx.commands.close_stdin(handle.pid)
        held("stdin", handle.wait().stdout == "line\n")
    else:
        held("kill a reader", handle.kill() is True)
    handle = sbx.commands.run("sleep 1; echo late", background=True)
    handle.disconnect()
    held("connect", sbx.commands.connect(handle.pid).wait().stdout == "late\n")


def files(sbx):
    files = sbx.files
    info = files.write("a/b/c.txt", "hällo")
    held("write", info.path == f"{os.environ['SANDBOX_HOME']}/a/b/c.txt")
    held("read", files.read("a/b/c.txt") == "hällo")
    held("bytes", bytes(files.read("a/b/c.txt", format="bytes")) == "hällo".encode())
    held("several", [entry.name for entry in files.write_files([{"path": "m/1", "data": "1"}, {"path": "m/2", "data": b"2"}])] == ["1", "2"])
    files.write("empty", "")
    held("empty", files.read("empty") == "")
    held("list", [(entry.name, entry.type) for entry in files.list("m")] == [("1", FileType.FILE), ("2", FileType.FILE)])
    held("depth", len(files.list("a", depth=3)) == 2)
    held("info", files.get_info("a/b/c.txt").size == 6)
    held("exists", files.exists("a") and not files.exists("nothing"))
    held("make_dir", files.make_dir("dir") is True and files.make_dir("dir") is False)
    held("rename", files.rename("m/1", "n/1").path.endswith("/n/1"))
    files.remove("n")
    held("remove", not files.exists("n"))
    refused(NotFoundException, lambda: files.read("nothing"))
    held("missing", refused(e2b.InvalidArgumentException, lambda: files.read("dir")) is not None)
    large = "0123456789" * 200_000
    files.write("large", io.StringIO(large))
    held("large", files.read("large") == large)
    if NEW:
        files.write("packed", large, gzip=True)
        held("gzip", files.read("packed", gzip=True) == large)
        files.write("described", "x", metadata={"color": "blue"})
        held("metadata", files.get_info("described").metadata in ({"color": "blue"}, {}))
    url = sbx.download_url("a/b/c.txt", use_signature_expiration=60)
    held("signed url", urllib.request.urlopen(url).read().decode() == "hällo")


def watch(sbx):
    sbx.files.make_dir("watched")
    handle = sbx.files.watch_dir("watched", recursive=True)
    sbx.files.write("watched/deep/f", "x")
    names = []
    eventually("watch", lambda: names.extend(event.name for event in handle.get_new_events()) or "deep/f" in names)
    handle.stop()


def terminal(sbx):
    from e2b.sandbox.commands.command_handle import PtySize

    handle = sbx.pty.create(PtySize(rows=20, cols=70), timeout=30)
    sbx.pty.resize(handle.pid, PtySize(rows=30, cols=100))
    sbx.pty.send_stdin(handle.pid, b"echo \"size $(stty size)\"; exit 5\n")
    screen = []
    problem = refused(CommandExitException, lambda: handle.wait(on_pty=lambda data: screen.append(bytes(data))))
    held("pty", problem.exit_code == 5 and b"size 30 100" in b"".join(screen))


async def asynchronously():
    sbx = await AsyncSandbox.create("any")
    held("async run", (await sbx.commands.run("echo a")).stdout == "a\n")
    seen = asyncio.Event()
    await sbx.files.make_dir("streamed")
    handle = await sbx.files.watch_dir("streamed", on_event=lambda event: seen.set() if event.name == "f" else None)
    await sbx.files.write("streamed/f", "x")
    await asyncio.wait_for(seen.wait(), LIMIT)
    await handle.stop()
    held("async watch", True)


def main():
    sbx = Sandbox.create("any")
    held("is_running", sbx.is_running())
    commands(sbx)
    background(sbx)
    files(sbx)
    watch(sbx)
    terminal(sbx)
    asyncio.run(asynchronously())
    print("all held")


sys.exit(main())

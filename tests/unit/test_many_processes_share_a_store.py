"""Many processes at one store: the promises that only races can break."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from infra.storage import LocalStore

BEGINNING = """
import json, sys
from pathlib import Path
from infra.storage import ABSENT, AlreadyThere, Changed, LocalStore, Missing
store, me = LocalStore(Path(sys.argv[1])), sys.argv[2]
print("here", flush=True)
sys.stdin.readline()  # all start together
"""

CREATE = """
won = []
for number in range(400):
    try:
        store.write(f"folder-{number}/a/b/c/file", me.encode(), if_version=ABSENT)
        won.append(number)
    except AlreadyThere:
        pass
print(json.dumps(won))
"""

COUNT = """
refused = 0
for _ in range(60):
    while True:
        seen = store.stat("counter")
        number = int(store.read("counter"))
        try:
            store.write("counter", str(number + 1).encode(), if_version=seen.version)
            break
        except Changed:
            refused += 1
print(json.dumps(refused))
"""

REPLACE = """
for number in range(150):
    store.write("page", (me * (200_000 + number)).encode())
    store.write(f"new/{me}-{number}", (me * 200_000).encode())
store.write("end-" + me, b"")
print(json.dumps(None))
"""

READ = """
seen = set()
while store.stat("end-a") is None or store.stat("end-b") is None:
    page = store.read("page")
    assert len(set(page)) == 1 and len(page) >= 200_000, "half a page"
    for found in store.list("new/"):
        assert found.size == 200_000, "half a file"
    seen.add((page[:1].decode(), len(page)))
print(json.dumps(len(seen)))
"""


def run_together(root: Path, programs: dict[str, str]) -> dict[str, Any]:
    """Run the programs at the same time and return what each printed, by its name."""
    running = {
        me: subprocess.Popen(
            [sys.executable, "-c", BEGINNING + program, root, me],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for me, program in programs.items()
    }  # fmt: skip
    for process in running.values():
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
    for process in running.values():
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    told = {me: process.communicate(timeout=120)[0] for me, process in running.items()}
    assert {process.returncode for process in running.values()} == {0}
    return {me: json.loads(text) for me, text in told.items()}


def test_exactly_one_of_many_creators_wins(tmp_path: Path) -> None:
    won = run_together(tmp_path, dict.fromkeys("abcdef", CREATE))
    store = LocalStore(tmp_path)
    assert sorted(number for numbers in won.values() for number in numbers) == list(range(400))
    for me, numbers in won.items():
        for number in numbers:
            assert store.read(f"folder-{number}/a/b/c/file") == me.encode()


def test_if_unchanged_never_loses_an_update(tmp_path: Path) -> None:
    LocalStore(tmp_path).write("counter", b"0")
    refused = run_together(tmp_path, dict.fromkeys("abcdef", COUNT))
    assert LocalStore(tmp_path).read("counter") == b"360"
    assert sum(refused.values()) > 0, "nobody raced, so nothing was shown"


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    LocalStore(tmp_path).write("page", b"0" * 200_000)
    seen = run_together(tmp_path, {"a": REPLACE, "b": REPLACE, "reader": READ})
    assert seen["reader"] > 1, "the reader saw no change, so nothing was shown"

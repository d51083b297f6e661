"""An old backup on a machine with the same key: it learns what it signed before it signs (issue 6, must hold)."""

import shutil
import signal
from pathlib import Path
from typing import Final

import pytest

from .chains import places
from .command import in_json
from .load import Load
from .network import COMMIT_SECONDS, READY_SECONDS, LiveNetwork, LiveNode, until
from .votes import Watch, promises, records

MORE: Final = 20
SIGNED_MEANWHILE: Final = 20
"""Messages that the validator signs after its backup; the restored database knows none of them."""
FIRST_RECORD: Final = 1
CATCH_UP_SECONDS: Final = 40.0


def signed(node: LiveNode) -> int:
    """How many messages its log promises now."""
    return len(list(promises((node.home / "data" / "signing.log").read_bytes())))


def is_lost(path: Path) -> bool:
    """Whether the first record of a signing log says that it was begun in the place of a lost one."""
    kind, first, _ = next(records(path.read_bytes()))
    assert kind == FIRST_RECORD
    return bool(first[-1])


@pytest.mark.parametrize(
    "end",
    [pytest.param(signal.SIGTERM, marks=pytest.mark.e2e), pytest.param(signal.SIGKILL, marks=pytest.mark.e2e_deep)],
)
def test_a_validator_restored_from_an_old_backup_contradicts_nothing_and_votes_again(
    four: LiveNetwork, tmp_path: Path, end: signal.Signals
) -> None:
    """Everything but keys and configuration is gone: the database is old, the signing record is not there at all."""
    node = four.nodes["bank"]
    others = [other for other in four.validators if other is not node]
    backup, log = tmp_path / "backup", node.home / "data" / "signing.log"
    watch = Watch("bank", log)
    with Load(four) as load:
        load.await_more(MORE, COMMIT_SECONDS)
        taken = in_json("backup", backup, "--home", node.home)
        assert taken.exit_code == 0, taken
        assert not list(backup.rglob("signing.log*")), "the record is never in a backup"
        assert not list(backup.rglob("*.key")), "and neither is a key"
        before = signed(node)
        until(lambda: signed(node) >= before + SIGNED_MEANWHILE, COMMIT_SECONDS, "it signs more after its backup")
        load.await_more(MORE, COMMIT_SECONDS)
        node.signal(end)
        node.wait()
        watch.look()
        saved = tmp_path / "signing.log.old"
        shutil.copyfile(log, saved)
        last = max(promise.height for promise in promises(saved.read_bytes()))
        assert last > taken.json["height"] + 1, "it has signed above what the backup knows"
        shutil.rmtree(node.home / "data")

        restored = in_json("restore", backup, "--home", node.home)
        assert (restored.exit_code, restored.json["record"]) == (0, "lost"), restored
        assert restored.json["height"] == taken.json["height"]
        assert is_lost(log)
        node.start()
        four.await_ready(node, seconds=READY_SECONDS + CATCH_UP_SECONDS)
        until(lambda: node.status()["signing"], CATCH_UP_SECONDS, "it has asked the others, and signs")

        # With another one silent, three are left of four: nothing is decided without the vote of the restored one.
        silent, seen_by = others[0], others[1]
        silent.pause()
        at_pause = max(other.height for other in others[1:])
        four.await_height(at_pause + 4, seen_by, node, seconds=CATCH_UP_SECONDS)
        restored_index = four.index("bank")
        for height in range(at_pause + 2, at_pause + 5):
            assert restored_index in seen_by.api.signers(height)
        silent.resume()
        load.await_more(MORE, COMMIT_SECONDS)
        watch.look()
    head = four.await_agreement()
    watch.look()
    anew = list(promises(log.read_bytes()))
    assert anew, "it signs in its new record"
    assert min(promise.height for promise in anew) > taken.json["height"] + 1, "what it knows began above its backup"
    found = places(node, head["height"])
    assert {tx_id: found.get(tx_id) for tx_id in load.committed} == load.committed

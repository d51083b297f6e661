"""The end of a validator's key rotation: the new keys take the old ones' place in the home (CONSENSUS §5, DESIGN §3).

Between the decision and its height + 2 the node holds both pairs, and signs with the one that V(height) names. The
signing record belongs to the seat: it goes on, and nothing is written to it here.
"""

from pathlib import Path

from .config import Config
from .founding import read_signed_genesis
from .keys import finish_rotation, load_node_keys
from .opening import DATABASE_DIRECTORY
from .resume import load_view
from .storage import open_store


def finish(config: Config) -> list[Path]:
    """Put the next keys of a stopped node in place, once V(head + 1) names them; where the old ones are now.

    Raises ``OperatorError``: what opening genesis, keys and database raises, and NOT_IN_FORCE.
    """
    genesis = read_signed_genesis(config.genesis_path)
    following = load_node_keys(config.keys_path).validator_next
    store = open_store(config.data_path / DATABASE_DIRECTORY, create=False, chain_id=genesis.chain_id)
    try:
        view, _ = load_view(store, genesis)
    finally:
        store.close()
    named = {entry.validator_key for entry in view.next_validators}
    public = following.public if following is not None and following.public in named else b""
    return finish_rotation(config.keys_path, public)

"""``huzhu testnet``: networks of real processes on this machine, and everything that can be done to them."""

from .bringup import bring_up as bring_up
from .bringup import consortium as consortium
from .bringup import default_params as default_params
from .bringup import default_plan as default_plan
from .bringup import wait_ready as wait_ready
from .command import parse_time as parse_time
from .command import testnet as testnet
from .faults import register as _faults
from .logs import logs as _logs
from .traffic import load as _load

_faults(testnet)
testnet.add_command(_load)
testnet.add_command(_logs)

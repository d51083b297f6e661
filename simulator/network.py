"""Links between the nodes: loss, duplication, reordering, one-way cuts; seeded (CONSENSUS §7).

Messages travel as bytes of the real codec; decoding is a pure function, so the copies of a broadcast are decoded
once. Without reordering a link is first in, first out, as TCP is. A paused node's messages wait until it goes on.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from .world import World


@dataclass(slots=True)
class Weather:
    """How the links behave; probabilities a message, milliseconds."""

    loss: float = 0.0
    duplication: float = 0.0
    reordering: bool = False
    latency_ms: tuple[int, int] = (1, 20)


@dataclass(slots=True)
class Network:
    """Delivers between numbered nodes."""

    world: World
    weather: Weather
    cut: set[tuple[int, int]] = field(default_factory=set)
    """(from, to): nothing passes in this direction."""
    _arrival_ms: dict[tuple[int, int], int] = field(default_factory=dict)

    def connected(self, sender: int, receiver: int) -> bool:
        """Whether a message sent now could pass."""
        return (sender, receiver) not in self.cut

    def carry(self, sender: int, receiver: int, deliver: Callable[[], None]) -> None:
        """Take one message along: ``deliver`` is called never, once or twice."""
        world, weather = self.world, self.weather
        if not self.connected(sender, receiver) or world.chance(weather.loss):
            return
        link = (sender, receiver)
        for _ in range(2 if world.chance(weather.duplication) else 1):
            arrival_ms = world.now_ms + world.random.randint(*weather.latency_ms)
            if not weather.reordering:
                arrival_ms = self._arrival_ms[link] = max(arrival_ms, self._arrival_ms.get(link, 0))
            world.at(arrival_ms, deliver)

    def cut_at_random(self, numbers: list[int], share: float) -> None:
        """Cut each direction of each pair with this probability."""
        random = self.world.random
        self.cut = {(a, b) for a in numbers for b in numbers if a != b and random.random() < share}

    def cut_in_two(self, one: set[int], numbers: list[int]) -> None:
        """Two sides that do not hear each other."""
        self.cut = {(a, b) for a in numbers for b in numbers if (a in one) != (b in one)}

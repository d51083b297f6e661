"""Token buckets: how much a peer may send, bounded over every stretch of time."""

from .limits import Channel, ChannelLimits


class TokenBucket:
    """``rate_per_s`` tokens a second, at most ``burst`` saved up; starts full."""

    def __init__(self, rate_per_s: float, burst: float, now_s: float) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._tokens = burst
        self._then_s = now_s

    def take(self, count: float, now_s: float) -> bool:
        """Take ``count`` tokens, or none of them and answer false."""
        self._fill(now_s)
        if count > self._tokens:
            return False
        self._tokens -= count
        return True

    def draw(self, count: float, now_s: float) -> None:
        """Take ``count`` tokens, which may leave a debt: for what is known only once it is done."""
        self._fill(now_s)
        self._tokens -= count

    def _fill(self, now_s: float) -> None:
        self._tokens = min(self._burst, self._tokens + (now_s - self._then_s) * self._rate_per_s)
        self._then_s = now_s


class InboundLimits:
    """The rates of one peer's link, by class."""

    def __init__(self, limits: dict[Channel, ChannelLimits], now_s: float) -> None:
        self._messages = {
            channel: TokenBucket(limit.messages_per_s, 2 * limit.messages_per_s, now_s)
            for channel, limit in limits.items()
        }
        self._bytes = {
            channel: TokenBucket(limit.bytes_per_s, 2 * max(limit.bytes_per_s, limit.message_bytes_max), now_s)
            for channel, limit in limits.items()
        }

    def allow(self, channel: Channel, size: int, now_s: float) -> bool:
        """Whether one more message of ``size`` bytes is within the rates."""
        return self._messages[channel].take(1, now_s) and self._bytes[channel].take(size, now_s)

"""What follows from an event's step: an alert for the world, and an order of files to the recorder.

Both go into the ledger with what must be remembered of them; orders are sent only after the commit.
"""

from __future__ import annotations

import msgspec
import structlog

from ..clock import iso_utc
from ..messages import MediaOrder, MediaReady
from ..process import Child
from ..wire import Sender
from .alert_schema import Alert, Passport, Paths, alert_of, encode, media_of, utc_ns_of
from .ledger import Ledger
from .lifecycle import Transition
from .orders import Orders, paths_of

log = structlog.get_logger()


class AlertDesk:
    """Alerts and orders of all cameras."""

    def __init__(self, child: Child, ledger: Ledger, orders: Orders) -> None:
        self._child, self._clock, self._stats = child, child.clock, child.stats
        self._ledger, self._orders = ledger, orders
        self._recorder = Sender[MediaOrder](child.endpoint("orders"), linger_ms=500)
        self._new_orders: list[MediaOrder] = []
        self._promised: dict[str, Paths] = {}  # files of open events that were ordered

    @property
    def orders_pending(self) -> int:
        """How many events still want files."""
        return len(self._orders)

    def tell(self, transitions: list[Transition], passport: Passport | None = None) -> None:
        """Queue an alert for each transition; `passport` is of the frame that decided, if one did."""
        for transition in transitions:
            event = transition.event
            if transition.stage == "opened" and self._is_recorded(event.camera):
                self._promised[event.id] = paths_of(event.camera, event.id, event.started_utc_ns)
            # What the opening has named stays named, and nothing else is, however the settings change meanwhile.
            paths = self._promised.get(event.id)
            alert = alert_of(transition, self._clock.utc_ns(), paths, passport)
            self._ledger.tell(alert, passport.detections.captured_ns if passport else None)
            self._ledger.keep(_event_key(event.id), None if transition.stage == "closed" else encode(alert))
            if transition.stage == "opened":
                self._stats.count("rule_hits", camera=event.camera, reason=event.rule.name)
            if transition.stage == "opened" and paths is not None:
                self._order(event.id, self._orders.place(event, paths))
            elif transition.stage == "closed":
                self._promised.pop(event.id, None)
                self._order(event.id, self._orders.finish(event.id, event.moment.utc_ns))

    def close_left_open(self, alert: Alert) -> None:
        """Close the event of which `alert` was the last that an earlier life told."""
        closed = msgspec.structs.replace(
            alert,
            stage="closed",
            reason="restart",
            utc=iso_utc(self._clock.utc_ns()),
            ended_utc=alert.updated_utc,
            latency=None,
        )
        self._ledger.tell(closed)
        self._ledger.keep(_event_key(alert.event_id), None)
        self._order(alert.event_id, self._orders.finish(alert.event_id, utc_ns_of(alert.updated_utc)))

    def finish_orphans(self) -> None:
        """End the orders of events that nobody knows any more; the recorder would wait for their end for ever."""
        for order in self._orders.all():
            if order.end_utc_ns is None:
                self._order(order.event_id, self._orders.finish(order.event_id, order.snapshot_utc_ns))

    def report(self, ready: MediaReady) -> None:
        """Tell of a file; once, for orders repeat until they are answered, so answers repeat as well."""
        if not self._orders.take(ready):
            return
        self._ledger.tell(media_of(ready, self._clock.utc_ns()))
        self._remember_order(ready.event_id)
        if ready.error is not None:
            self._stats.count("media_failed", camera=ready.camera, reason=ready.kind)
            log.warning("media_failed", camera=ready.camera, event_id=ready.event_id, error=ready.error)

    def give_up_overdue(self) -> None:
        """Tell of files that the recorder never reported."""
        for ready in self._orders.overdue(self._clock.utc_ns()):
            self.report(ready)

    def send_new_orders(self) -> None:
        """Send the orders of what was just committed."""
        orders, self._new_orders = self._new_orders, []
        self._send(orders)

    def repeat_orders(self) -> None:
        """Send all that is pending."""
        self._send(self._orders.all())

    def close(self) -> None:
        """Close the socket; what is not sent now will be ordered again by the next life."""
        self._recorder.close()

    def _is_recorded(self, camera: str) -> bool:
        settings = self._child.settings
        return camera in settings.cameras and settings.recording_of(camera).mode != "off"

    def _order(self, event_id: str, order: MediaOrder | None) -> None:
        if order is not None:
            self._new_orders.append(order)
            self._remember_order(event_id)

    def _remember_order(self, event_id: str) -> None:
        self._ledger.keep(f"order:{event_id}", self._orders.stored(event_id))

    def _send(self, orders: list[MediaOrder]) -> None:
        for order in orders:
            if not self._recorder.send(order):
                self._stats.count("orders_deferred", camera=order.camera)  # it is repeated in a second


def _event_key(event_id: str) -> str:
    return f"event:{event_id}"

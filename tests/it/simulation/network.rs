//! What sends Clerk's messages, as its webhook service does: late, twice, out of order, again and again until
//! they are acknowledged, and not for ever.

use std::rc::Rc;

use super::{clerk::Message, machine::WORLD, world::World};

/// Tries of one message.
const TRIES: u32 = 8;
/// The wait after the first, in milliseconds; it doubles.
const FIRST_WAIT: i64 = 2_000;

impl World {
    /// A message is on its way.
    pub fn send(self: &Rc<Self>, message: Message) {
        self.send_after(0, message);
    }

    /// The same for one that lies about for so long first.
    pub fn send_after(self: &Rc<Self>, wait: i64, message: Message) {
        self.machine.say(|| format!("clerk says {message:?}"));
        self.checks.borrow_mut().said(&message);
        self.underway.set(self.underway.get() + 1);
        let (world, message) = (Rc::clone(self), Rc::new(message));
        self.machine.spawn(WORLD, async move {
            world.machine.sleep(wait).await;
            world.carry(message).await;
            world.underway.set(world.underway.get() - 1);
        });
    }

    async fn carry(self: &Rc<Self>, message: Rc<Message>) {
        let faults = self.faults();
        if self.machine.chance(faults.lost) {
            return self
                .machine
                .say(|| format!("message {} is lost", message.id));
        }
        let slow = faults.slow_delivery.max(5);
        self.machine.sleep(self.machine.between(1, slow)).await;
        for attempt in 0..TRIES {
            if self.deliver(&message).await {
                break;
            }
            let wait = FIRST_WAIT << attempt;
            let wait = self.machine.between(wait, wait + wait / 4);
            self.machine.sleep(wait).await;
        }
        if self.machine.chance(self.faults().repeated) {
            self.machine.sleep(self.machine.between(0, 20_000)).await;
            self.deliver(&message).await;
        }
        if self.machine.chance(self.faults().replayed) {
            self.machine.sleep(self.machine.between(0, 200_000)).await;
            let again = self.clerk.borrow_mut().again(&message);
            self.deliver(&Rc::new(again)).await;
        }
    }

    /// One try; true if an acknowledgement was heard.
    async fn deliver(self: &Rc<Self>, message: &Rc<Message>) -> bool {
        self.machine.sleep(self.machine.between(1, 50)).await;
        let Some(daemon) = self.daemon() else {
            return false;
        };
        let stored = daemon.take(Rc::clone(message)).await;
        if !stored {
            return false;
        }
        if self.machine.chance(self.faults().unheard_ack) {
            self.machine
                .say(|| format!("the acknowledgement of {} is lost", message.id));
            return false;
        }
        true
    }
}

//! Packing changes into calls, and splitting off what a call was refused for.
//!
//! Pure. Knows sizes and order only. Promises: every item ends up in exactly one call at a time, a call
//! never exceeds its bounds unless a single item does, one bad item among `n` is alone after at most
//! `log2(n)` splits, and bad items that are named cost each item at most two more transmissions.

use std::{collections::VecDeque, num::NonZeroUsize};

/// How much there is of something: of an item, or of what a call may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Changes.
    pub changes: usize,
    /// Bytes of changes.
    pub bytes: usize,
    /// Index ranges that Convex reads for them, about.
    pub ranges: usize,
}

impl Size {
    /// Bytes of one call: enough for a thousand users, little enough for one transaction within a second
    /// and for a plan that takes 4 MiB a second.
    pub const MAX_BYTES: usize = 1 << 20;
    /// Index ranges of one call. Convex allows 4,096; the functions refuse to begin a change with fewer
    /// than a dozen left, and the app's own triggers read too.
    pub const MAX_RANGES: usize = 4000;

    /// A call of at most so many changes.
    pub const fn call_of(changes: NonZeroUsize) -> Size {
        Size {
            changes: changes.get(),
            bytes: Size::MAX_BYTES,
            ranges: Size::MAX_RANGES,
        }
    }

    const NOTHING: Size = Size {
        changes: 0,
        bytes: 0,
        ranges: 0,
    };

    fn and(self, other: Size) -> Size {
        Size {
            changes: self.changes + other.changes,
            bytes: self.bytes.saturating_add(other.bytes),
            ranges: self.ranges + other.ranges,
        }
    }

    fn fits(self, bounds: Size) -> bool {
        self.changes <= bounds.changes && self.bytes <= bounds.bytes && self.ranges <= bounds.ranges
    }
}

/// What one call carries.
#[derive(Debug)]
pub struct Call<T> {
    /// In the order of the changes.
    pub items: Vec<T>,
    /// True if an item was taken out of it before.
    tried: bool,
}

impl<T> Call<T> {
    /// Takes out what must not be sent any more.
    pub fn leave_out(&mut self, is_late: impl FnMut(&T) -> bool) -> Vec<T> {
        let (late, left) = std::mem::take(&mut self.items)
            .into_iter()
            .partition(is_late);
        self.items = left;
        late
    }
}

/// Calls still to be made, in order.
#[derive(Debug)]
pub struct Calls<T> {
    waiting: VecDeque<Call<T>>,
}

impl<T> Calls<T> {
    /// Packs items in their order.
    pub fn pack(items: Vec<T>, bounds: Size, size: impl Fn(&T) -> Size) -> Self {
        let mut calls = Calls {
            waiting: VecDeque::new(),
        };
        let mut call = Vec::new();
        let mut sum = Size::NOTHING;
        for item in items {
            let more = size(&item);
            if !call.is_empty() && !sum.and(more).fits(bounds) {
                calls.waiting.push_back(fresh(std::mem::take(&mut call)));
                sum = Size::NOTHING;
            }
            sum = sum.and(more);
            call.push(item);
        }
        if !call.is_empty() {
            calls.waiting.push_back(fresh(call));
        }
        calls
    }

    /// The next call to be made.
    pub fn next_call(&mut self) -> Option<Call<T>> {
        self.waiting.pop_front()
    }

    /// A call failed without saying for which of its items: both halves are tried next. Hands the
    /// item back if it was alone, since then it is the one.
    pub fn split(&mut self, call: Call<T>) -> Option<T> {
        let mut items = call.items;
        if items.len() <= 1 {
            return items.pop();
        }
        let second = items.split_off(items.len() / 2);
        self.waiting.push_front(fresh(second));
        self.waiting.push_front(fresh(items));
        None
    }

    /// A call failed for the item at `place`, which is handed back. The others are tried next: together,
    /// and from the second time on in two calls, because what stood before the item was found good and
    /// need not be sent again for each bad one behind it.
    pub fn without(&mut self, call: Call<T>, place: usize) -> Option<T> {
        let Call { mut items, tried } = call;
        if place >= items.len() {
            self.waiting.push_front(Call { items, tried });
            return None;
        }
        let mut behind = items.split_off(place);
        let bad = behind.remove(0);
        if !tried {
            items.append(&mut behind);
        }
        for items in [behind, items] {
            if !items.is_empty() {
                self.waiting.push_front(Call { items, tried: true });
            }
        }
        Some(bad)
    }

    /// Takes out everything not yet sent, after the service turned out to be away.
    pub fn take(&mut self) -> Vec<T> {
        let waiting = std::mem::take(&mut self.waiting).into_iter();
        waiting.flat_map(|call| call.items).collect()
    }
}

fn fresh<T>(items: Vec<T>) -> Call<T> {
    Call {
        items,
        tried: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn size(changes: usize, bytes: usize, ranges: usize) -> Size {
        Size {
            changes,
            bytes,
            ranges,
        }
    }

    #[test]
    fn calls_keep_to_their_bounds_and_an_oversized_item_goes_alone() {
        let items = vec![3, 3, 3, 50, 1];
        let mut calls = Calls::pack(items, size(3, 10, 100), |bytes| size(1, *bytes, 1));
        let sent: Vec<_> = std::iter::from_fn(|| calls.next_call()).collect();
        let sent: Vec<_> = sent.into_iter().map(|call| call.items).collect();
        assert_eq!(sent, [vec![3, 3, 3], vec![50], vec![1]]);

        let mut calls = Calls::pack(vec![9; 5], size(100, 100, 20), |ranges| size(2, 1, *ranges));
        let sent: Vec<_> = std::iter::from_fn(|| calls.next_call()).collect();
        let sent: Vec<_> = sent.into_iter().map(|call| call.items.len()).collect();
        assert_eq!(sent, [2, 2, 1], "ranges count too");
    }

    proptest! {
        #[test]
        fn bad_items_are_found_and_the_others_go_through(
            bad in prop::collection::vec(prop::bool::weighted(0.03), 1..400),
        ) {
            let items: Vec<usize> = (0..bad.len()).collect();
            let bounds = size(200, usize::MAX, usize::MAX);
            let mut calls = Calls::pack(items, bounds, |_| size(1, 1, 1));
            let (mut good, mut refused, mut made) = (Vec::new(), Vec::new(), 0);
            while let Some(call) = calls.next_call() {
                made += 1;
                if call.items.iter().any(|item| bad[*item]) {
                    refused.extend(calls.split(call));
                } else {
                    good.extend(call.items);
                }
            }
            let expected: Vec<usize> = (0..bad.len()).filter(|item| !bad[*item]).collect();
            prop_assert_eq!(good, expected, "in order, each once");
            prop_assert!(refused.iter().all(|item| bad[*item]));
            prop_assert!(made <= 2 + refused.len() * 18, "{} calls", made);
        }

        #[test]
        fn named_items_are_taken_out_and_nothing_is_sent_again_for_each_of_them(
            bad in prop::collection::vec(prop::bool::weighted(0.2), 1..400),
        ) {
            let items: Vec<usize> = (0..bad.len()).collect();
            let bounds = size(200, usize::MAX, usize::MAX);
            let mut calls = Calls::pack(items, bounds, |_| size(1, 1, 1));
            let (mut good, mut refused) = (Vec::new(), Vec::new());
            let (mut examined, mut in_a_row, mut most) = (0, 0, 0);
            while let Some(call) = calls.next_call() {
                // The functions stop at the first that they refuse.
                let Some(place) = call.items.iter().position(|item| bad[*item]) else {
                    examined += call.items.len();
                    good.extend(call.items);
                    in_a_row = 0;
                    continue;
                };
                examined += place + 1;
                let before = call.items[..place].len();
                refused.extend(calls.without(call, place));
                in_a_row = if before > 0 { 1 } else { in_a_row + 1 };
                most = most.max(in_a_row);
            }
            good.sort_unstable();
            let expected: Vec<usize> = (0..bad.len()).filter(|item| !bad[*item]).collect();
            prop_assert_eq!(good, expected, "each once");
            prop_assert!(refused.iter().all(|item| bad[*item]));
            prop_assert!(examined <= 3 * bad.len(), "{} for {}", examined, bad.len());
        }
    }
}

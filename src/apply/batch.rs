//! Packing changes into calls, and splitting off what a call was refused for.
//!
//! Pure. Knows sizes and keys only. Promises: every item ends up in exactly one call at a time, a
//! call never exceeds its bounds unless a single item does, and one bad item among `n` is alone after
//! at most `log2(n)` splits, while the others go through.

use std::collections::VecDeque;

/// What a call may hold.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Changes (`convex.batch`).
    pub changes: usize,
    /// Bytes of changes.
    pub bytes: usize,
}

impl Bounds {
    /// Enough for hundreds of users, little enough for one transaction within a second.
    pub const BYTES: usize = 1 << 20;
}

/// Calls still to be made, in order.
#[derive(Debug)]
pub struct Calls<T> {
    waiting: VecDeque<Vec<T>>,
}

impl<T> Calls<T> {
    /// Packs items in their order; `size` gives an item's changes and bytes.
    pub fn pack(items: Vec<T>, bounds: Bounds, size: impl Fn(&T) -> (usize, usize)) -> Self {
        let mut waiting = VecDeque::new();
        let mut call = Vec::new();
        let (mut changes, mut bytes) = (0, 0);
        for item in items {
            let (more_changes, more_bytes) = size(&item);
            let full = changes + more_changes > bounds.changes || bytes + more_bytes > bounds.bytes;
            if full && !call.is_empty() {
                waiting.push_back(std::mem::take(&mut call));
                (changes, bytes) = (0, 0);
            }
            changes += more_changes;
            bytes += more_bytes;
            call.push(item);
        }
        if !call.is_empty() {
            waiting.push_back(call);
        }
        Calls { waiting }
    }

    /// The next call to be made.
    pub fn next_call(&mut self) -> Option<Vec<T>> {
        self.waiting.pop_front()
    }

    /// A call failed without saying for which of its items: both halves are tried next. Hands the
    /// item back if it was alone, since then it is the one.
    pub fn split(&mut self, mut call: Vec<T>) -> Option<T> {
        if call.len() <= 1 {
            return call.pop();
        }
        let second = call.split_off(call.len() / 2);
        self.waiting.push_front(second);
        self.waiting.push_front(call);
        None
    }

    /// A call failed for some of its items by name: the others are tried next. Hands back the named.
    pub fn without(&mut self, call: Vec<T>, named: impl Fn(&T) -> bool) -> Vec<T> {
        let (bad, good): (Vec<T>, Vec<T>) = call.into_iter().partition(named);
        if !good.is_empty() {
            self.waiting.push_front(good);
        }
        bad
    }

    /// Takes out everything not yet sent, after the service turned out to be away.
    pub fn take(&mut self) -> Vec<T> {
        std::mem::take(&mut self.waiting)
            .into_iter()
            .flatten()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bounds(changes: usize, bytes: usize) -> Bounds {
        Bounds { changes, bytes }
    }

    #[test]
    fn calls_keep_to_their_bounds_and_an_oversized_item_goes_alone() {
        let mut calls = Calls::pack(vec![3, 3, 3, 50, 1], bounds(3, 10), |bytes| (1, *bytes));
        let sent: Vec<_> = std::iter::from_fn(|| calls.next_call()).collect();
        assert_eq!(sent, [vec![3, 3, 3], vec![50], vec![1]]);
    }

    proptest! {
        #[test]
        fn bad_items_are_found_and_the_others_go_through(
            bad in prop::collection::vec(prop::bool::weighted(0.03), 1..400),
        ) {
            let items: Vec<usize> = (0..bad.len()).collect();
            let mut calls = Calls::pack(items, bounds(200, usize::MAX), |_| (1, 1));
            let (mut good, mut refused, mut made) = (Vec::new(), Vec::new(), 0);
            while let Some(call) = calls.next_call() {
                made += 1;
                if call.iter().any(|item| bad[*item]) {
                    refused.extend(calls.split(call));
                } else {
                    good.extend(call);
                }
            }
            let expected: Vec<usize> = (0..bad.len()).filter(|item| !bad[*item]).collect();
            prop_assert_eq!(good, expected, "in order, each once");
            prop_assert!(refused.iter().all(|item| bad[*item]));
            prop_assert!(made <= 2 + refused.len() * 18, "{} calls", made);
        }
    }
}

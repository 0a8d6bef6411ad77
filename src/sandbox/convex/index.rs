//! Indexes: several rows may share a key, and keys have an order.
//!
//! A row alone at its key takes no list of its own, which is most of the memory saved. Knows rows
//! only by slot.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

/// Where a row stands in the order of `list`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct OrderKey {
    /// [`sortable`] of `clerkCreatedAt`; 0 where there is none.
    pub(super) created: u64,
    pub(super) key: Arc<str>,
    pub(super) seq: u64,
    pub(super) slot: u32,
}

/// A float64 as an integer of the same order; never 0, which stands for "none".
pub(super) fn sortable(number: f64) -> u64 {
    let bits = number.to_bits();
    let ordered = if bits >> 63 == 1 {
        !bits
    } else {
        bits | (1 << 63)
    };
    ordered.max(1)
}

/// An index that lets several rows share a key.
#[derive(Debug)]
pub(super) struct Multi<K> {
    map: HashMap<K, Slots>,
}

#[derive(Debug)]
enum Slots {
    One(u32),
    Many(Vec<u32>),
}

impl<K> Default for Multi<K> {
    fn default() -> Self {
        Multi {
            map: HashMap::new(),
        }
    }
}

impl<K: Hash + Eq> Multi<K> {
    pub(super) fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> &[u32]
    where
        K: Borrow<Q>,
    {
        match self.map.get(key) {
            None => &[],
            Some(Slots::One(slot)) => std::slice::from_ref(slot),
            Some(Slots::Many(slots)) => slots,
        }
    }

    pub(super) fn add(&mut self, key: K, slot: u32) {
        self.map
            .entry(key)
            .and_modify(|slots| match slots {
                Slots::One(first) => *slots = Slots::Many(vec![*first, slot]),
                Slots::Many(all) => all.push(slot),
            })
            .or_insert(Slots::One(slot));
    }

    pub(super) fn drop_one<Q: Hash + Eq + ?Sized>(&mut self, key: &Q, slot: u32)
    where
        K: Borrow<Q>,
    {
        let empty = match self.map.get_mut(key) {
            None => false,
            Some(Slots::One(only)) => *only == slot,
            Some(Slots::Many(slots)) => {
                slots.retain(|other| *other != slot);
                slots.is_empty()
            }
        };
        if empty {
            self.map.remove(key);
        }
    }
}

impl Multi<Arc<str>> {
    pub(super) fn add_str(&mut self, key: &str, slot: u32) {
        match self.map.get_mut(key) {
            Some(Slots::Many(slots)) => slots.push(slot),
            _ => self.add(Arc::from(key), slot),
        }
    }
}

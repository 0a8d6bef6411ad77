//! The directory that is not encrypted, and the record that is believed wherever it lies.

use crate::encryption::{KEY, key, planted_on_disk, swapped_is_believed};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_plain_is_found() {
    let key = key(1);
    let found = planted_on_disk(&[(KEY, &key), ("CCS_TWIN", "plain-state")]).await;
    assert!(
        !found.is_empty(),
        "the twin writes plain, and nothing was found"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_in_another_ones_place_is_found() {
    let key = key(1);
    assert!(!swapped_is_believed(&[(KEY, &key)]).await);
    assert!(swapped_is_believed(&[(KEY, &key), ("CCS_TWIN", "unbound-names")]).await);
}

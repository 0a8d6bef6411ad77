//! Writing to Convex: `apply`, `settle`.
//!
//! Sends a batch as it is given and returns one outcome for each change, in order, and what the functions tell of
//! conflicts with users' edits; or an error for the whole batch, which then changed nothing (a function is one transaction) unless the answer was lost.
//! How batches are packed and split is not known here. Only `apply` may use it.

use serde_json::value::RawValue;

use super::{
    deployment::{CallError, Deployment},
    wire::{
        Answer, Applied, ApplyArgs, Encoded, Function, Outcomes, SettleArgs, SettledCount,
        Settlement, conflict,
    },
};
use crate::{
    model::{Change, Fault, Outcome},
    twin::{self, Twin},
};

/// The most changes in one call, by the contract.
pub const MAX_CHANGES: usize = 1000;
/// The most bytes of changes in one call. Convex allows 16 MiB of arguments and as much written, and
/// counts some values larger than their JSON, hence the margin.
pub const MAX_CHANGE_BYTES: usize = 8 << 20;
/// The most edits settled in one call.
pub const MAX_SETTLED: usize = 1000;

/// Writes changes.
#[derive(Clone, Debug)]
pub struct Writer(Deployment);

impl Writer {
    /// A writer to this deployment.
    pub fn new(deployment: Deployment) -> Self {
        Writer(deployment)
    }

    /// Applies changes in one transaction; see [`Writer::apply_encoded`].
    pub async fn apply(&self, changes: &[Change]) -> Result<Vec<Applied>, CallError> {
        let encoded: Vec<Encoded> = changes.iter().map(Encoded::of).collect();
        let changes: Vec<&Encoded> = encoded.iter().collect();
        Ok(self.apply_encoded(&changes).await?.applied)
    }

    /// Applies changes that are serialised already, in one transaction. At most [`MAX_CHANGES`] of
    /// them and [`MAX_CHANGE_BYTES`]; none at all is no call.
    pub async fn apply_encoded(&self, changes: &[&Encoded]) -> Result<Answer, CallError> {
        if changes.is_empty() {
            return Ok(Answer::default());
        }
        let raw: Vec<&RawValue> = changes.iter().map(|change| change.json()).collect();
        let args = ApplyArgs { changes: raw };
        let answer: Result<Outcomes, CallError> = self.0.call(Function::APPLY, args).await;
        if twin::broken(Twin::StatusOnly)
            && matches!(&answer, Err(CallError::Failed(error)) if error.fault() == Fault::Record)
        {
            return Ok(Answer {
                applied: changes.iter().map(|change| updated(change)).collect(),
                conflicts: Vec::new(),
            });
        }
        pair(changes, answer?)
    }

    /// Says what became of edits, at most [`MAX_SETTLED`] of them; none is no call. Answers how many of
    /// them still waited: a call may be repeated, and an edit may be gone by now.
    pub async fn settle(&self, settled: &[Settlement]) -> Result<usize, CallError> {
        if settled.is_empty() {
            return Ok(0);
        }
        let args = SettleArgs { settled };
        let answer: SettledCount = self.0.call(Function::SETTLE, args).await?;
        let count = usize::try_from(answer.settled).ok();
        count
            .filter(|count| *count <= settled.len())
            .ok_or(CallError::OffContract {
                function: Function::SETTLE.name,
                what: "more edits settled than named",
            })
    }
}

/// What the twin makes of a failure.
fn updated(change: &Encoded) -> Applied {
    Applied {
        key: change.key().clone(),
        outcome: Outcome::Updated,
        id: None,
    }
}

/// Puts outcomes beside changes; anything but one for each, in order, is off the contract.
fn pair(changes: &[&Encoded], answer: Outcomes) -> Result<Answer, CallError> {
    let off = |what| CallError::OffContract {
        function: Function::APPLY.name,
        what,
    };
    if answer.outcomes.len() != changes.len() {
        return Err(off("another number of outcomes than of changes"));
    }
    let pairs = changes.iter().zip(answer.outcomes);
    let applied = pairs
        .map(|(change, one)| {
            if change.key().as_str() != one.key {
                return Err(off("an outcome for another record"));
            }
            Ok(Applied {
                key: change.key().clone(),
                outcome: one.outcome,
                id: one.id,
            })
        })
        .collect::<Result<_, _>>()?;
    Ok(Answer {
        applied,
        conflicts: conflict::read(answer.conflicts),
    })
}

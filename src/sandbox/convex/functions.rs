//! The six functions of the contract and the two queries beside them: kinds, arguments, answers.
//!
//! Joins the queries (`list`, `strays`), the mutation (`apply`) and the outbox (`edits`) to what the HTTP side
//! calls. Knows nothing of HTTP, faults or time beyond the `now` it is given. Promises that a
//! function that errs has written nothing.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::apply::{Outcome, apply_one};
use super::edits::put_back;
use super::list::{GetArgs, ListArgs, MembersArgs, get, list, members};
use super::plan::ApplyArgs;
use super::schema::{TableName, write_id};
use super::state::World;
use super::strays::{StraysArgs, strays};
use super::value::{Encoding, Text, write_text};

/// Settlements one call may carry, as many as changes.
const MAX_SETTLED: usize = 1000;
/// Edits one answer may hold.
const MAX_EDITS: f64 = 4000.0;
/// Index ranges one transaction may read (Convex's documented limit).
const MAX_LOOKUPS: u64 = 4096;

/// What a function is to Convex.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Query,
    Mutation,
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Describe,
    List,
    Get,
    Apply,
    Edits,
    Settle,
    Members,
    Strays,
}

impl Function {
    pub(super) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "describe" => Function::Describe,
            "list" => Function::List,
            "get" => Function::Get,
            "apply" => Function::Apply,
            "edits" => Function::Edits,
            "settle" => Function::Settle,
            "members" => Function::Members,
            "strays" => Function::Strays,
            _ => return None,
        })
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Function::Describe => "describe",
            Function::List => "list",
            Function::Get => "get",
            Function::Apply => "apply",
            Function::Edits => "edits",
            Function::Settle => "settle",
            Function::Members => "members",
            Function::Strays => "strays",
        }
    }

    pub(super) fn kind(self) -> Kind {
        match self {
            Function::Apply | Function::Settle => Kind::Mutation,
            _ => Kind::Query,
        }
    }
}

/// A function that threw.
#[derive(Clone, Debug)]
pub(super) enum FunctionError {
    /// A message, which production redacts.
    Bare(String),
    /// A `ConvexError`, whose data survives.
    Structured {
        code: Cow<'static, str>,
        key: Option<String>,
    },
}

impl FunctionError {
    pub(super) fn structured(code: &'static str, key: Option<&str>) -> Self {
        FunctionError::Structured {
            code: Cow::Borrowed(code),
            key: key.map(str::to_owned),
        }
    }

    pub(super) fn arguments(message: &str) -> Self {
        FunctionError::Bare(format!("ArgumentValidationError: {message}"))
    }
}

/// A function with its arguments read.
pub(super) enum Call<'a> {
    Describe,
    List(ListArgs<'a>),
    Get(GetArgs<'a>),
    Apply(ApplyArgs<'a>),
    Edits(f64),
    Settle(Vec<SettledArgs<'a>>),
    Members(MembersArgs<'a>),
    Strays(StraysArgs<'a>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoArgs {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EditsArgs {
    limit: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SettleArgs<'a> {
    #[serde(borrow)]
    settled: Vec<SettledArgs<'a>>,
}

/// One settlement.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SettledArgs<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    result: SettledResult,
    #[serde(borrow, default, rename = "reason")]
    _reason: Option<Text<'a>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SettledResult {
    Done,
    Refused,
}

impl<'a> Call<'a> {
    /// Reads the arguments, the way Convex's validators do before a function runs.
    pub(super) fn read(function: Function, args: &'a RawValue) -> Result<Self, FunctionError> {
        let json = args.get();
        let read = match function {
            Function::Describe => serde_json::from_str::<NoArgs>(json).map(|_| Call::Describe),
            Function::List => serde_json::from_str(json).map(Call::List),
            Function::Get => serde_json::from_str(json).map(Call::Get),
            Function::Apply => serde_json::from_str(json).map(Call::Apply),
            Function::Members => serde_json::from_str(json).map(Call::Members),
            Function::Strays => serde_json::from_str(json).map(Call::Strays),
            Function::Edits => {
                serde_json::from_str::<EditsArgs>(json).map(|args| Call::Edits(args.limit))
            }
            Function::Settle => {
                serde_json::from_str::<SettleArgs<'a>>(json).map(|args| Call::Settle(args.settled))
            }
        };
        read.map_err(|error| FunctionError::arguments(&error.to_string()))
    }

    /// How many changes the call carries.
    pub(super) fn changes(&self) -> usize {
        match self {
            Call::Apply(args) => args.len(),
            _ => 0,
        }
    }

    /// Whether a change of this key is among them.
    pub(super) fn has_key(&self, key: &str) -> bool {
        match self {
            Call::Apply(args) => args.keys().any(|other| other == key),
            _ => false,
        }
    }
}

/// What the deployment lets a function do.
pub(super) struct Bounds {
    /// Bytes of documents one page may read.
    pub(super) page_bytes: usize,
    /// Whether the limit of index ranges is enforced.
    pub(super) enforce_lookups: bool,
    /// What `describe` says, for playing an older or newer deployment.
    pub(super) contract: u32,
}

/// Runs a query; its value as JSON.
pub(super) fn query(
    world: &World,
    call: &Call<'_>,
    bounds: &Bounds,
    encoding: Encoding,
) -> Result<Vec<u8>, FunctionError> {
    match call {
        Call::List(args) => list(world, args, bounds.page_bytes, encoding),
        Call::Get(args) => get(world, args, encoding),
        Call::Members(args) => members(world, args, encoding),
        Call::Strays(args) => strays(world, args),
        Call::Edits(limit) if *limit < 1.0 => Err(FunctionError::structured("invalid_limit", None)),
        Call::Edits(limit) => {
            let mut out = Vec::with_capacity(1024);
            world
                .outbox
                .write(&mut out, limit.min(MAX_EDITS) as usize, encoding);
            Ok(out)
        }
        Call::Describe | Call::Apply(_) | Call::Settle(_) => Ok(describe(world, bounds.contract)),
    }
}

fn describe(world: &World, contract: u32) -> Vec<u8> {
    let tables: Vec<String> = TableName::ALL
        .iter()
        .filter(|table| world.table(**table).schema.served)
        .map(|table| format!("\"{}\"", table.as_str()))
        .collect();
    format!(
        "{{\"contract\":{contract}.0,\"tables\":[{}]}}",
        tables.join(",")
    )
    .into_bytes()
}

/// Runs a mutation as one transaction; its value as JSON.
pub(super) fn mutate(
    world: &mut World,
    call: Call<'_>,
    bounds: &Bounds,
    now: f64,
) -> Result<Vec<u8>, FunctionError> {
    let value = match call {
        Call::Apply(args) => apply(world, args, bounds, now)?,
        Call::Settle(settled) => {
            if settled.len() > MAX_SETTLED {
                return Err(FunctionError::structured("batch_too_large", None));
            }
            let mut count = 0;
            for item in settled {
                let refused = item.result == SettledResult::Refused;
                if let Some(edit) = world.outbox.settle(&item.id.0, refused, now) {
                    count += 1;
                    if refused {
                        put_back(world, &edit, now);
                    }
                }
            }
            format!("{{\"settled\":{count}.0}}").into_bytes()
        }
        // The HTTP side sends each function to its kind.
        _ => return Err(FunctionError::Bare("Not a mutation".to_owned())),
    };
    world.commits.commit();
    Ok(value)
}

fn apply(
    world: &mut World,
    args: ApplyArgs<'_>,
    bounds: &Bounds,
    now: f64,
) -> Result<Vec<u8>, FunctionError> {
    let planned = args.plan(world)?;
    let mut lookups = 0;
    for item in planned.iter().filter(|_| bounds.enforce_lookups) {
        lookups += item.lookups();
        if lookups > MAX_LOOKUPS {
            return Err(FunctionError::structured(
                "batch_too_large",
                Some(&item.key),
            ));
        }
    }
    let mut out = Vec::with_capacity(planned.len() * 120 + 32);
    out.extend_from_slice(b"{\"outcomes\":[");
    for (index, item) in planned.into_iter().enumerate() {
        let (table, key) = (item.table, item.key.clone());
        let outcome = apply_one(world, item, now);
        if index > 0 {
            out.push(b',');
        }
        write_outcome(&mut out, table, &key, &outcome);
    }
    out.push(b']');
    world.outbox.write_conflicts(&mut out);
    out.push(b'}');
    Ok(out)
}

fn write_outcome(out: &mut Vec<u8>, table: TableName, key: &str, outcome: &Outcome) {
    out.push(b'{');
    if let Some((slot, seq)) = outcome.row {
        out.extend_from_slice(b"\"id\":\"");
        write_id(out, table, slot, seq);
        out.extend_from_slice(b"\",");
    }
    out.extend_from_slice(b"\"key\":");
    write_text(out, key);
    out.extend_from_slice(b",\"outcome\":\"");
    out.extend_from_slice(outcome.outcome.as_bytes());
    out.extend_from_slice(b"\"}");
}

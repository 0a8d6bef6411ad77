//! Beliefs and counts in progress as bytes, cut into cells that the state store takes.
//!
//! Each cell says of how many it is one and of which whole, so that cells of two different writes, which a
//! crash between them leaves, are not put together. What cannot be read is an error and no belief: the census
//! then waits for the next full diff.

use super::{Belief, Builder, MAX_RANGES};

/// The longest cell, in bytes: the most that the state store takes in one value.
pub const MAX_CELL_BYTES: usize = 4096;

/// The layout of the bytes.
const LAYOUT: u8 = 1;
/// What the bytes are of.
const BELIEF: u8 = b'b';
const BUILDER: u8 = b'c';
/// Layout, kind, number of the cell, number of cells, and a piece of the hash of the whole.
const HEAD_BYTES: usize = 4 + MARK_BYTES;
const MARK_BYTES: usize = 8;
const BODY_BYTES: usize = MAX_CELL_BYTES - HEAD_BYTES;
/// The most bytes of one number.
const MAX_VARINT_BYTES: usize = 10;

/// Why cells are no belief. Permanent; the next full diff makes a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CellError {
    /// A later release wrote them.
    #[error("the counts of the census were written by a later release")]
    Newer,
    /// One is missing, or they are not of one write.
    #[error("the counts of the census are not complete")]
    Incomplete,
    /// They do not say what counts say.
    #[error("the counts of the census are damaged")]
    Damaged,
}

impl Belief {
    /// As cells of at most [`MAX_CELL_BYTES`], in order; 8 for 4096 ranges of a usual instance, never over 32.
    pub fn to_cells(&self) -> Vec<Vec<u8>> {
        let mut body = Vec::new();
        put(&mut body, self.width);
        put(&mut body, zigzag(self.unplaced));
        put_moment(&mut body, self.newest);
        put_ranges(&mut body, &self.bounds, &self.counts);
        cut(BELIEF, &body)
    }

    /// Reads what [`Belief::to_cells`] wrote, in the same order.
    pub fn from_cells<C: AsRef<[u8]>>(cells: &[C]) -> Result<Belief, CellError> {
        let body = whole(BELIEF, cells)?;
        let mut rest = &body[..];
        let width = take(&mut rest)?;
        let unplaced = unzigzag(take(&mut rest)?);
        let newest = take_moment(&mut rest)?;
        let (bounds, counts) = take_ranges(rest)?;
        Ok(Belief {
            bounds,
            counts,
            unplaced,
            width,
            newest,
        })
    }
}

impl Builder {
    /// As cells of at most [`MAX_CELL_BYTES`], in order: one for a few hundred ranges.
    pub fn to_cells(&self) -> Vec<Vec<u8>> {
        let mut body = Vec::new();
        put(&mut body, self.cap as u64);
        put(&mut body, self.width);
        put_moment(&mut body, self.span.map(|(first, _)| first));
        put_moment(&mut body, self.span.map(|(_, last)| last));
        put_ranges(&mut body, &self.bounds, &self.counts);
        cut(BUILDER, &body)
    }

    /// Reads what [`Builder::to_cells`] wrote, in the same order.
    pub fn from_cells<C: AsRef<[u8]>>(cells: &[C]) -> Result<Builder, CellError> {
        let body = whole(BUILDER, cells)?;
        let mut rest = &body[..];
        let cap = usize::try_from(take(&mut rest)?).map_err(|_| CellError::Damaged)?;
        let width = take(&mut rest)?;
        let first = take_moment(&mut rest)?;
        let last = take_moment(&mut rest)?;
        let (bounds, counts) = take_ranges(rest)?;
        Ok(Builder {
            width,
            bounds,
            counts,
            span: first.zip(last),
            ..Builder::new(cap)
        })
    }
}

fn cut(kind: u8, body: &[u8]) -> Vec<Vec<u8>> {
    let mark = blake3::hash(body);
    let pieces = body.chunks(BODY_BYTES);
    // Every body begins with a few numbers, so there is a piece; and 4096 ranges of 20 bytes each make 21.
    let of = pieces.len() as u8;
    pieces
        .zip(0_u8..)
        .map(|(piece, at)| {
            let mut cell = Vec::with_capacity(HEAD_BYTES + piece.len());
            cell.extend([LAYOUT, kind, at, of]);
            cell.extend(&mark.as_bytes()[..MARK_BYTES]);
            cell.extend(piece);
            cell
        })
        .collect()
}

fn whole<C: AsRef<[u8]>>(kind: u8, cells: &[C]) -> Result<Vec<u8>, CellError> {
    let first = cells.first().ok_or(CellError::Incomplete)?.as_ref();
    if first.first().is_some_and(|layout| *layout > LAYOUT) {
        return Err(CellError::Newer);
    }
    let mark = first.get(4..HEAD_BYTES).ok_or(CellError::Damaged)?;
    let mut body = Vec::with_capacity(cells.len() * BODY_BYTES);
    for (at, cell) in cells.iter().enumerate() {
        let cell = cell.as_ref();
        let (head, piece) = cell
            .split_at_checked(HEAD_BYTES)
            .ok_or(CellError::Damaged)?;
        let of = usize::from(head[3]);
        if usize::from(head[2]) != at || of != cells.len() || head[4..] != *mark {
            return Err(CellError::Incomplete);
        }
        if head[..2] != [LAYOUT, kind] || piece.len() > BODY_BYTES {
            return Err(CellError::Damaged);
        }
        body.extend(piece);
    }
    if blake3::hash(&body).as_bytes()[..MARK_BYTES] != *mark {
        return Err(CellError::Damaged);
    }
    Ok(body)
}

/// The number of ranges, the first bound, then counts and the distances between bounds in turn.
fn put_ranges(out: &mut Vec<u8>, bounds: &[i64], counts: &[u64]) {
    put(out, counts.len() as u64);
    let mut before = 0_i64;
    for (at, count) in counts.iter().enumerate() {
        put(out, *count);
        if let Some(bound) = bounds.get(at) {
            put(out, zigzag(bound.wrapping_sub(before)));
            before = *bound;
        }
    }
}

fn take_ranges(mut rest: &[u8]) -> Result<(Vec<i64>, Vec<u64>), CellError> {
    let ranges = usize::try_from(take(&mut rest)?).map_err(|_| CellError::Damaged)?;
    if !(1..=MAX_RANGES).contains(&ranges) {
        return Err(CellError::Damaged);
    }
    let (mut bounds, mut counts) = (Vec::with_capacity(ranges), Vec::with_capacity(ranges));
    let mut before = 0_i64;
    for at in 0..ranges {
        counts.push(take(&mut rest)?);
        if at + 1 < ranges {
            before = before.wrapping_add(unzigzag(take(&mut rest)?));
            bounds.push(before);
        }
    }
    if !rest.is_empty() || !bounds.is_sorted_by(|one, next| one < next) {
        return Err(CellError::Damaged);
    }
    Ok((bounds, counts))
}

/// One byte that says whether there is one, and the moment.
fn put_moment(out: &mut Vec<u8>, moment: Option<i64>) {
    put(out, u64::from(moment.is_some()));
    put(out, zigzag(moment.unwrap_or(0)));
}

fn take_moment(rest: &mut &[u8]) -> Result<Option<i64>, CellError> {
    let there = take(rest)?;
    let moment = unzigzag(take(rest)?);
    Ok((there == 1).then_some(moment))
}

/// Seven bits a byte, the lowest first; the highest bit says that more follow.
fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take(rest: &mut &[u8]) -> Result<u64, CellError> {
    let mut number = 0_u64;
    for at in 0..MAX_VARINT_BYTES {
        let (byte, after) = rest.split_first().ok_or(CellError::Damaged)?;
        *rest = after;
        number |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(CellError::Damaged)
}

/// Small numbers of either sign as small ones without.
fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

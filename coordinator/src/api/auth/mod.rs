//! Who calls, and whether they may: `table` says what each method needs, the mind's `access` decides, `gate` asks before
//! any service hears of a call, and the `book` keeps what was refused. Services ask a [`Call`] about shows and workers,
//! which only they know of.

mod book;
mod call;
mod gate;
mod table;
#[cfg(test)]
mod tests;

pub(crate) use book::Book;
pub(crate) use call::Call;
pub(crate) use gate::GateLayer;

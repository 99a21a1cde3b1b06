//! The coordinator's body: it feeds the mind (`croft_core`) events, makes its writes durable, performs its commands
//! and answers those who ask. It decides nothing about tasks, workers or time itself.
//!
//! ```text
//!  api/ (tonic) --Handle--> run.rs: inbox -> Farm::apply ... Tick -> StateStore::commit -> effects.rs
//!                              ^                                                        |-- sessions.rs (workers)
//!                              '------------------- Published --------------------------'-- publish.rs  (store)
//!                                                                                       '-- updates.rs  (watchers)
//! ```

mod api;
mod clock;
mod config;
mod effects;
mod error;
mod handle;
mod log;
mod logs;
mod metrics;
mod publish;
pub mod registry;
mod rendezvous;
mod run;
mod server;
mod sessions;
pub mod state;
mod store_id;
mod sweep;
mod trace;
mod updates;

#[doc(hidden)]
pub use api::edge;
pub use config::{Config, EtcdTls};
pub use error::Error;
pub use metrics::SpanCounts;
pub use server::Coordinator;

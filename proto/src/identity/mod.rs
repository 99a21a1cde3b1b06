//! Who somebody is: names, the certificates that carry them, the farm's own authority that signs those, and the tokens
//! by which a machine gets its first one.
//!
//! Nothing here decides what anybody may do.

pub mod authority;
pub mod facts;
pub mod folder;
pub mod name;
pub mod request;
pub mod token;

pub use authority::Authority;
pub use facts::Facts;
pub use folder::Folder;
pub use name::Name;
pub use request::Request;
pub use token::Token;

use std::path::PathBuf;

/// What is wrong with an identity, an authority or a token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("'{name}' must be 1 to 63 of a-z, 0-9, '-', '_' and '.', beginning with a letter or digit")]
    BadName { name: String },
    #[error("'{uri}' is no name of a farm's user or machine")]
    NoName { uri: String },
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("{}: {what}", path.display())]
    Odd { path: PathBuf, what: String },
    #[error("{} holds an authority already; another one would lock out everybody whom it let in", folder.display())]
    AuthorityThere { folder: PathBuf },
    #[error("no authority in {}: make one by `croft certs init`", folder.display())]
    NoAuthority { folder: PathBuf },
    #[error("'{host}' is neither a DNS name nor an address")]
    Host { host: String },
    #[error("the certificate request is not one: {what}")]
    Request { what: String },
    #[error("this is no token of croft's: give it as `croft certs token` printed it")]
    Token,
    #[error("certificates: {0}")]
    Made(#[from] rcgen::Error),
}

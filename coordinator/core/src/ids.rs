//! Names and numbers of things, each its own type, so that one cannot be passed for another.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

/// Characters a name may have at most: it becomes part of file names and labels.
pub const NAME_CHARS_MAX: usize = 63;

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "name '{name}' must be 1 to {NAME_CHARS_MAX} of a-z, 0-9, '-', '_' and '.', beginning with a letter or digit"
)]
pub struct BadName {
    pub name: String,
}

fn checked(name: &str) -> Result<Arc<str>, BadName> {
    let fits = (1..=NAME_CHARS_MAX).contains(&name.len());
    let begins = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let made_of =
        name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.'));
    if fits && begins && made_of {
        Ok(name.into())
    } else {
        Err(BadName { name: name.chars().take(80).collect() })
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(Arc<str>);

        impl $type {
            /// Checks `name` and makes it one of these.
            pub fn new(name: &str) -> Result<Self, BadName> {
                checked(name).map(Self)
            }

            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $type {
            type Error = BadName;
            fn try_from(name: String) -> Result<Self, BadName> {
                Self::new(&name)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.as_str().to_owned()
            }
        }
    };
}

name!(
    /// A job: the spec's name, with `-2`, `-3` … where that was taken.
    JobId
);
name!(
    /// A worker, as it calls itself.
    WorkerId
);

/// One stream of one worker; a worker that dials again gets another. Minted by the shell, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionId(pub u64);

/// A task: the n-th of a layer of a job, both counted from 0. People see it as `job/layer/0001`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskId {
    pub job: JobId,
    pub layer: u32,
    pub task: u32,
}

/// The fence of an attempt: minted once, carried by every report; a report without the current one is an echo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fence(pub u64);

/// A task's n-th try, counted from 1, with its fence.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptId {
    pub task: TaskId,
    pub number: u32,
    pub fence: Fence,
}

/// A device of a worker, by its index there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DeviceId {
    pub worker: WorkerId,
    pub index: u32,
}

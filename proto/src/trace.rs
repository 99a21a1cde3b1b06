//! Traces as they cross the wire and leave the farm: where a span belongs, what one is, and who takes it.
//!
//! Most spans of a farm are known only once they are over, and often not by the process that began them: an attempt is
//! begun by one leader and ended by the next, a rank's stages are told by its worker because a rank has no network and
//! may be killed. So spans are values that are made whole; whoever exports them is given them, and nobody waits for it.

use std::{
    fmt,
    str::FromStr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The metadata under which a client says where its request belongs.
pub const METADATA: &str = "traceparent";

/// A span's own place: its trace and its name there, as W3C `traceparent` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub trace: [u8; 16],
    pub span: [u8; 8],
    /// Whether anybody wants to see it.
    pub sampled: bool,
}

/// A text is no `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no traceparent: 00-TRACE-SPAN-FLAGS in lower-case hex")]
pub struct BadPlace;

impl Place {
    /// A new place in the same trace.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { span: chance(), ..*self }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace, span) = (u128::from_be_bytes(self.trace), u64::from_be_bytes(self.span));
        write!(f, "00-{trace:032x}-{span:016x}-{:02x}", u8::from(self.sampled))
    }
}

impl FromStr for Place {
    type Err = BadPlace;

    fn from_str(text: &str) -> Result<Self, BadPlace> {
        let is_hex = |part: &str, chars| {
            part.len() == chars && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        let mut parts = text.split('-');
        let (Some(version), Some(trace), Some(span), Some(flags)) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(BadPlace);
        };
        // A later version may say more behind the flags.
        let fits = is_hex(version, 2)
            && version != "ff"
            && (version != "00" || parts.next().is_none())
            && is_hex(trace, 32)
            && is_hex(span, 16)
            && is_hex(flags, 2);
        if !fits {
            return Err(BadPlace);
        }
        let trace = u128::from_str_radix(trace, 16).map_err(|_| BadPlace)?;
        let span = u64::from_str_radix(span, 16).map_err(|_| BadPlace)?;
        let flags = u8::from_str_radix(flags, 16).map_err(|_| BadPlace)?;
        if trace == 0 || span == 0 {
            return Err(BadPlace);
        }
        Ok(Self { trace: trace.to_be_bytes(), span: span.to_be_bytes(), sampled: flags & 1 == 1 })
    }
}

/// Which side of a call a span is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Internal,
    Client,
    Server,
}

/// One span, over and done with.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    pub name: &'static str,
    pub kind: Kind,
    pub place: Place,
    pub parent: Option<[u8; 8]>,
    /// What it belongs to where a parent would be wrong.
    pub link: Option<Place>,
    pub start: SystemTime,
    pub end: SystemTime,
    pub fields: Vec<(&'static str, Field)>,
    pub events: Vec<(SystemTime, String)>,
    /// Why it went badly.
    pub error: Option<String>,
}

/// What a field of a span may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    Text(String),
    Count(u64),
}

impl From<&str> for Field {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Field {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Field {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

impl From<u32> for Field {
    fn from(count: u32) -> Self {
        Self::Count(count.into())
    }
}

impl Span {
    #[must_use]
    pub fn new(name: &'static str, place: Place, start: SystemTime, end: SystemTime) -> Self {
        Self {
            name,
            kind: Kind::Internal,
            place,
            parent: None,
            link: None,
            start,
            end: end.max(start),
            fields: Vec::new(),
            events: Vec::new(),
            error: None,
        }
    }

    /// A part of what is at `parent`.
    #[must_use]
    pub fn part(name: &'static str, parent: &Place, start: SystemTime, end: SystemTime) -> Self {
        Self { parent: Some(parent.span), ..Self::new(name, parent.child(), start, end) }
    }

    #[must_use]
    pub fn with(mut self, key: &'static str, field: impl Into<Field>) -> Self {
        self.fields.push((key, field.into()));
        self
    }
}

/// Takes spans, at once and without waiting.
pub trait Sink: Send + Sync {
    fn take(&self, span: Span);
}

/// A hold on whoever takes spans; without one, nothing is made.
#[derive(Clone)]
pub struct Traces {
    sink: Option<Arc<dyn Sink>>,
    /// The part of traces begun here that is kept, of a whole of 2^63.
    kept: u64,
}

const WHOLE: u64 = 1 << 63;

impl Default for Traces {
    fn default() -> Self {
        Self { sink: None, kept: WHOLE }
    }
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traces").field("on", &self.is_on()).finish_non_exhaustive()
    }
}

impl Traces {
    /// Keeps `ratio` (0 to 1) of the traces that begin here; of those begun elsewhere, what their beginner wants.
    #[must_use]
    pub fn new(sink: Arc<dyn Sink>, ratio: f64) -> Self {
        Self { sink: Some(sink), kept: (ratio.clamp(0.0, 1.0) * WHOLE as f64) as u64 }
    }

    #[must_use]
    pub fn is_on(&self) -> bool {
        self.sink.is_some()
    }

    /// Whether a trace of this id that begins here is kept. The same for everybody with the same ratio.
    #[must_use]
    pub fn keeps(&self, trace: [u8; 16]) -> bool {
        let low = u128::from_be_bytes(trace) as u64;
        low >> 1 < self.kept
    }

    /// Begins a trace; `None` where nobody takes spans.
    #[must_use]
    pub fn root(&self) -> Option<Place> {
        self.sink.as_ref()?;
        let mut trace = [0; 16];
        trace[..8].copy_from_slice(&chance());
        trace[8..].copy_from_slice(&chance());
        Some(Place { trace, span: chance(), sampled: self.keeps(trace) })
    }

    /// Hands a span on, where somebody wants it.
    pub fn record(&self, span: Span) {
        if let Some(sink) = self.sink.as_ref().filter(|_| span.place.sampled) {
            sink.take(span);
        }
    }
}

/// Milliseconds since the Unix epoch.
#[must_use]
pub fn at_ms(ms: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(ms)
}

fn chance() -> [u8; 8] {
    let bytes = *uuid::Uuid::new_v4().as_bytes();
    // The first bytes of a random UUID hold its version, those at the end are chance alone.
    let mut span: [u8; 8] = bytes[8..].try_into().expect("a UUID has 16 bytes");
    span[0] = bytes[0];
    if span == [0; 8] { [1; 8] } else { span }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_is_written() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let place: Place = text.parse().expect("the example of the standard");
        assert_eq!((place.to_string().as_str(), place.sampled), (text, true));
        assert_eq!(place.child().trace, place.trace);
        assert_ne!(place.child().span, place.span);
    }

    #[test]
    fn what_is_no_place_is_refused() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        for bad in [
            String::new(),
            format!("00-{trace}-00f067aa0ba902b7"),
            format!("ff-{trace}-00f067aa0ba902b7-01"),
            format!("00-{trace}-00f067aa0ba902b7-01-more"),
            format!("00-{trace}-0000000000000000-01"),
            format!("00-{}-00f067aa0ba902b7-01", trace.to_uppercase()),
            format!("00-+bf92f3577b34da6a3ce929d0e0e4736{}-00f067aa0ba902b7-01", ""),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01".to_owned(),
        ] {
            assert_eq!(bad.parse::<Place>(), Err(BadPlace), "{bad}");
        }
    }

    #[test]
    fn a_ratio_keeps_about_its_part_and_everybody_agrees() {
        struct Nobody;
        impl Sink for Nobody {
            fn take(&self, _: Span) {}
        }
        let quarter = Traces::new(Arc::new(Nobody), 0.25);
        let kept = (0..4_000).filter(|_| quarter.root().is_some_and(|place| place.sampled)).count();
        assert!((800..1_200).contains(&kept), "{kept} of 4000");
        for ratio in [0.0, 1.0] {
            let all = Traces::new(Arc::new(Nobody), ratio);
            assert_eq!(all.root().map(|place| place.sampled), Some(ratio == 1.0));
        }
        assert!(Traces::default().root().is_none());
    }
}

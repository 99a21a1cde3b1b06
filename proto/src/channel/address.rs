//! Where a coordinator is, as people write it.

use std::{fmt, net::IpAddr, str::FromStr};

use super::Error;

/// `HOST:PORT`, with `https://` or `http://` before it for those who want to be sure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Without brackets.
    pub host: String,
    pub port: u16,
    /// What was asked for by name.
    pub tls: Option<bool>,
}

impl Address {
    /// Whether what is sent there stays on this machine.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = || Error::Address { address: text.to_owned() };
        let (tls, bare) = match text.split_once("://") {
            Some(("https", bare)) => (Some(true), bare),
            Some(("http", bare)) => (Some(false), bare),
            Some(_) => return Err(bad()),
            None => (None, text),
        };
        let (host, port) = bare.trim_end_matches('/').rsplit_once(':').ok_or_else(bad)?;
        let port = port.parse().map_err(|_| bad())?;
        let host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(v6) if v6.parse::<std::net::Ipv6Addr>().is_ok() => v6,
            Some(_) => return Err(bad()),
            None => host,
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let is_host = host.parse::<IpAddr>().is_ok() || (!host.is_empty() && host.chars().all(is_name));
        if !is_host || (host.contains(':') && !bare.starts_with('[')) {
            return Err(bad());
        }
        Ok(Self { host: host.to_owned(), port, tls })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_what_is_none_is_refused() {
        for (text, shown, loopback) in [
            ("127.0.0.1:7400", "127.0.0.1:7400", true),
            ("localhost:7400", "localhost:7400", true),
            ("[::1]:7400", "[::1]:7400", true),
            ("http://127.0.0.1:7400/", "127.0.0.1:7400", true),
            ("https://farm.studio:7400", "farm.studio:7400", false),
            ("10.0.0.7:7400", "10.0.0.7:7400", false),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!((address.to_string().as_str(), address.is_loopback()), (shown, loopback));
        }
        for bad in ["127.0.0.1", "[::1]", ":x", ":7400", "farm:70000", "::1:7400", "ftp://a:1", "a b:1", ""] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }
}

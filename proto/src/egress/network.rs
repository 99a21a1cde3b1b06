//! Networks that may be reached.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use super::Error;

/// `ADDRESS/BITS`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u32,
}

/// This machine and what is private by its number: loopback (127.0.0.0/8, `::1`), RFC 1918, link-local (169.254.0.0/16,
/// `fe80::/10`) and unique local (`fc00::/7`) addresses; and what a studio adds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks {
    added: Vec<Network>,
}

impl Network {
    fn holds(&self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4() && first(address, self.bits) == self.address
    }
}

/// The first address of the network of `bits` that holds `address`; an address has at least as many.
fn first(address: IpAddr, bits: u32) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            Ipv4Addr::from_bits(v4.to_bits() & u32::MAX.checked_shl(32 - bits).unwrap_or(0)).into()
        }
        IpAddr::V6(v6) => {
            Ipv6Addr::from_bits(v6.to_bits() & u128::MAX.checked_shl(128 - bits).unwrap_or(0)).into()
        }
    }
}

impl Networks {
    #[must_use]
    pub fn with(added: Vec<Network>) -> Self {
        Self { added }
    }

    /// What was added to the private ones.
    #[must_use]
    pub fn added(&self) -> &[Network] {
        &self.added
    }

    #[must_use]
    pub fn allows(&self, address: IpAddr) -> bool {
        // What is written as IPv6 and goes out as IPv4 is judged as that.
        let address = address.to_canonical();
        let is_private = match address {
            IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
        };
        is_private || self.added.iter().any(|network| network.holds(address))
    }

    /// # Errors
    /// When `address`, which `host` means, is not allowed.
    pub fn check(&self, host: &str, address: IpAddr) -> Result<(), Error> {
        if self.allows(address) {
            return Ok(());
        }
        Err(Error::Outside { host: host.to_owned(), address, networks: self.clone() })
    }
}

/// Why a text is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is no network: {what}; give ADDRESS/BITS, as 192.0.2.0/24")]
pub struct Odd {
    text: String,
    what: &'static str,
}

impl FromStr for Network {
    type Err = Odd;

    fn from_str(text: &str) -> Result<Self, Odd> {
        let odd = |what| Odd { text: text.to_owned(), what };
        let (address, bits) =
            text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| odd("its address cannot be read"))?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(bits) => bits
                .parse()
                .ok()
                .filter(|bits| *bits <= most)
                .ok_or_else(|| odd("so many bits it has not"))?,
        };
        // 10.0.0.7/8 may be meant as one machine or as all of them.
        if first(address, bits) == address {
            Ok(Self { address, bits })
        } else {
            Err(odd("it is an address within one"))
        }
    }
}

impl FromStr for Networks {
    type Err = Odd;

    /// Networks with commas between them.
    fn from_str(text: &str) -> Result<Self, Odd> {
        let all = text.split(',').map(str::trim).filter(|network| !network.is_empty()).map(str::parse);
        Ok(Self { added: all.collect::<Result<_, Odd>>()? })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_numbers_are_allowed_and_their_neighbours_are_not() {
        let networks = Networks::default();
        let allows = |text: &str| networks.allows(text.parse().expect(text));
        for inside in [
            "127.0.0.1",
            "127.255.255.255",
            "::1",
            "10.0.0.0",
            "10.255.255.255",
            "172.16.0.0",
            "172.31.255.255",
            "192.168.0.0",
            "192.168.255.255",
            "169.254.0.1",
            "fe80::1",
            "febf::1",
            "fc00::1",
            "fdff::1",
            "::ffff:10.1.2.3",
        ] {
            assert!(allows(inside), "{inside}");
        }
        for outside in [
            "9.255.255.255",
            "11.0.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.255.255",
            "192.169.0.0",
            "169.253.0.1",
            "169.255.0.1",
            "128.0.0.1",
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.1",
            "8.8.8.8",
            "::",
            "::2",
            "fec0::1",
            "fbff::1",
            "fe00::1",
            "ff02::1",
            "2001:db8::1",
            "::ffff:8.8.8.8",
            "::10.1.2.3",
        ] {
            assert!(!allows(outside), "{outside}");
        }
    }

    #[test]
    fn a_network_holds_what_it_says_and_is_written_whole() {
        let networks: Networks = "203.0.113.0/25, 2001:db8::/33,198.51.100.7".parse().expect("networks");
        let allows = |text: &str| networks.allows(text.parse().expect(text));
        for inside in ["203.0.113.127", "2001:db8:7fff::1", "198.51.100.7", "::ffff:203.0.113.1"] {
            assert!(allows(inside), "{inside}");
        }
        for outside in ["203.0.113.128", "2001:db8:8000::1", "198.51.100.8"] {
            assert!(!allows(outside), "{outside}");
        }
        for bad in ["203.0.113.0/33", "::/129", "203.0.113.7/24", "studio", "10.0.0.0/", "10.0.0.0/8/8", "/8"]
        {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
        let all: Networks = "0.0.0.0/0,::/0".parse().expect("everything, for who wants it");
        assert!(all.allows("8.8.8.8".parse().expect("v4")) && all.allows("2001:db8::1".parse().expect("v6")));
    }
}

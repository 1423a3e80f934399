//! Networks of IP addresses.

use std::{fmt, net::IpAddr, str::FromStr};

use ipnet::{IpNet, Ipv4Net};

use crate::{error::InvalidText, key::allowlist::Allowlist};

/// A network in CIDR notation, such as `10.0.0.0/8` or `2001:db8::/32`.
///
/// A single address is the network of this address alone. The bits behind the prefix must be zero,
/// because `10.1.2.3/8` can mean two things. An IPv4 address that is written as an IPv6 one, such as
/// `::ffff:10.1.2.3`, is the IPv4 address, in a network and in an address to compare. So `::/0`
/// contains no IPv4 address.
///
/// ```
/// use keyward::key::IpNetwork;
///
/// let network: IpNetwork = "10.0.0.0/8".parse()?;
/// assert!(network.contains("10.1.2.3".parse()?));
/// assert!(network.contains("::ffff:10.1.2.3".parse()?));
/// assert!("10.1.2.3/8".parse::<IpNetwork>().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IpNetwork(IpNet);

impl IpNetwork {
    /// Builds the network of the addresses whose first `prefix` bits are those of `address`.
    ///
    /// # Errors
    ///
    /// Returns an error if the prefix is longer than the address, and if a bit behind it is not
    /// zero.
    pub fn new(address: IpAddr, prefix: u8) -> Result<Self, InvalidText> {
        Self::of(IpNet::new(address, prefix).map_err(|_| NO_NETWORK)?)
    }

    /// Returns whether the network contains this address.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }

    fn of(network: IpNet) -> Result<Self, InvalidText> {
        if network.trunc() != network {
            return Err(NO_NETWORK);
        }
        let mapped = match network {
            IpNet::V6(mapped) => {
                mapped.addr().to_ipv4_mapped().zip(mapped.prefix_len().checked_sub(96))
            }
            IpNet::V4(_) => None,
        };
        match mapped {
            Some((address, prefix)) => {
                Ipv4Net::new(address, prefix).map(|it| Self(it.into())).map_err(|_| NO_NETWORK)
            }
            None => Ok(Self(network)),
        }
    }
}

impl From<IpAddr> for IpNetwork {
    fn from(address: IpAddr) -> Self {
        Self(address.to_canonical().into())
    }
}

impl FromStr for IpNetwork {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        // The parser of the standard library refuses zeros before a number, which others read as
        // octal.
        let address = |text: &str| text.parse::<IpAddr>().map_err(|_| NO_NETWORK);
        let Some((first, prefix)) = text.split_once('/') else {
            return address(text).map(Into::into);
        };
        let bits: u8 = prefix.parse().map_err(|_| NO_NETWORK)?;
        if bits.to_string() != prefix {
            return Err(NO_NETWORK);
        }
        Self::new(address(first)?, bits)
    }
}

impl fmt::Display for IpNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for IpNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IpNetwork({self})")
    }
}

impl Allowlist<IpNetwork> {
    /// Returns whether one of the networks contains this address.
    pub fn admits(&self, address: IpAddr) -> bool {
        self.iter().any(|network| network.contains(address))
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for IpNetwork {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for IpNetwork {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::text::deserialize_from_str(deserializer)
    }
}

const NO_NETWORK: InvalidText = InvalidText::new(
    "a network in CIDR notation such as 10.0.0.0/8, with zeros behind the prefix, or an IP address",
);

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> IpNetwork {
        text.parse().unwrap()
    }

    #[test]
    fn networks_have_one_text() {
        for (text, shown) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("203.0.113.7", "203.0.113.7/32"),
            ("2001:DB8::/32", "2001:db8::/32"),
            ("2001:db8:0::1", "2001:db8::1/128"),
            ("::/0", "::/0"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:10.1.2.3", "10.1.2.3/32"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
        ] {
            assert_eq!(network(text).to_string(), shown);
            assert_eq!(network(shown), network(text));
        }
        for bad in [
            "",
            " ",
            "10.0.0.0/33",
            "10.0.0.1/8",
            "10.0.0/8",
            "10.0.0.0/",
            "10.0.0.0/8 ",
            "/8",
            "10.0.0.0/-1",
            "10.0.0.0/08",
            "10.0.0.0/+8",
            "::/129",
            "2001:db8::1/32",
            "fe80::1%eth0",
            "10.0.0.0/255.0.0.0",
            "010.0.0.0/8",
            "localhost",
            "*",
        ] {
            assert_eq!(bad.parse::<IpNetwork>(), Err(NO_NETWORK), "{bad}");
        }
    }

    #[test]
    fn an_address_is_in_a_network_by_its_prefix_and_its_family() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        for (text, inside, outside) in [
            ("10.0.0.0/8", "10.255.255.255", "11.0.0.0"),
            ("10.0.0.0/8", "::ffff:10.0.0.1", "::10.0.0.1"),
            ("10.1.2.3", "10.1.2.3", "10.1.2.2"),
            ("0.0.0.0/0", "::ffff:1.2.3.4", "::1"),
            ("::/0", "2001:db8::1", "::ffff:1.2.3.4"),
            ("2001:db8::/33", "2001:db8:7fff::", "2001:db8:8000::"),
        ] {
            assert!(network(text).contains(ip(inside)), "{inside} in {text}");
            assert!(!network(text).contains(ip(outside)), "{outside} in {text}");
        }
    }

    #[test]
    fn a_list_has_an_entry_and_a_bound() {
        let list = |text: &str| text.parse::<Allowlist<IpNetwork>>();
        let two = list("192.168.0.0/16 10.0.0.0/8").unwrap();
        assert_eq!(two.to_string(), "10.0.0.0/8 192.168.0.0/16");
        assert_eq!(list("10.0.0.0/8 10.0.0.0/8").unwrap().to_string(), "10.0.0.0/8");
        for bad in ["", " ", "10.0.0.0/8  10.0.0.0/8", "10.0.0.0/8 ", "10.0.0.0/8,10.0.0.0/8"] {
            assert!(list(bad).is_err(), "{bad:?}");
        }
        let many: Vec<String> = (0..=64).map(|n| format!("10.0.0.{n}")).collect();
        assert!(list(&many.join(" ")).is_err());
        assert!(list(&many[1..].join(" ")).is_ok());
        assert!(Allowlist::<IpNetwork>::new([]).is_err());
    }
}

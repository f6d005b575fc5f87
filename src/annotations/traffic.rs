//! Which connections the kernel redirects, as Istio's annotations of `traffic.sidecar.istio.io` say it:
//! lists of ports and of ranges of addresses. In: the text of one annotation. Out: a checked list.

use std::fmt;
use std::str::FromStr;

use mtls_proxy::config::{IpRange, Port};

use super::Named;

/// What a pod asks for about the kernel's redirection; what is absent has its default.
#[derive(Clone, Debug, Default)]
pub struct TrafficWishes {
    /// Ports of the pod that are redirected besides those of `inbound`.
    pub include_inbound_ports: Option<Named<Selection<Port>>>,
    /// Ports of the pod that never are.
    pub exclude_inbound_ports: Option<Named<List<Port>>>,
    /// Ports to which connections are redirected, whatever their address.
    pub include_outbound_ports: Option<Named<Selection<Port>>>,
    /// Ports to which they never are.
    pub exclude_outbound_ports: Option<Named<List<Port>>>,
    /// Addresses to which connections are redirected.
    pub include_outbound_ranges: Option<Named<Selection<IpRange>>>,
    /// Addresses to which they never are.
    pub exclude_outbound_ranges: Option<Named<List<IpRange>>>,
}

impl TrafficWishes {
    /// Yields where each wish that the pod or its namespace has stands.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        fn path<T>(wish: Option<&Named<T>>) -> Option<&str> {
            wish.map(|wish| wish.path.as_str())
        }
        let paths = [
            path(self.include_inbound_ports.as_ref()),
            path(self.exclude_inbound_ports.as_ref()),
            path(self.include_outbound_ports.as_ref()),
            path(self.exclude_outbound_ports.as_ref()),
            path(self.include_outbound_ranges.as_ref()),
            path(self.exclude_outbound_ranges.as_ref()),
        ];
        paths.into_iter().flatten()
    }
}

/// What is included: everything, or what is listed. An empty list includes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection<T> {
    /// Written `*`.
    All,
    /// These.
    Only(Vec<T>),
}

impl<T: Item> FromStr for Selection<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim() == "*" {
            return Ok(Self::All);
        }
        listed(text, ", or * for all").map(Self::Only)
    }
}

/// What is listed, and nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List<T>(pub Vec<T>);

impl<T: Item> FromStr for List<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        listed(text, "").map(Self)
    }
}

/// What such a list can be of.
pub trait Item: FromStr + PartialEq + fmt::Display {
    /// Completes "is not ".
    const LIST: &'static str;
}

impl Item for Port {
    const LIST: &'static str = "a comma-separated list of ports (1-65535), such as 8080,9090";
}

impl Item for IpRange {
    const LIST: &'static str =
        "a comma-separated list of ranges of addresses, such as 10.0.0.0/8,fd00::/8";
}

/// Reads a list; what is written twice counts once. `or` says what else would be right.
fn listed<T: Item>(text: &str, or: &str) -> Result<Vec<T>, String> {
    let mut items = Vec::new();
    let words = text.split(',').map(str::trim);
    for word in words.filter(|word| !word.is_empty()) {
        let item = word.parse().map_err(|_| wrong::<T>(text, word, or))?;
        if !items.contains(&item) {
            items.push(item);
        }
    }
    Ok(items)
}

fn wrong<T: Item>(text: &str, word: &str, or: &str) -> String {
    if word == text {
        format!("is not {}{or}", T::LIST)
    } else {
        format!("is not {}{or}: {word:?} is wrong in it", T::LIST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(numbers: &[u16]) -> Vec<Port> {
        numbers.iter().filter_map(|port| Port::new(*port)).collect()
    }

    #[test]
    fn a_star_is_all_and_an_empty_list_is_none() {
        assert_eq!("*".parse(), Ok(Selection::<Port>::All));
        assert_eq!("".parse(), Ok(Selection::<Port>::Only(Vec::new())));
        assert_eq!(
            " 80, 443,80,".parse(),
            Ok(Selection::Only(ports(&[80, 443])))
        );
        assert_eq!("8080".parse(), Ok(List(ports(&[8080]))));
        let ranges: List<IpRange> = "10.1.2.3/8, ::1".parse().unwrap();
        let shown: Vec<_> = ranges.0.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["10.0.0.0/8", "::1/128"]);
    }

    #[test]
    fn what_is_wrong_in_a_list_is_named() {
        let ports = "is not a comma-separated list of ports (1-65535), such as 8080,9090";
        assert_eq!("*".parse::<List<Port>>(), Err(ports.to_owned()));
        assert_eq!(
            "80,0".parse::<List<Port>>(),
            Err(format!("{ports}: \"0\" is wrong in it"))
        );
        assert_eq!(
            "80,*".parse::<Selection<Port>>(),
            Err(format!("{ports}, or * for all: \"*\" is wrong in it"))
        );
        assert_eq!(
            "10.0.0.0/33".parse::<List<IpRange>>(),
            Err(
                "is not a comma-separated list of ranges of addresses, such as 10.0.0.0/8,fd00::/8"
                    .to_owned()
            )
        );
    }
}

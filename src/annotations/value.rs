//! Values of single annotations: flags and the name of an image. Each is read by `FromStr`, whose error
//! completes the sentence that begins with the quoted value.

use std::str::FromStr;

/// `true` or `false`, as annotations spell them.
pub(super) struct Flag(pub(super) bool);

impl FromStr for Flag {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "true" => Ok(Self(true)),
            "false" => Ok(Self(false)),
            _ => Err("is not \"true\" or \"false\""),
        }
    }
}

/// The words that Istio's injector takes for true and false.
pub(super) struct IstioFlag(pub(super) Flag);

impl FromStr for IstioFlag {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "y" | "yes" | "on" => Ok(Self(Flag(true))),
            "n" | "no" | "off" => Ok(Self(Flag(false))),
            other => other.parse().map(Self),
        }
    }
}

/// A reference to an image, as far as it can be checked without a registry.
pub(super) struct ImageName(pub(super) String);

impl FromStr for ImageName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let right = |b: u8| b.is_ascii_alphanumeric() || b"._-/:@".contains(&b);
        if !text.is_empty() && text.len() <= 1024 && text.bytes().all(right) {
            Ok(Self(text.to_owned()))
        } else {
            Err("is not an image such as registry.example.com/mtls-proxy:1.0")
        }
    }
}

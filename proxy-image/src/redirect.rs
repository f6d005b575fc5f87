//! Has the kernel redirect the pod's connections to the proxy: the rules, and how they are applied,
//! verified and removed. Runs in an init container, before anything of the application.
//!
//! In: a configuration. Out: one nftables table, loaded as a whole or not at all.

mod nft;
mod rules;
mod verify;

pub(crate) use nft::{NftError, load};
pub(crate) use rules::{install, remove};
pub(crate) use verify::{Family, Verified, verify};
